"""One look: what is new is counted, every monitor is read, incidents are opened and ended."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from consensus.errors import ConsensusError
from consensus.ledger.rows import SECONDS_A_DAY
from consensus.ledger.watch import incident as kept
from consensus.ledger.watch.baseline import Baseline, baselines
from consensus.ledger.watch.counts import MEANS, RATES, Counts, Reading, bound_of
from consensus.ledger.watch.incident import Incident
from consensus.ledger.watch.observe import Seen, observe
from consensus.ledger.watch.state import load, save
from consensus.models.ids import new_id
from consensus.policy.route import route_type
from consensus.policy.staleness import Current, price_changes

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from consensus.ledger.store import Ledger
    from consensus.models.rates import ModelPrice
    from consensus.policy.table import PolicyTable
    from consensus.policy.watch_settings import Monitor

__all__ = ["Look", "Prices", "Watched", "look", "standing"]


class Prices(Protocol):
    """Where prices and retirements are looked up: a ``PriceBook``."""

    def price(self, model: str) -> ModelPrice:
        """The price, or :class:`PriceError`."""
        ...


@dataclass(frozen=True, slots=True)
class Watched:
    """One row as it stands."""

    task_type: str
    profile_n: int
    demoted: bool
    readings: tuple[Reading, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data; a ratio over a profile of none is null."""
        return {
            "task_type": self.task_type,
            "profile_n": self.profile_n,
            "demoted": self.demoted,
            "monitors": {reading.monitor: _figures(reading) for reading in self.readings},
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


@dataclass(frozen=True, slots=True)
class _Found:
    """Something to open an incident for. The same ``value`` is not told again once it was ended."""

    task_type: str
    cause: str
    baseline: str
    evidence: Mapping[str, Any]
    value: str | None = None


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
    found = [
        *_crossings(table, rows, readings, at),
        *_served_otherwise(table, rows, seen),
        *_prices_changed(table, rows, prices, at),
        *_retirements(table, prices, at),
    ]

    def write(connection: Connection) -> tuple[list[Incident], list[Incident]] | None:
        if not save(connection, before, after, changed):
            return None
        return _settle(connection, rows, found, at, priced=prices is not None)

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
        Watched(name, 0 if row.profile is None else row.profile.n, row.demoted, readings[name])
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


def _crossings(
    table: PolicyTable,
    rows: Mapping[str, Baseline],
    readings: Mapping[str, tuple[Reading, ...]],
    at: float,
) -> Iterator[_Found]:
    for name, row in rows.items():
        for reading in readings[name]:
            if reading.crossed(_ratio(table, reading.monitor), table.watch.least):
                evidence = {
                    "says": _sentence(row, reading),
                    "first_crossed_at": kept.stamp(at),
                    **_figures(reading),
                    "profile_n": 0 if row.profile is None else row.profile.n,
                    **_history(row, name),
                }
                yield _Found(name, reading.monitor, row.key, evidence)


def _served_otherwise(
    table: PolicyTable, rows: Mapping[str, Baseline], seen: Mapping[tuple[str, int], Seen]
) -> Iterator[_Found]:
    if "served" not in table.watch.on:
        return
    new: dict[tuple[str, str], set[str]] = {}
    for (name, _), one in seen.items():
        made = rows[name].certificate
        if made is None or rows[name].demoted:
            continue
        for model, names in one.served.items():
            others = names - set(made.served.get(model, names))
            if others:
                new.setdefault((name, model), set()).update(others)
    for (name, model), others in sorted(new.items()):
        made = rows[name].certificate
        was = ", ".join(made.served[model]) if made is not None else ""
        now = ", ".join(sorted(others))
        evidence = {
            "says": f"{name}: {model} is served by {now}, and was certified as {was}",
            "model": model,
            "served": sorted(others),
            "certified": was,
            **_history(rows[name], name),
        }
        yield _Found(name, f"served:{model}", rows[name].key, evidence, now)


def _prices_changed(
    table: PolicyTable, rows: Mapping[str, Baseline], prices: Prices | None, at: float
) -> Iterator[_Found]:
    if prices is None or "price" not in table.watch.on:
        return
    current = Current(today=_day(at), prices=prices)
    for name, row in rows.items():
        said = [] if row.certificate is None else price_changes(row.certificate, current)
        if said:
            evidence = {
                "says": f"{name}: {'; '.join(said)}: the bound stands, the choice is open again",
                "changes": said,
                "command": f"consensus policy propose {_run(row)} --type {name}",
            }
            yield _Found(name, "price", row.key, evidence, "; ".join(said))


def _retirements(table: PolicyTable, prices: Prices | None, at: float) -> Iterator[_Found]:
    if prices is None or "deprecation" not in table.watch.on:
        return
    users: dict[str, list[str]] = {}
    for name in table.tasks:
        try:
            for model in route_type(table, name).models:
                users.setdefault(model, []).append(name)
        except ConsensusError:
            continue  # a row that cannot be followed is for the check to tell
    last = _day(at) + timedelta(days=table.watch.deprecation_days)
    for model, names in sorted(users.items()):
        try:
            retires = prices.price(model).deprecation_date
        except ConsensusError:
            continue
        if retires is not None and retires <= last:
            evidence = {
                "says": f"{model} retires on {retires}; {len(names)} task types ask it: "
                f"{', '.join(names[:10])}",
                "model": model,
                "retires": retires.isoformat(),
                "task_types": names,
                "command": "consensus policy refresh --run RUN --new-model MODEL",
            }
            yield _Found("", f"deprecation:{model}", "", evidence, retires.isoformat())


def _settle(
    connection: Connection,
    rows: Mapping[str, Baseline],
    found: list[_Found],
    at: float,
    *,
    priced: bool,
) -> tuple[list[Incident], list[Incident]]:
    """End what no longer holds, open what is new; within the transaction of the counts."""
    history = kept.read(connection)
    causes = {(one.task_type, one.cause) for one in found}
    closed, going = [], {}
    for old in history:
        if not old.open:
            continue
        why = _over(old, rows, causes if priced else None)
        if why is None:
            going[old.task_type, old.cause] = old
        else:
            kept.close(connection, old.incident_id, at=at, by=why)
            closed.append(old)
    ended = {
        (one.task_type, one.cause, one.baseline, one.evidence.get("value"))
        for one in history
        if not one.open
    }
    opened = []
    for one in found:
        again = one.value is not None and (
            (one.task_type, one.cause, one.baseline, one.value) in ended
        )
        if (one.task_type, one.cause) in going or again:
            continue
        evidence = dict(one.evidence)
        if one.value is not None:
            evidence["value"] = one.value
        incident = Incident(new_id(), one.task_type, one.cause, one.baseline, at, evidence)
        kept.insert(connection, incident)
        opened.append(incident)
    return opened, closed


def _over(
    old: Incident, rows: Mapping[str, Baseline], causes: set[tuple[str, str]] | None
) -> str | None:
    """Why an incident has ended by itself; None where it goes on."""
    if old.task_type:
        row = rows.get(old.task_type)
        if row is None:
            return "the row has no evidence any more"
        if row.key != old.baseline:
            return "the row has a new certificate or profile"
    looked_up = old.monitor in ("price", "deprecation") and causes is not None
    if looked_up and (old.task_type, old.cause) not in (causes or ()):
        return "it is no longer so"
    return None


def _ratio(table: PolicyTable, monitor: Monitor) -> float:
    return table.alarms.escalation_ratio if monitor == "escalation" else table.watch.ratio


def _figures(reading: Reading) -> dict[str, Any]:
    found = reading.excess
    return {
        "since": _day(reading.since * SECONDS_A_DAY).isoformat(),
        "n": found.n,
        "total": found.total,
        "rate": reading.rate,
        "profile": reading.profile,
        "ratio": found.ratio if math.isfinite(found.ratio) else None,
        "p_value": found.p_value,
        "e_value": found.e_value,
        "limit": reading.limit,
    }


_WORDS: Mapping[str, str] = {
    "escalation": "needed another hop",
    "undecided": "ended without an outcome",
    "gate": "were refused by the gate",
    "disagreement": "differ from the stronger route beside them",
}


def _sentence(row: Baseline, reading: Reading) -> str:
    found, since = reading.excess, _day(reading.since * SECONDS_A_DAY)
    times = f"{found.ratio:.2f} x" if math.isfinite(found.ratio) else "and none in"
    if reading.monitor in _WORDS:
        against = row.rate(reading.monitor)
        of = f"{against[1]:,} of {against[0]:,}" if against else ""
        return (
            f"{row.task_type}: since {since} {found.total:,.0f} of {found.n:,} decisions "
            f"{_WORDS[reading.monitor]} ({reading.rate:.1%}); {times} the profile's {of} "
            f"({reading.profile:.1%})"
        )
    what, unit = ("cost", "$") if reading.monitor == "cost" else ("output tokens", "")
    return (
        f"{row.task_type}: since {since} the mean {what} of {found.n:,} decisions is "
        f"{unit}{reading.rate:.6g}; {times} the profile's {unit}{reading.profile:.6g}"
    )


def _history(row: Baseline, name: str) -> dict[str, Any]:
    """What the row has earned, and what to run."""
    made = row.certificate
    return {
        "certificate": None
        if made is None
        else {
            "status": made.status,
            "date": made.date.isoformat(),
            "bound": made.bound,
            "floor": made.floor,
            "n": made.n,
        },
        "command": f"consensus bench run SUITE --out runs/{name} && "
        f"consensus policy propose runs/{name} --type {name}",
    }


def _run(row: Baseline) -> str:
    return (row.certificate.run if row.certificate is not None else "") or "RUN"


def _day(at: float) -> date:
    return datetime.fromtimestamp(at, UTC).date()
