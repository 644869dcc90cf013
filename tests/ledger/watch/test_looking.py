from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from consensus.errors import LedgerError
from consensus.ledger import Ledger
from consensus.ledger.schema import incidents as incident_table
from consensus.ledger.shadows import Shadow, keep_shadow
from consensus.ledger.watch import acknowledge, incidents, look, standing
from consensus.ledger.watch import state as watch_state
from consensus.ledger.watch.counts import Counts
from consensus.ledger.watch.observe import Cursor
from consensus.orchestrators.checks import Check, Judgement
from consensus.policy.demotion import Demotion, demote
from consensus.policy.history import evidence_sha256
from consensus.policy.load import load_policy
from tests.ledger.watch.fixtures import DAY, START, day_of, decision, keep, policy, table_of

ROW = "refund_approval"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "l.db") as opened:
        yield opened


def causes(found: Any) -> list[str]:
    return sorted(one.cause for one in found)


def test_a_row_as_good_as_its_profile_raises_nothing(ledger: Ledger, tmp_path: Path) -> None:
    keep(ledger, day_of(0, 200, 20))
    found = look(ledger, table_of(tmp_path / "p"), now=START + DAY)
    assert found.read == 200
    assert found.open == ()
    by = {reading.monitor: reading for reading in found.rows[0].readings}
    assert by["escalation"].excess.ratio == pytest.approx(1.0)


def test_a_planted_drift_opens_one_incident_with_its_evidence(
    ledger: Ledger, tmp_path: Path
) -> None:
    table = table_of(tmp_path / "p")
    keep(ledger, [*day_of(0, 100, 10), *day_of(1, 250, 75)])
    found = look(ledger, table, now=START + 2 * DAY)
    assert causes(found.opened) == ["escalation"]
    evidence = found.opened[0].evidence
    assert (evidence["n"], evidence["total"]) == (250, 75)
    assert evidence["since"] == "2026-11-03"
    assert evidence["ratio"] == pytest.approx(3.0)
    assert evidence["p_value"] <= 0.05
    assert evidence["e_value"] > 20
    assert evidence["certificate"]["status"] == "certified"
    assert "consensus policy propose" in evidence["command"]
    assert "--out runs/refund_approval-2026-11-04 " in evidence["command"]
    assert "75 of 250" in found.opened[0].says
    keep(ledger, day_of(2, 50, 20))
    again = look(ledger, table, now=START + 3 * DAY)
    assert again.opened == ()
    assert causes(again.open) == ["escalation"]


def test_an_excess_below_the_ratio_is_no_alarm_however_sure(ledger: Ledger, tmp_path: Path) -> None:
    keep(ledger, day_of(0, 400, 120))
    table = table_of(tmp_path / "p", more="[alarms]\nescalation_ratio = 4.0")
    found = look(ledger, table, now=START + DAY)
    reading = next(one for one in found.rows[0].readings if one.monitor == "escalation")
    assert reading.excess.p_value < 0.001
    assert found.open == ()


def test_each_decision_is_counted_once_however_often_one_looks(
    ledger: Ledger, tmp_path: Path
) -> None:
    table = table_of(tmp_path / "p")
    for day in range(3):
        keep(ledger, day_of(day, 30, 3))
        for _ in range(2):
            found = look(ledger, table, now=START + (day + 1) * DAY)
    _, counts = ledger.read(watch_state.load)
    assert sorted(counts[ROW].rates["escalation"].values()) == [[30, 3]] * 3
    assert found.read == 0


def test_decisions_of_one_instant_are_all_counted_over_pages(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.ledger.watch.observe.PAGE", 7)
    keep(ledger, [decision(f"same-{i:03d}", START + 5) for i in range(40)])
    assert look(ledger, table_of(tmp_path / "p"), now=START + DAY).read == 40


def test_days_that_are_too_many_become_one_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consensus.ledger.watch.counts.DAYS_KEPT", 3)
    counts = Counts("b")
    for day in range(6):
        counts.add_rate("escalation", day, 10, day)
        counts.add_values("cost", day, [1.0, 2.0], 1.5)
    assert counts.rates["escalation"] == {0: [40, 6], 4: [10, 4], 5: [10, 5]}
    whole = Counts("b")
    whole.add_values("cost", 0, [1.0, 2.0] * 4, 1.5)
    assert counts.means["cost"][0][:2] == (8, 12.0)
    assert counts.means["cost"][0][2] == pytest.approx(whole.means["cost"][0][2])
    assert Counts.from_json(json.loads(json.dumps(counts.to_json()))) == counts


def test_of_two_looks_at_once_one_counts(ledger: Ledger, tmp_path: Path) -> None:
    keep(ledger, day_of(0, 25, 2))
    before, _ = ledger.read(watch_state.load)
    look(ledger, table_of(tmp_path / "p"), now=START + DAY)
    assert not ledger.work(lambda c: watch_state.save(c, before, Cursor(), {}))


def test_decisions_before_the_certificate_do_not_count(ledger: Ledger, tmp_path: Path) -> None:
    keep(ledger, [decision(f"old-{i}", START - 100 + i, hops=2) for i in range(60)])
    found = look(ledger, table_of(tmp_path / "p"), now=START + DAY)
    assert found.rows[0].readings == ()


def test_new_evidence_ends_the_incident_and_counts_anew(ledger: Ledger, tmp_path: Path) -> None:
    keep(ledger, day_of(0, 200, 80))
    look(ledger, table_of(tmp_path / "p"), now=START + DAY)
    found = look(
        ledger, table_of(tmp_path / "p", profile="calls_per_decision = 2.0"), now=START + 2 * DAY
    )
    assert causes(found.closed) == ["escalation"]
    assert not found.closed[0].open, "told as it is now, and not as it was"
    assert found.open == ()
    assert "new certificate" in str(incidents(ledger, only_open=False)[0].closed_by)


def test_an_acknowledged_incident_comes_again_only_on_new_evidence(
    ledger: Ledger, tmp_path: Path
) -> None:
    table = table_of(tmp_path / "p")
    keep(ledger, day_of(0, 200, 80))
    first = look(ledger, table, now=START + DAY).opened[0]
    ended = acknowledge(ledger, first.incident_id[:8], by="ann", now=START + DAY)
    assert ended.closed_by == "ann"
    assert look(ledger, table, now=START + DAY + 10).open == ()
    keep(ledger, day_of(1, 200, 80))
    assert causes(look(ledger, table, now=START + 2 * DAY).opened) == ["escalation"]
    with pytest.raises(LedgerError, match="has ended"):
        acknowledge(ledger, first.incident_id)


def test_cost_and_output_are_watched_by_their_means(ledger: Ledger, tmp_path: Path) -> None:
    keep(ledger, day_of(0, 300, 30, usd=0.0015, output=140))
    found = look(ledger, table_of(tmp_path / "p"), now=START + DAY)
    assert causes(found.open) == ["cost", "output"]
    cost = next(one for one in found.open if one.cause == "cost").evidence
    assert cost["ratio"] == pytest.approx(1.5)


def test_a_graders_calls_are_no_part_of_the_cost_that_is_compared(
    ledger: Ledger, tmp_path: Path
) -> None:
    for i in range(40):
        one, receipt = decision(f"g-{i}", START + 60 + i, usd=0.001)
        graded, _ = decision(f"g-{i}", START + 61 + i, usd=0.009, purpose="grade", output=900)
        ledger.record_here(one)
        ledger.record_here(graded)
        dear = receipt.decision.model_copy(
            update={"cost": receipt.decision.cost.model_copy(update={"pico_usd": 10_000_000_000})}
        )
        ledger.keep_here(receipt.model_copy(update={"decision": dear}))
    found = look(ledger, table_of(tmp_path / "p"), now=START + DAY)
    by = {reading.monitor: reading for reading in found.rows[0].readings}
    assert by["cost"].rate == pytest.approx(0.001)
    assert by["output"].rate == pytest.approx(90)


GATE = """
[oracles.polite]
kind = "json_schema"
schema = { type = "string" }
"""


def test_gate_failures_are_read_from_the_receipts(ledger: Ledger, tmp_path: Path) -> None:
    check = Check(purpose="gate", oracle="polite")
    said = Judgement(oracle="polite", oracle_sha256="a" * 64, answer="b", passed=False, score=0.0)
    passed = said.model_copy(update={"passed": True, "score": 1.0})
    keep(
        ledger,
        [
            decision(
                f"g-{i:03d}",
                START + 60 + i,
                checks=[check],
                judgements=[said if i % 4 == 0 else passed],
            )
            for i in range(80)
        ],
    )
    table = table_of(tmp_path / "p", more=GATE, row='gate = "polite"', profile="gate_failures = 5")
    found = look(ledger, table, now=START + DAY)
    assert causes(found.open) == ["gate"]
    assert found.open[0].evidence["total"] == 20


def test_disagreement_is_of_the_shadowed_share(ledger: Ledger, tmp_path: Path) -> None:
    for i in range(60):
        shadow = Shadow(
            receipt_id=f"s-{i}",
            task_type=ROW,
            route="frontier",
            inclusion=0.1,
            status="answered",
            outcome="approve",
            agrees=i % 3 != 0,
        )
        keep_shadow(ledger, shadow, kind="approve", created_at=START + 60 + i)
    found = look(ledger, table_of(tmp_path / "p"), now=START + DAY)
    assert causes(found.open) == ["disagreement"]
    assert found.open[0].evidence["total"] == 20


def test_another_served_model_is_one_incident_and_stays_ended(
    ledger: Ledger, tmp_path: Path
) -> None:
    table = table_of(tmp_path / "p")
    keep(ledger, day_of(0, 3, 0, served_model="openai/gpt-5.4-nano-2026-11-01"))
    first = look(ledger, table, now=START + DAY)
    assert causes(first.open) == ["served:openai/gpt-5.4-nano"]
    assert "gpt-5.4-nano-2026-11-01" in first.open[0].says
    acknowledge(ledger, first.open[0].incident_id)
    keep(ledger, day_of(1, 3, 0, served_model="openai/gpt-5.4-nano-2026-11-01"))
    assert look(ledger, table, now=START + 2 * DAY).open == ()
    keep(ledger, day_of(2, 3, 0, served_model="openai/gpt-5.4-nano-2026-12-01"))
    assert len(look(ledger, table, now=START + 3 * DAY).open) == 1


class Book:
    def __init__(self, retires: date | None = None) -> None:
        self.retires = retires

    def price(self, model: str) -> Any:
        rates = {"input": 2.0, "output": 4.0}
        return SimpleNamespace(deprecation_date=self.retires, per_million=lambda: rates)


def test_a_retirement_is_one_incident_for_all_rows_that_ask_the_model(
    ledger: Ledger, tmp_path: Path
) -> None:
    table = table_of(tmp_path / "p", more="[tasks.other]\nkind = 'approve'")
    far = look(ledger, table, prices=Book(date(2027, 6, 1)), now=START)
    assert far.open == ()
    found = look(ledger, table, prices=Book(date(2026, 12, 1)), now=START + 10)
    assert causes(found.open) == ["deprecation:scripted/a", "deprecation:scripted/f"]
    assert found.open[0].evidence["task_types"]
    assert look(ledger, table, now=START + 20).closed == ()
    assert len(look(ledger, table, prices=Book(), now=START + 30).closed) == 2


def test_a_changed_price_opens_the_choice_and_ends_when_it_is_back(
    ledger: Ledger, tmp_path: Path
) -> None:
    table = table_of(tmp_path / "p")
    row = table.tasks[ROW]
    assert row.certificate is not None
    from consensus.policy.certificate import CertifiedPrice

    made = row.certificate.model_copy(
        update={"prices": {"scripted/a": CertifiedPrice(input=1.0, output=4.0)}}
    )
    table = table.model_copy(update={"tasks": {ROW: row.model_copy(update={"certificate": made})}})
    found = look(ledger, table, prices=Book(), now=START)
    assert causes(found.open) == ["price"]
    assert "cost $1" in found.open[0].says


def test_a_demoted_row_is_not_held_against_the_profile_of_another_route(
    ledger: Ledger, tmp_path: Path
) -> None:
    folder = policy(tmp_path / "p", row="demote = true")
    table = load_policy(folder, strict=False)
    keep(ledger, day_of(0, 50, 5))
    look(ledger, table, now=START + DAY)
    evidence = evidence_sha256(table.tasks[ROW])
    demote(folder, {ROW: Demotion(since="now", why="drift", evidence=evidence)})
    keep(ledger, day_of(1, 100, 100))
    found = look(ledger, load_policy(folder, strict=False), now=START + 2 * DAY)
    assert found.rows[0].demoted
    assert found.rows[0].readings == ()


def test_rows_without_a_profile_are_named(ledger: Ledger, tmp_path: Path) -> None:
    table = table_of(tmp_path / "p", more="[tasks.other]\nkind = 'approve'")
    assert look(ledger, table, now=START).unwatched == ("other",)


def test_the_database_itself_holds_one_open_incident_a_cause(ledger: Ledger) -> None:
    def twice(connection: Any) -> None:
        for name in ("a", "b"):
            connection.execute(
                incident_table.insert().values(
                    incident_id=name, task_type="t", cause="cost", baseline="", opened_at=0.0,
                    evidence="{}", told="{}",
                )
            )  # fmt: skip

    with pytest.raises(LedgerError):
        ledger.work(twice)


def test_what_an_incident_holds_has_no_judged_text(ledger: Ledger, tmp_path: Path) -> None:
    keep(ledger, day_of(0, 200, 80))
    found = look(ledger, table_of(tmp_path / "p"), now=START + DAY)
    assert "Unused, 12 days old" not in str(found.to_json())


def test_how_rows_stand_is_read_without_a_look(ledger: Ledger, tmp_path: Path) -> None:
    table = table_of(tmp_path / "p")
    keep(ledger, day_of(0, 40, 4))
    found = look(ledger, table, now=START + DAY)
    keep(ledger, day_of(1, 40, 40))
    assert standing(ledger, table) == found.rows
    assert incidents(ledger) == ()
