from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consensus.ledger import Ledger
from consensus.ledger.watch import Watcher, acknowledge, incidents
from consensus.panel.book import load_prompts
from consensus.policy.certifying import route_sha256
from consensus.policy.demotion import promote
from consensus.policy.history import history_file, replaced, with_history
from consensus.policy.load import load_policy
from consensus.policy.route import route_type
from consensus.policy.table import PolicyTable
from tests.ledger.watch.fixtures import decision, keep

NOW = time.time()
TODAY = datetime.now(UTC).date()
HEAD = """
version = 1
[tiers]
small = ["scripted/a"]
mid = ["scripted/m"]
frontier = ["scripted/f"]
[alarms]
log = false
"""


def accepted(folder: Path, tier: str, *, prompts: str | None = None) -> PolicyTable:
    """A certificate of today for this tier, in the place of the one before it."""
    folder.mkdir(exist_ok=True)
    file = folder / "policy.toml"
    if file.exists():
        kept = history_file(folder)
        before = kept.read_text() if kept.exists() else None
        earned = replaced(load_policy(folder), ["refund_approval"], TODAY)
        kept.write_text(with_history(before, earned), encoding="utf-8")
    own = "a" * 64
    for _ in range(2):
        file.write_text(
            f"""{HEAD}
[tasks.refund_approval]
kind = "approve"
strategy = "single"
tier = "{tier}"
escalate_to = ["frontier"]
demote = true
[tasks.refund_approval.certificate]
status = "certified"
n = 500
passes = 495
bound = 0.97
floor = 0.95
delta = 0.05
method = "clopper-pearson"
route = "{own}"
oracle = "{"b" * 64}"
prompts = "{prompts or load_prompts(None).sha256}"
suite = "{"d" * 64}"
run = "runs/{tier}"
date = {TODAY}
[tasks.refund_approval.profile]
n = 500
escalations = 50
usd_per_decision = 0.001
""",
            encoding="utf-8",
        )
        own = route_sha256(load_policy(folder), "refund_approval")
    return load_policy(folder)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "l.db") as made:
        yield made


class Service:
    """A watcher over a folder that is read anew when it says so; its clock is its own."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger, self.folder, self.now = ledger, folder, NOW
        self.table = load_policy(folder)
        self.watcher = Watcher(ledger, lambda: self.table, policy=folder, reload=self.reload)

    async def reload(self) -> None:
        self.table = load_policy(self.folder)

    async def drifts(self, name: str) -> None:
        """Decisions of the next minutes of which nearly half went on; then a look."""
        for i in range(200):
            at = self.now + 10 + i / 10
            keep(self.ledger, [decision(f"{name}-{i:03d}", at, hops=2 if i < 90 else 1)])
        self.now += 60
        await self.watcher.once(self.now)

    @property
    def route(self) -> list[tuple[str, ...]]:
        """The models of each step by which the row serves."""
        return [hop.models for hop in route_type(self.table, "refund_approval").hops]


async def test_an_alarm_takes_the_row_to_its_earlier_certificate_and_a_second_one_to_the_frontier(
    ledger: Ledger, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    accepted(folder, "mid")
    accepted(folder, "small")
    service = Service(ledger, folder)
    await service.drifts("a")
    assert service.route == [("scripted/m",), ("scripted/f",)]
    last = await service.watcher.once(service.now + 1)
    (row,) = last.rows
    assert (row.demoted, row.earlier) == (False, TODAY)
    assert row.readings == (), "what was decided before it went back says nothing of this route"
    assert len(last.open) == 1, "the incident goes on while the row is away from its own choice"

    await service.drifts("b")
    assert service.route == [("scripted/f",)]
    last = await service.watcher.once(service.now + 1)
    assert last.rows[0].demoted
    assert len(last.open) == 1, "told anew, in the place of the first"
    assert last.open[0].opened_at == service.now


async def test_without_an_earlier_certificate_that_holds_the_strongest_step_serves(
    ledger: Ledger, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    accepted(folder, "mid", prompts="e" * 64)
    accepted(folder, "small")
    service = Service(ledger, folder)
    await service.drifts("a")
    assert service.route == [("scripted/f",)]


async def test_an_incident_tells_what_the_row_was_certified_as_before(
    ledger: Ledger, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    accepted(folder, "mid")
    accepted(folder, "small")
    await Service(ledger, folder).drifts("a")
    (one,) = incidents(ledger)
    assert [made["date"] for made in one.evidence["before"]] == [TODAY.isoformat()]


async def test_promoting_undoes_it_and_the_same_incident_demotes_no_more(
    ledger: Ledger, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    accepted(folder, "mid")
    accepted(folder, "small")
    service = Service(ledger, folder)
    await service.drifts("a")
    promote(folder, "refund_approval")
    for one in incidents(ledger):
        acknowledge(ledger, one.incident_id, by="ann")
    await service.reload()
    await service.watcher.once(service.now + 1)
    assert service.route == [("scripted/a",), ("scripted/f",)]


async def test_a_certificate_that_dies_while_it_serves_leaves_the_row_to_its_strongest_step(
    ledger: Ledger, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    accepted(folder, "mid")
    accepted(folder, "small")
    service = Service(ledger, folder)
    await service.drifts("a")
    file = folder / "history.toml"
    file.write_text(file.read_text().replace("max_age_days = 90", ""), encoding="utf-8")
    history = file.read_text().replace(f"date = {TODAY}", "date = 2025-01-01")
    file.write_text(history, encoding="utf-8")
    await service.reload()
    await service.watcher.once(service.now + 1)
    assert service.route == [("scripted/f",)]
    assert service.table.demoted["refund_approval"].to in ("", None)
