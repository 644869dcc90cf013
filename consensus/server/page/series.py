"""What the page draws over time: decisions, money, escalations and agreement, bucket by bucket.

All money comes from :mod:`consensus.ledger.attribution`. A long stretch is cut into whole days; a
short one of a small ledger into minutes or hours, which costs a query a bucket.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from consensus.ledger.attribution import CostGroup, CostReport, attribute
from consensus.ledger.store import Ledger

if TYPE_CHECKING:
    from consensus.models.rates import ModelPrice

__all__ = ["Bucket", "Overview", "overview"]

DAY = 86_400
FINE = (60, 300, 900, 3_600, 10_800)
"""Seconds of a bucket shorter than a day."""
MOST = 60
"""Buckets that a chart on a telephone can still show."""
LONG = 10
"""Times the 95th percentile of a decision's time that a bucket is long at least."""
SMALL = 20_000
"""Calls up to which a ledger is asked once a bucket: no index knows the calls of a minute."""


@dataclass(slots=True)
class Bucket:
    """One task type within one stretch of time. Money is in pico-dollars.

    ``cost`` is what its decisions were paid, without what was asked beside them; ``compared`` are
    those that a frontier or a shadow was asked beside and both had an outcome.
    """

    decisions: int = 0
    escalations: int = 0
    cost: int = 0
    compared: int = 0
    agreed: int = 0

    def add(self, group: CostGroup) -> None:
        """Put a group of the attribution into it."""
        self.decisions += group.decisions
        self.escalations += group.escalations or 0
        self.cost += group.cost_pico - group.beside_pico
        if group.beside is not None:
            self.compared += group.beside.compared
            self.agreed += group.beside.agreed


@dataclass(frozen=True, slots=True)
class Overview:
    """The stretch of time as a whole, and cut into buckets.

    Attributes:
        report: the attribution of the whole stretch, by type and day.
        step: seconds of a bucket.
        starts: where each bucket begins, in seconds since 1970; without gaps.
        types: by task type, a bucket for each of ``starts``.
        first: when the first decision was kept, in seconds since 1970; None without any.
    """

    report: CostReport
    step: int
    starts: tuple[int, ...]
    types: dict[str, tuple[Bucket, ...]]
    first: float | None = None


def overview(
    ledger: Ledger, *, since: float | None, frontier: tuple[str, ModelPrice] | None
) -> Overview:
    """Sum a ledger up over time.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    report = attribute(ledger, by=("type", "day"), since=since, frontier=frontier)
    ends = _ends(ledger, since)
    if ends is None:
        return Overview(report, DAY, (), {})
    first, last = ends
    step = _step(first, last, report)
    start = int(first // step) * step
    starts = tuple(range(start, int(last) + 1, step))
    found: dict[str, list[Bucket]] = defaultdict(lambda: [Bucket() for _ in starts])
    if step >= DAY:
        for group in report.groups:
            place = (_day_start(group.key[1]) - start) // step
            # A call may have begun on the day before its decision was kept.
            found[group.key[0]][min(max(0, place), len(starts) - 1)].add(group)
    else:
        for place, begin in enumerate(starts):
            part = attribute(
                ledger,
                since=max(begin, since or 0) if place else since,
                until=begin + step if place < len(starts) - 1 else None,
            )
            for group in part.groups:
                found[group.key[0]][place].add(group)
    for task_type, created, agrees in _shadows(ledger, since):
        place = int(created - start) // step
        bucket = found[task_type][min(max(0, place), len(starts) - 1)]
        bucket.compared += 1
        bucket.agreed += int(agrees)
    types = {name: tuple(found[name]) for name in sorted(found)}
    return Overview(report, step, starts, types, first)


def _step(first: float, last: float, report: CostReport) -> int:
    if report.total.calls + report.total.replayed <= SMALL:
        # A call falls on the moment it began, its decision on the moment it was kept: a bucket
        # must be long against a decision, or its money and its decisions do not match.
        least = LONG * (report.total.latency_p95_s or 0.0)
        for step in FINE:
            if step >= least and last // step - first // step < MOST:
                return step
    days = int(last // DAY - first // DAY) + 1
    return DAY * ceil(days / MOST)


def _ends(ledger: Ledger, since: float | None) -> tuple[float, float] | None:
    """When the first and the last decision were kept."""
    from sqlalchemy import func, select

    from consensus.ledger.schema import decisions as d

    query = select(func.min(d.c.created_at), func.max(d.c.created_at))
    if since is not None:
        query = query.where(d.c.created_at >= since)
    first, last = ledger.read(lambda connection: _pair(connection.execute(query).one()))
    return None if first is None or last is None else (first, last)


def _shadows(ledger: Ledger, since: float | None) -> list[tuple[str, float, bool]]:
    """Type, time and agreement of the shadows that could be compared."""
    from sqlalchemy import select

    from consensus.ledger.schema import shadows as s

    query = select(s.c.task_type, s.c.created_at, s.c.agrees).where(s.c.agrees.is_not(None))
    if since is not None:
        query = query.where(s.c.created_at >= since)
    return ledger.read(lambda connection: [tuple(row) for row in connection.execute(query)])


def _pair(row: Any) -> tuple[float | None, float | None]:
    return row[0], row[1]


def _day_start(day: str) -> int:
    from datetime import UTC, datetime

    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
