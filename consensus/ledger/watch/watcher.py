"""The watch of a running service: looks, demotes, tells, and begins again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from consensus.errors import PolicyError
from consensus.ledger.watch.incident import Incident, mark_told, stamp
from consensus.ledger.watch.looking import Look, Prices, look
from consensus.ledger.watch.telling import tell, trouble
from consensus.policy.demotion import Demotion, demote, demotion_of, evidence_sha256
from consensus.policy.load import find_policy
from consensus.policy.route import route_type

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
        steps = {
            name: route_type(self._table() if self._reload else table, name).hops[-1].name
            for name in demoted
        }
        await tell(self._ledger, table.alarms, found.open, demoted=steps, now=at)
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
    ) -> tuple[str, ...]:
        """Demote the rows that allow it; the task types that were."""
        wanted: dict[str, Incident] = {}
        for incident in reversed(found):
            row = table.tasks.get(incident.task_type)
            if (
                self._policy is not None
                and row is not None
                and row.demote
                and incident.monitor in table.alarms.demote_on
                and DEMOTION not in incident.told
                and incident.baseline == evidence_sha256(row)
                and demotion_of(table, incident.task_type) is None
            ):
                wanted.setdefault(incident.task_type, incident)
        if not wanted:
            return ()
        orders = {
            name: Demotion(
                since=stamp(at),
                why=one.says[:1000],
                incident=one.incident_id,
                evidence=one.baseline,
            )
            for name, one in wanted.items()
        }
        try:
            path = await asyncio.to_thread(demote, find_policy(self._policy), orders)
        except PolicyError as error:
            log.error("%s cannot be demoted: %s", ", ".join(wanted), error)
            return ()
        for name, one in wanted.items():
            await asyncio.to_thread(mark_told, self._ledger, one.incident_id, {DEMOTION: at})
            log.warning("%s serves by its strongest step from now on (%s)", name, path)
        if self._reload is not None:
            await self._reload()
        return tuple(wanted)
