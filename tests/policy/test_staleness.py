from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from consensus.policy import PolicyTable, load_policy
from consensus.policy.certificate import Certificate, CertifiedPrice
from consensus.policy.certifying import route_sha256
from consensus.policy.staleness import Current, check_certificates, deaths
from tests.policy.books import CONTRACT, write

ORACLE, PROMPTS, SUITE = "a" * 64, "b" * 64, "c" * 64
NOW = Current(
    today=date(2026, 11, 22),
    prompts=PROMPTS,
    oracles={"refund_approval": ORACLE},
    suites={"refund_approval": SUITE},
    served={"anthropic/claude-haiku-5-5": "claude-haiku-5-5-20260901"},
)


class Book:
    """Prices of one rate for all."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def price(self, model: str) -> Book:
        return self

    def per_million(self) -> dict[str, float]:
        return {"input": self.rate, "output": self.rate}


def table(
    folder: Path, text: str = CONTRACT, row: dict[str, Any] | None = None, **more: Any
) -> PolicyTable:
    bare = load_policy(write(folder, text), strict=False)
    values: dict[str, Any] = {
        "status": "certified",
        "n": 600,
        "passes": 600,
        "bound": 0.9923,
        "floor": 0.99,
        "delta": 0.01,
        "method": "clopper-pearson",
        "route": route_sha256(bare, "refund_approval"),
        "oracle": ORACLE,
        "prompts": PROMPTS,
        "suite": SUITE,
        "served": {"anthropic/claude-haiku-5-5": ("claude-haiku-5-5-20260901",)},
        "prices": {"anthropic/claude-haiku-5-5": CertifiedPrice(input=1.0, output=1.0)},
        "date": date(2026, 10, 1),
        **more,
    }
    certified = bare.tasks["refund_approval"].model_copy(
        update={"certificate": Certificate(**values), **(row or {})}
    )
    fields = {name: getattr(bare, name) for name in PolicyTable.model_fields}
    fields["tasks"] = {"refund_approval": certified}
    return PolicyTable(**fields).located(bare._places, bare.source)


def why(made: PolicyTable, now: Current = NOW) -> list[str]:
    return deaths(made, "refund_approval", now)


def changed(**fields: Any) -> Current:
    return Current(**{**NOW.__dict__, **fields})


def test_a_certificate_holds_while_nothing_it_rests_on_changes(tmp_path: Path) -> None:
    assert why(table(tmp_path)) == []
    assert check_certificates(table(tmp_path), NOW) == []


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (changed(oracles={"refund_approval": "d" * 64}), "the oracle was changed"),
        (changed(prompts="d" * 64), "the prompts are not those it was measured with"),
        (changed(suites={"refund_approval": "d" * 64}), "the suite was changed"),
        (
            changed(served={"anthropic/claude-haiku-5-5": "claude-haiku-5-5-20261101"}),
            "is served by claude-haiku-5-5-20261101 now, and was by claude-haiku-5-5-20260901",
        ),
        (changed(today=date(2026, 12, 31)), "it is 91 days old, and holds for 90"),
    ],
)
def test_a_certificate_dies_and_says_of_what(tmp_path: Path, now: Current, said: str) -> None:
    assert [text for text in why(table(tmp_path), now) if said in text]
    (finding,) = check_certificates(table(tmp_path), now)
    assert finding.level == "error"
    assert finding.code == "certificate"
    assert said in finding.message
    assert finding.fix is not None
    assert "policy propose" in finding.fix
    assert finding.line is not None


def test_on_its_last_day_it_still_holds(tmp_path: Path) -> None:
    assert why(table(tmp_path), changed(today=date(2026, 12, 30))) == []


def test_a_row_that_was_changed_since_loses_its_certificate(tmp_path: Path) -> None:
    made = table(tmp_path, route="e" * 64)
    assert why(made) == ["the row was changed since it was certified"]


def test_a_changed_price_opens_the_choice_and_leaves_the_bound(tmp_path: Path) -> None:
    made = table(tmp_path)
    now = changed(prices=Book(2.0))
    assert why(made, now) == []
    findings = check_certificates(made, now)
    assert {f.code for f in findings} == {"price-changed"}
    assert {f.level for f in findings} == {"warning"}
    assert "the quality bound stands" in findings[0].message


def test_an_unchanged_price_says_nothing(tmp_path: Path) -> None:
    assert check_certificates(table(tmp_path), changed(prices=Book(1.0))) == []


def test_a_provisional_row_without_a_shadow_is_an_error(tmp_path: Path) -> None:
    low = CONTRACT.replace('consequence = "high"  ', 'consequence = "medium"')
    made = table(tmp_path, low, status="provisional", floor=0.95, delta=0.05, bound=0.9, passes=570)
    assert [f.code for f in check_certificates(made, NOW)] == ["shadow"]


def test_a_raised_floor_kills_what_does_not_reach_it(tmp_path: Path) -> None:
    made = table(tmp_path, floor=0.95, delta=0.05, bound=0.96, passes=590)
    assert why(made) == ["its bound of 0.96 is below the 0.99 asked for now"]


def test_what_is_not_known_today_is_not_held_against_a_row(tmp_path: Path) -> None:
    assert why(table(tmp_path), Current(today=date(2026, 11, 22))) == []


def test_an_uncertifiable_row_says_how_many_cases_it_needs(tmp_path: Path) -> None:
    made = table(tmp_path, status="uncertifiable", n=20, passes=20, bound=0.79, needs=439)
    (finding,) = check_certificates(made, NOW)
    assert finding.code == "uncertifiable"
    assert "439" in finding.message
