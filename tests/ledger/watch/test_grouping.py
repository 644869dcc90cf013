"""One trouble is told once; another one beside it is told too."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consensus.ledger import Ledger
from consensus.ledger.watch import acknowledge, incidents, look
from consensus.ledger.watch.grouping import lead_of
from consensus.ledger.watch.incident import Incident
from consensus.ledger.watch.telling import message, tell
from consensus.policy.table import PolicyTable
from consensus.policy.watch_settings import AlarmSettings
from tests.ledger.watch.fixtures import DAY, START, day_of, keep, table_of

OTHER = "openai/gpt-5.4-nano-2026-11-01"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "l.db") as opened:
        yield opened


@pytest.fixture
def table(tmp_path: Path) -> PolicyTable:
    return table_of(tmp_path / "p")


async def told(
    ledger: Ledger, caplog: pytest.LogCaptureFixture, settings: AlarmSettings | None = None
) -> list[str]:
    """What the log is told of now."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "consensus.watch"):
        await tell(ledger, settings or AlarmSettings(), incidents(ledger))
    return [record.getMessage() for record in caplog.records]


def causes(ledger: Ledger) -> list[str]:
    return sorted(one.monitor for one in incidents(ledger))


async def test_a_changed_model_that_costs_and_writes_more_is_told_once_with_both(
    ledger: Ledger, table: PolicyTable, caplog: pytest.LogCaptureFixture
) -> None:
    keep(ledger, day_of(0, 100, 10))
    look(ledger, table, now=START + DAY)
    keep(ledger, day_of(1, 300, 90, served_model=OTHER, usd=0.003, output=270))
    look(ledger, table, now=START + 2 * DAY)
    assert causes(ledger) == ["cost", "escalation", "output", "served"]
    (said,) = await told(ledger, caplog)
    assert f"is served by {OTHER}" in said
    for part in ("needed another hop", "the mean cost", "the mean output tokens"):
        assert part in said
    lead = next(one for one in incidents(ledger) if one.monitor == "served")
    parts = [one for one in incidents(ledger) if one is not lead and one.part_of]
    assert {one.part_of for one in parts} == {lead.incident_id}
    assert len(message(lead, parts=parts)["with"]) == 3
    assert await told(ledger, caplog) == []


async def test_a_symptom_that_the_test_finds_days_later_is_no_second_alarm(
    ledger: Ledger, table: PolicyTable, caplog: pytest.LogCaptureFixture
) -> None:
    keep(ledger, day_of(0, 5, 0, served_model=OTHER))
    look(ledger, table, now=START + DAY)
    assert len(await told(ledger, caplog)) == 1
    keep(ledger, day_of(1, 300, 30, served_model=OTHER, usd=0.003))
    look(ledger, table, now=START + 2 * DAY)
    assert causes(ledger) == ["cost", "served"]
    assert await told(ledger, caplog) == []


async def test_an_excess_that_began_before_the_model_changed_is_told(
    ledger: Ledger, table: PolicyTable, caplog: pytest.LogCaptureFixture
) -> None:
    for day in range(6):
        keep(ledger, day_of(day, 20, 7))
    keep(ledger, day_of(6, 60, 21, served_model=OTHER))
    look(ledger, table, now=START + 7 * DAY)
    assert causes(ledger) == ["escalation", "served"]
    assert len(await told(ledger, caplog)) == 2


async def test_a_cost_that_escalations_cannot_make_is_told_beside_them(
    ledger: Ledger, table: PolicyTable, caplog: pytest.LogCaptureFixture
) -> None:
    keep(ledger, day_of(0, 300, 60, usd=0.004))
    look(ledger, table, now=START + DAY)
    assert causes(ledger) == ["cost", "escalation"]
    assert len(await told(ledger, caplog)) == 2, "twice the escalations do not cost four times"


async def test_a_cost_that_escalations_can_make_is_told_with_them(
    ledger: Ledger, table: PolicyTable, caplog: pytest.LogCaptureFixture
) -> None:
    keep(ledger, day_of(0, 300, 90, usd=0.002))
    look(ledger, table, now=START + DAY)
    assert causes(ledger) == ["cost", "escalation"]
    assert len(await told(ledger, caplog)) == 1


async def test_the_parts_of_a_muted_cause_are_told(
    ledger: Ledger, table: PolicyTable, caplog: pytest.LogCaptureFixture
) -> None:
    keep(ledger, day_of(0, 300, 30, served_model=OTHER, usd=0.003))
    look(ledger, table, now=START + DAY)
    (said,) = await told(ledger, caplog, AlarmSettings(mute=("served",)))
    assert "the mean cost" in said


async def test_a_part_that_demoted_its_row_is_told(
    ledger: Ledger, table: PolicyTable, caplog: pytest.LogCaptureFixture
) -> None:
    keep(ledger, day_of(0, 300, 90, served_model=OTHER))
    look(ledger, table, now=START + DAY)
    part = next(one for one in incidents(ledger) if one.part_of)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "consensus.watch"):
        await tell(ledger, AlarmSettings(), incidents(ledger), acted={part.incident_id})
    assert len(caplog.records) == 2


async def test_who_acknowledges_a_trouble_ends_all_of_it(
    ledger: Ledger, table: PolicyTable
) -> None:
    keep(ledger, day_of(0, 300, 30, served_model=OTHER, usd=0.003))
    look(ledger, table, now=START + DAY)
    lead = next(one for one in incidents(ledger) if not one.part_of)
    acknowledge(ledger, lead.incident_id, by="ada")
    assert incidents(ledger) == ()
    keep(ledger, day_of(1, 10, 1, served_model=OTHER, usd=0.003))
    assert look(ledger, table, now=START + 2 * DAY).open == ()


async def test_what_is_left_of_a_trouble_when_its_cause_has_ended_is_told(
    ledger: Ledger, table: PolicyTable, caplog: pytest.LogCaptureFixture
) -> None:
    keep(ledger, day_of(0, 300, 30, served_model=OTHER, usd=0.003))
    look(ledger, table, now=START + DAY)
    await told(ledger, caplog)
    lead = next(one for one in incidents(ledger) if not one.part_of)
    from consensus.ledger.watch.incident import close

    ledger.work(lambda c: close(c, lead.incident_id, at=START, by="the row has a new certificate"))
    (said,) = await told(ledger, caplog)
    assert "the mean cost" in said


def incident(name: str, cause: str, at: float, **fields: Any) -> Incident:
    row = fields.pop("row", "refund_approval")
    return Incident(name, row, cause, "b", START + at * DAY, {"since": "2026-11-02", **fields})


def test_one_models_change_is_one_trouble_of_all_rows_that_ask_it() -> None:
    first = incident("1", "served:m", 0, value="m-2")
    again = incident("2", "served:m", 3, value="m-2", row="triage")
    assert lead_of(again, [first], 1.15) == first
    part = incident("3", "cost", 4, row="triage", ratio=2.0)
    again = incident("2", "served:m", 3, value="m-2", row="triage", part_of="1")
    assert lead_of(part, [first, again], 1.15) == first
    assert lead_of(incident("4", "served:m", 3, value="m-3", row="triage"), [first], 1.15) is None


@pytest.mark.parametrize(
    ("times", "ratio", "days", "grouped"),
    [(2.0, 2.2, 1, True), (2.0, 2.4, 1, False), (None, 2.0, 1, False), (2.0, 2.0, 31, False)],
)
def test_a_price_explains_a_cost_that_has_grown_no_more_than_it_within_a_month(
    times: float | None, ratio: float, days: float, grouped: bool
) -> None:
    cause = incident("1", "price", 0, times=times)
    cost = incident("2", "cost", days, ratio=ratio)
    assert (lead_of(cost, [cause], 1.15) is not None) == grouped


@pytest.mark.parametrize(("gate", "grouped"), [(0.05, True), (0.01, False)])
def test_a_gate_explains_the_escalations_that_its_refusals_make(gate: float, grouped: bool) -> None:
    cause = incident("1", "gate", 0, rate=0.02 + gate, profile=0.02)
    more = incident("2", "escalation", 0, rate=0.15, profile=0.10)
    assert (lead_of(more, [cause], 1.15) is not None) == grouped


def test_a_symptom_does_not_explain_its_cause() -> None:
    cost = incident("1", "cost", 0, ratio=2.0)
    assert lead_of(incident("2", "escalation", 0, ratio=2.0), [cost], 1.15) is None
