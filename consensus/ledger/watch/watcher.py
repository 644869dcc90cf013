"""The watch of a running service: looks, demotes, tells, and begins again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from consensus.errors import PolicyError
from consensus.ledger.watch.causes import Prices
from consensus.ledger.watch.incident import Incident, mark_told, stamp
from consensus.ledger.watch.looking import Look, look
from consensus.ledger.watch.telling import tell, trouble
from consensus.policy.demotion import Demotion, demote, demotion_of, serves_by, standing
from consensus.policy.history import earlier, earned_by, evidence_sha256
from consensus.policy.load import find_policy
from consensus.policy.route import route_type
from consensus.policy.staleness import Current

if TYPE_CHECKING:
    from consensus.ledger.store import Ledger
    from consensus.ledger.watch.metrics import WatchMetrics
    from consensus.policy.table import PolicyTable

__all__ = ["Watcher"]

log = logging.getLogger("consensus.watch")

DEMOTION = "demotion"
"""Stands in an incident's ``told`` once its row was demoted: a promoted row is left alone."""


class Watcher:
    """Watches one ledger against the policy in force.

    Args:
        ledger: an open ledger.
        table: gives the policy in force; asked at every look.
        prices: gives today's prices; None: neither prices nor retirements are watched.
        policy: its folder or file, for demotions. None: nothing is ever demoted.
        reload: puts a changed policy in force at once, after a demotion; without it whoever reads
            the files does in their own time.
        metrics: what Prometheus is shown.
    """

    def __init__(
        self,
        ledger: Ledger,
        table: Callable[[], PolicyTable],
        *,
        prices: Callable[[], Prices] | None = None,
        policy: str | Path | None = None,
        reload: Callable[[], Awaitable[object]] | None = None,
        metrics: WatchMetrics | None = None,
    ) -> None:
        self._ledger, self._table, self._prices = ledger, table, prices
        self._policy, self._reload, self._metrics = policy, reload, metrics
        self.last: Look | None = None

    async def once(self, now: float | None = None) -> Look:
        """Look once, demote and tell.

        Raises:
            LedgerError: the ledger cannot be read or written.
        """
        table = self._table()
        prices = None if self._prices is None else self._prices()
        found = await asyncio.to_thread(look, self._ledger, table, prices=prices, now=now)
        at = time.time() if now is None else now
        demoted = await self._demote(table, found.open, at)
        steps = {name: _told(self._table() if self._reload else table, name) for name in demoted}
        acted = {one for one in demoted.values() if one}
        await tell(self._ledger, table.alarms, found.open, demoted=steps, acted=acted, now=at)
        if self._metrics is not None:
            self._metrics.show(found)
        self.last = found
        return found

    async def run(self) -> None:
        """Look again and again until cancelled; trouble is logged, and the next look may fare
        better.
        """
        while True:
            try:
                await self.once()
            except Exception as error:  # noqa: BLE001 - a watch that dies watches nothing
                log.error("the watch could not look: %s", trouble(error))
            await asyncio.sleep(self._table().watch.every_s)

    async def _demote(
        self, table: PolicyTable, found: tuple[Incident, ...], at: float
    ) -> dict[str, str]:
        """Demote the rows that allow it: the task types that were, and by which incident."""
        if self._policy is None:
            return {}
        wanted: dict[str, Incident] = {}
        for incident in reversed(found):
            row = table.tasks.get(incident.task_type)
            if (
                row is not None
                and row.demote
                and incident.monitor in table.alarms.demote_on
                and DEMOTION not in incident.told
                and incident.baseline == _in_force(table, incident.task_type)
            ):
                wanted.setdefault(incident.task_type, incident)
        tired = {
            name: old
            for name in table.demoted
            if name not in wanted
            and (old := demotion_of(table, name)) is not None
            and old.to
            and standing(table, name) is None
        }
        if not wanted and not tired:
            return {}
        orders = await asyncio.to_thread(self._orders, table, wanted, tired, at)
        try:
            path = await asyncio.to_thread(demote, find_policy(self._policy), orders)
        except PolicyError as error:
            log.error("%s cannot be demoted: %s", ", ".join(orders), error)
            return {}
        for name, order in orders.items():
            if name in wanted:
                mark = {DEMOTION: at}
                await asyncio.to_thread(mark_told, self._ledger, wanted[name].incident_id, mark)
            earned = earned_by(table, name, order.to) if order.to else None
            by = (
                "its strongest step"
                if earned is None
                else f"its certificate of {earned.certificate.date}"
            )
            log.warning("%s serves by %s from now on (%s)", name, by, path)
        if self._reload is not None:
            await self._reload()
        return {name: wanted[name].incident_id if name in wanted else "" for name in orders}

    def _orders(
        self,
        table: PolicyTable,
        wanted: dict[str, Incident],
        tired: dict[str, Demotion],
        at: float,
    ) -> dict[str, Demotion]:
        """Each to the last certificate before the one that failed which still holds."""
        current = today(table, self._ledger, self._policy, at)
        orders = {}
        for name in (*wanted, *tired):
            old = demotion_of(table, name)
            to = earlier(table, name, current, than=old.to if old and old.to else None)
            one = wanted.get(name)
            orders[name] = Demotion(
                since=stamp(at),
                why=one.says[:1000] if one is not None else tired[name].why,
                incident=one.incident_id if one is not None else tired[name].incident,
                evidence=evidence_sha256(table.tasks[name]),
                to="" if to is None else to.sha256,
            )
        return orders


def today(table: PolicyTable, ledger: Ledger, policy: str | Path | None, at: float) -> Current:
    """What holds now, of what a row's earlier certificates rest on; blocks.

    Suites are left out: a service has none, and ``consensus policy check`` compares them.
    """
    from consensus.ledger.served import newest_served
    from consensus.panel.book import load_prompts
    from consensus.policy.load import find_prompts
    from consensus.policy.oracles import oracle_of

    return Current(
        today=datetime.fromtimestamp(at, UTC).date(),
        prompts=load_prompts(find_prompts(find_policy(policy))).sha256,
        oracles={
            name: oracle_of(table, row.oracle).sha256
            for name, row in table.tasks.items()
            if row.oracle in table.oracles
        },
        served=newest_served(ledger),
    )


def _told(table: PolicyTable, task_type: str) -> str:
    """What an alarm says that serves now: an earlier certificate, or the step's own name."""
    if standing(table, task_type) is not None:
        return serves_by(table, task_type) or ""
    return route_type(table, task_type).hops[-1].name


def _in_force(table: PolicyTable, task_type: str) -> str | None:
    """Hash of the evidence that the row serves by; None where that is its strongest step."""
    stands = standing(table, task_type)
    if stands is not None:
        return stands[1].sha256
    demoted = demotion_of(table, task_type) is not None
    return None if demoted else evidence_sha256(table.tasks[task_type])
