from __future__ import annotations

from pathlib import Path

import pytest

from consensus.models.prices import PriceBook
from consensus.policy.audit.check import check_audit
from consensus.policy.load import load_policy
from consensus.policy.table import PolicyTable
from tests.policy.audit.audits import audit_of, codes, task_text

POLICY = """
version = 1
[tiers]
small = ["scripted/a"]
frontier = ["scripted/f"]
[defaults]
strategy = "single"
tier = "small"
[oracles.refunds]
kind = "exact"
[oracles.rules]
kind = "json_schema"
schema = { type = "string" }
"""


def table(folder: Path, rows: str = "") -> PolicyTable:
    path = folder / "policy.toml"
    path.write_text(POLICY + rows, encoding="utf-8")
    return load_policy(path)


def test_a_sound_audit_has_no_findings(tmp_path: Path) -> None:
    assert check_audit(audit_of(tmp_path), table=table(tmp_path)) == []


@pytest.mark.parametrize(
    ("changes", "without", "code", "level"),
    [
        ({}, ("owner",), "owner", "error"),
        ({"owner": '"  "'}, (), "owner", "error"),
        ({}, ("oracle",), "oracle", "error"),
        ({}, ("description",), "empty", "warning"),
        ({}, ("on_wrong",), "wrong-answer", "warning"),
        ({"consequence": '"high"', "gate": '"rules"'}, ("on_wrong",), "wrong-answer", "error"),
        ({"consequence": '"irreversible"'}, (), "no-gate", "error"),
        ({"consequence": '"high"'}, (), "no-gate", "warning"),
        ({"consequence": '"high"', "gate": '"rules"'}, (), "adversarial", "warning"),
        ({"monthly_volume": "0"}, (), "volume", "error"),
        ({"floor": "0.5"}, (), "floor", "warning"),
        ({"structured": "false"}, (), "kind", "error"),
        ({"kind": '"choose"'}, ("criteria",), "kind", "warning"),
        ({"kind": '"score"'}, (), "kind", "warning"),
        ({"kind": '"generate"'}, ("criteria",), "kind", "warning"),
        ({"suite": '"nowhere"'}, (), "suite", "error"),
        ({"categories": "{ a = { share = 0.5 } }"}, (), "share", "error"),
        ({"categories": "{ a = { share = 0.7 }, b = { share = 0.7 } }"}, (), "share", "error"),
    ],
)
def test_what_a_task_type_lacks_is_found(
    tmp_path: Path, changes: dict[str, str], without: tuple[str, ...], code: str, level: str
) -> None:
    audit = audit_of(tmp_path, task_text("refund", without, **changes))
    found = [f for f in check_audit(audit) if f.code == code]
    assert [finding.level for finding in found][:1] == [level]
    assert all(finding.file and finding.line and finding.fix for finding in found)


def test_a_finding_names_the_line_of_its_key(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, task_text("refund", owner='""'))
    (finding,) = check_audit(audit)
    assert finding.line == 4
    assert str(finding).endswith('nobody answers for this task type (owner = "TEAM OR PERSON")')


def test_shares_that_sum_to_one_within_rounding_are_right(tmp_path: Path) -> None:
    thirds = "{ a = { share = 0.33 }, b = { share = 0.33 }, c = { share = 0.34 } }"
    assert check_audit(audit_of(tmp_path, task_text("refund", categories=thirds))) == []


def test_an_empty_audit_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "audit.toml"
    path.write_text("version = 1\n", encoding="utf-8")
    from consensus.policy.audit import load_audit

    assert codes(check_audit(load_audit(path))) == ["empty"]


# -- consequence and complexity --------------------------------------------------------------------


def rows(*pairs: tuple[str, str]) -> list[str]:
    return [
        task_text(
            f"t{number}", complexity=f'"{hard}"', consequence=f'"{bad}"', gate='"rules"',
            adversarial_share="0.1",
        )
        for number, (hard, bad) in enumerate(pairs)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "pairs",
    [
        (("low", "low"), ("medium", "medium"), ("high", "high")),
        (("low", "low"), ("low", "low"), ("high", "irreversible")),
        (("low", "medium"), ("medium", "high"), ("medium", "high")),
    ],
)
def test_a_consequence_that_follows_from_complexity_is_said(
    tmp_path: Path, pairs: tuple[tuple[str, str], ...]
) -> None:
    assert "derived" in codes(check_audit(audit_of(tmp_path, *rows(*pairs))))


@pytest.mark.parametrize(
    "pairs",
    [
        (("low", "high"), ("medium", "medium"), ("high", "high")),
        (("low", "low"), ("low", "high"), ("high", "high")),
        (("low", "low"), ("high", "high")),  # two may be chance
        (("low", "low"), ("low", "low"), ("low", "low")),
    ],
)
def test_a_consequence_of_its_own_is_not_complained_about(
    tmp_path: Path, pairs: tuple[tuple[str, str], ...]
) -> None:
    assert "derived" not in codes(check_audit(audit_of(tmp_path, *rows(*pairs))))


# -- against the policy ----------------------------------------------------------------------------


def test_an_oracle_that_the_policy_does_not_declare_is_found(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, task_text("refund", oracle='"refundz"'))
    (finding,) = check_audit(audit, table=table(tmp_path))
    assert (finding.code, finding.level) == ("unknown-name", "error")
    assert finding.fix == 'did you mean "refunds"?'


def test_an_oracle_that_only_the_suite_holds_is_enough(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, task_text("refund", oracle='"shops_own"'))
    assert check_audit(audit, table=table(tmp_path), judged={"refund"}) == []


def test_an_oracle_that_is_nowhere_is_said_with_every_place_that_was_looked_at(
    tmp_path: Path,
) -> None:
    audit = audit_of(tmp_path, task_text("refund", oracle='"shops_own"'))
    (finding,) = check_audit(audit, table=table(tmp_path))
    assert str(tmp_path / "policy.toml") in finding.message
    assert "names no suite" in finding.message


def test_an_oracle_that_needs_a_label_cannot_be_a_gate(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, task_text("refund", gate='"refunds"'))
    (finding,) = check_audit(audit, table=table(tmp_path))
    assert finding.code == "no-gate"
    assert "compares with a label" in finding.message


@pytest.mark.parametrize(
    ("row", "level"), [("low", "error"), ("high", "warning"), ("medium", None)]
)
def test_a_row_of_another_consequence_is_found(tmp_path: Path, row: str, level: str | None) -> None:
    policy = table(tmp_path, f'[tasks.refund]\nkind = "approve"\nconsequence = "{row}"\n')
    found = check_audit(audit_of(tmp_path), table=policy)
    assert [finding.level for finding in found] == ([level] if level else [])


def test_a_row_of_another_kind_is_found(tmp_path: Path) -> None:
    policy = table(tmp_path, '[tasks.refund]\nkind = "score"\nscale = [1, 5]\n')
    assert codes(check_audit(audit_of(tmp_path), table=policy)) == ["kind"]


def test_a_row_that_is_not_audited_is_found(tmp_path: Path) -> None:
    policy = table(tmp_path, '[tasks.other]\nkind = "approve"\n')
    (finding,) = check_audit(audit_of(tmp_path), table=policy)
    assert (finding.code, "other" in finding.message) == ("not-audited", True)


CASCADE = '[tasks.refund]\nkind = "approve"\nescalate_to = ["frontier"]\n'


def test_a_need_that_two_hops_cannot_meet_is_found(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, task_text("refund", latency="{ p95_s = 3 }"))
    (finding,) = check_audit(audit, table=table(tmp_path, CASCADE))
    assert (finding.code, finding.level) == ("latency", "warning")
    assert "2 hops" in finding.message


def test_a_cascade_before_a_person_is_found(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, task_text("refund", latency="{ p95_s = 30, interactive = true }"))
    (finding,) = check_audit(audit, table=table(tmp_path, CASCADE))
    assert (finding.code, finding.key) == ("latency", "tasks.refund.latency.interactive")


def test_a_measured_latency_over_the_need_is_an_error(tmp_path: Path) -> None:
    profile = "profile = { n = 10, usd_per_decision = 0.1, latency_p95_s = 4.0 }\n"
    audit = audit_of(tmp_path, task_text("refund", latency="{ p95_s = 3 }"))
    (finding,) = check_audit(
        audit, table=table(tmp_path, f'[tasks.refund]\nkind = "approve"\n{profile}')
    )
    assert (finding.code, finding.level) == ("latency", "error")
    assert "measured 4.0 s" in finding.message


def test_inputs_longer_than_the_guard_allows_are_found(tmp_path: Path) -> None:
    policy = table(
        tmp_path,
        '[prices."scripted/a"]\ninput = 1\noutput = 1\nmax_input_tokens = 400\n'
        '[tasks.refund]\nkind = "approve"\n',
    )
    prices = PriceBook(overrides=policy.price_overrides())
    (finding,) = check_audit(audit_of(tmp_path), table=policy, prices=prices)
    assert finding.code == "window"
    assert "400 tokens, over 80%" in finding.message
