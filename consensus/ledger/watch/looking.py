"""One look: what is new is counted, every monitor is read, incidents are opened and ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from consensus.ledger.watch import incident as kept
from consensus.ledger.watch.baseline import Baseline, baselines
from consensus.ledger.watch.causes import Prices, causes, figures
from consensus.ledger.watch.counts import MEANS, RATES, Counts, Reading, bound_of
from consensus.ledger.watch.incident import Incident
from consensus.ledger.watch.observe import Seen, observe
from consensus.ledger.watch.settling import settle
from consensus.ledger.watch.state import load, save

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from consensus.ledger.store import Ledger
    from consensus.policy.table import PolicyTable

__all__ = ["Look", "Watched", "look", "standing"]


@dataclass(frozen=True, slots=True)
class Watched:
    """One row as it stands.

    Attributes:
        profile_n: cases of the profile that it is held against.
        demoted: whether it serves by its strongest step, which no profile is of.
        earlier: the day of the earlier certificate that it went back to; its readings are against
            that one's profile. None where it serves by its own choice, or is ``demoted``.
    """

    task_type: str
    profile_n: int
    demoted: bool
    readings: tuple[Reading, ...]
    earlier: date | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data; a ratio over a profile of none is null."""
        return {
            "task_type": self.task_type,
            "profile_n": self.profile_n,
            "demoted": self.demoted,
            "earlier_certificate": None if self.earlier is None else self.earlier.isoformat(),
            "monitors": {reading.monitor: figures(reading) for reading in self.readings},
        }


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found.

    Attributes:
        at: when, in seconds since 1970.
        read: decisions that were new.
        opened, closed: incidents that began or ended with it.
        open: every incident that goes on.
        rows: every watched row.
        unwatched: rows without a profile, which nothing can be held against.
    """

    at: float
    read: int
    opened: tuple[Incident, ...]
    closed: tuple[Incident, ...]
    open: tuple[Incident, ...]
    rows: tuple[Watched, ...]
    unwatched: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As ``consensus ledger watch --json`` prints it."""
        return {
            "at": kept.stamp(self.at),
            "read": self.read,
            "opened": [one.to_json() for one in self.opened],
            "closed": [one.to_json() for one in self.closed],
            "open": [one.to_json() for one in self.open],
            "rows": [row.to_json() for row in self.rows],
            "unwatched": list(self.unwatched),
        }


def look(
    ledger: Ledger, table: PolicyTable, *, prices: Prices | None = None, now: float | None = None
) -> Look:
    """Look once; blocks for as long as the new decisions take to read.

    Several processes may look at the same ledger: of two at once one counts.

    Args:
        ledger: an open ledger; what is counted is kept in it.
        table: the policy in force, with its profiles and ``[watch]``.
        prices: today's; without them neither prices nor retirements are watched.
        now: seconds since 1970.

    Raises:
        LedgerError: it cannot be read or written.
    """
    at = time.time() if now is None else now
    rows = baselines(table)
    before, counts = ledger.read(load)
    after, seen, read = observe(ledger, before, rows, now=at)
    changed = _counted(table, rows, counts, seen)
    counts.update(changed)
    readings = {name: _readings(table, rows[name], counts.get(name)) for name in rows}
    found = causes(table, rows, readings, seen, prices, at)

    def write(connection: Connection) -> tuple[list[Incident], list[Incident]] | None:
        if not save(connection, before, after, changed):
            return None
        priced, ratio = prices is not None, table.watch.ratio
        return settle(connection, rows, found, at, priced=priced, ratio=ratio)

    outcome = ledger.work(write)
    opened, closed = outcome or ([], [])
    return Look(
        at=at,
        read=read if outcome is not None else 0,
        opened=tuple(opened),
        closed=tuple(closed),
        open=kept.incidents(ledger),
        rows=_watched(rows, readings),
        unwatched=tuple(name for name, row in table.tasks.items() if row.profile is None),
    )


def standing(ledger: Ledger, table: PolicyTable) -> tuple[Watched, ...]:
    """Every watched row as the last look left it; nothing is read anew, counted or opened.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    rows = baselines(table)
    _, counts = ledger.read(load)
    return _watched(rows, {n: _readings(table, row, counts.get(n)) for n, row in rows.items()})


def _watched(
    rows: Mapping[str, Baseline], readings: Mapping[str, tuple[Reading, ...]]
) -> tuple[Watched, ...]:
    return tuple(
        Watched(
            name,
            0 if row.profile is None else row.profile.n,
            row.demoted,
            readings[name],
            row.earlier,
        )
        for name, row in rows.items()
    )


def _counted(
    table: PolicyTable,
    rows: Mapping[str, Baseline],
    counts: Mapping[str, Counts],
    seen: Mapping[tuple[str, int], Seen],
) -> dict[str, Counts]:
    """The counts of every row that has changed."""
    alpha = table.watch.alpha
    changed: dict[str, Counts] = {}
    for name, row in rows.items():
        old = counts.get(name)
        if old is None or old.baseline != row.key or (row.demoted and (old.rates or old.means)):
            changed[name] = Counts(row.key)
    for (name, day), new in sorted(seen.items()):
        row = rows[name]
        if row.demoted or row.profile is None:
            continue  # its profile is of another route than the one that serves
        mine = changed.setdefault(name, counts.get(name) or Counts(row.key))
        if new.n:
            mine.add_rate("escalation", day, new.n, new.further)
            mine.add_rate("undecided", day, new.n, new.undecided)
            if row.gated and not row.graded:
                mine.add_rate("gate", day, new.n, new.refused)
            for monitor, values in (("cost", new.usd), ("output", new.output)):
                bound = bound_of(row, monitor, alpha)
                if bound is not None:
                    mine.add_values(monitor, day, values, bound)
        if new.compared:
            mine.add_rate("disagreement", day, new.compared, new.differed)
    return changed


def _readings(table: PolicyTable, row: Baseline, counts: Counts | None) -> tuple[Reading, ...]:
    if counts is None or counts.baseline != row.key:
        return ()
    watched = [monitor for monitor in (*RATES, *MEANS) if monitor in table.watch.on]
    found = (counts.reading(monitor, row, table.watch.alpha) for monitor in watched)
    return tuple(reading for reading in found if reading is not None)
