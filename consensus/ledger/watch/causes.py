"""What would open an incident, with its evidence in plain data and in a sentence.

A monitor that has crossed, another model or price than was certified, a model that is about to go.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from consensus.errors import ConsensusError
from consensus.ledger.rows import SECONDS_A_DAY
from consensus.ledger.watch.baseline import Baseline
from consensus.ledger.watch.counts import Reading
from consensus.ledger.watch.incident import stamp
from consensus.ledger.watch.observe import Seen
from consensus.policy.route import route_type
from consensus.policy.staleness import Current, price_changes, price_factor

if TYPE_CHECKING:
    from consensus.models.rates import ModelPrice
    from consensus.policy.certificate import Certificate
    from consensus.policy.table import PolicyTable
    from consensus.policy.watch_settings import Monitor

__all__ = ["Cause", "Prices", "causes", "figures"]


class Prices(Protocol):
    """Where prices and retirements are looked up: a ``PriceBook``."""

    def price(self, model: str) -> ModelPrice:
        """The price, or :class:`PriceError`."""
        ...


@dataclass(frozen=True, slots=True)
class Cause:
    """Something to open an incident for. The same ``value`` is not told again once it was ended."""

    task_type: str
    cause: str
    baseline: str
    evidence: Mapping[str, Any]
    value: str | None = None


def causes(
    table: PolicyTable,
    rows: Mapping[str, Baseline],
    readings: Mapping[str, tuple[Reading, ...]],
    seen: Mapping[tuple[str, int], Seen],
    prices: Prices | None,
    at: float,
) -> list[Cause]:
    """Everything of one look that is worth an incident, whether or not one is open already.

    Args:
        table: the policy in force.
        rows: what each row is held against; readings: how its monitors stand.
        seen: what was new, by task type and day.
        prices: today's; None: neither prices nor retirements are looked up.
        at: seconds since 1970.
    """
    return [
        *_crossings(table, rows, readings, at),
        *_served_otherwise(table, rows, seen, at),
        *_prices_changed(table, rows, prices, at),
        *_retirements(table, prices, at),
    ]


def _crossings(
    table: PolicyTable,
    rows: Mapping[str, Baseline],
    readings: Mapping[str, tuple[Reading, ...]],
    at: float,
) -> Iterator[Cause]:
    for name, row in rows.items():
        for reading in readings[name]:
            if reading.crossed(_ratio(table, reading.monitor), table.watch.least):
                evidence = {
                    "says": _sentence(row, reading),
                    "first_crossed_at": stamp(at),
                    **figures(reading),
                    "profile_n": 0 if row.profile is None else row.profile.n,
                    **_history(row, name, at),
                }
                yield Cause(name, reading.monitor, row.key, evidence)


def _served_otherwise(
    table: PolicyTable,
    rows: Mapping[str, Baseline],
    seen: Mapping[tuple[str, int], Seen],
    at: float,
) -> Iterator[Cause]:
    if "served" not in table.watch.on:
        return
    new: dict[tuple[str, str], set[str]] = {}
    first: dict[tuple[str, str], int] = {}
    for (name, day), one in seen.items():
        made = rows[name].certificate
        if made is None or rows[name].demoted:
            continue
        for model, names in one.served.items():
            others = names - set(made.served.get(model, names))
            if others:
                new.setdefault((name, model), set()).update(others)
                first[name, model] = min(day, first.get((name, model), day))
    for (name, model), others in sorted(new.items()):
        made = rows[name].certificate
        was = ", ".join(made.served[model]) if made is not None else ""
        now = ", ".join(sorted(others))
        evidence = {
            "says": f"{name}: {model} is served by {now}, and was certified as {was}",
            "model": model,
            "served": sorted(others),
            "certified": was,
            "since": _day(first[name, model] * SECONDS_A_DAY).isoformat(),
            **_history(rows[name], name, at),
        }
        yield Cause(name, f"served:{model}", rows[name].key, evidence, now)


def _prices_changed(
    table: PolicyTable, rows: Mapping[str, Baseline], prices: Prices | None, at: float
) -> Iterator[Cause]:
    if prices is None or "price" not in table.watch.on:
        return
    current = Current(today=_day(at), prices=prices)
    for name, row in rows.items():
        if row.certificate is not None and (said := price_changes(row.certificate, current)):
            evidence = {
                "says": f"{name}: {'; '.join(said)}: the bound stands, the choice is open again",
                "changes": said,
                "times": price_factor(row.certificate, current),
                "since": _day(at).isoformat(),
                "command": f"consensus policy propose {_run(row)} --type {name}",
            }
            yield Cause(name, "price", row.key, evidence, "; ".join(said))


def _retirements(table: PolicyTable, prices: Prices | None, at: float) -> Iterator[Cause]:
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
                "says": f"{model} retires on {retires}; {len(names)} task "
                f"{'type asks' if len(names) == 1 else 'types ask'} it: {', '.join(names[:10])}",
                "model": model,
                "retires": retires.isoformat(),
                "task_types": names,
                "command": "consensus policy refresh --run RUN --new-model MODEL",
            }
            yield Cause("", f"deprecation:{model}", "", evidence, retires.isoformat())


def _ratio(table: PolicyTable, monitor: Monitor) -> float:
    return table.alarms.escalation_ratio if monitor == "escalation" else table.watch.ratio


def figures(reading: Reading) -> dict[str, Any]:
    """One monitor as plain data; a ratio over a profile of none is null."""
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
        f"{unit}{_plain(reading.rate)}; {times} the profile's {unit}{_plain(reading.profile)}"
    )


def _plain(value: float) -> str:
    """Four figures without an exponent: a person reads it."""
    return f"{Decimal(f'{value:.4g}'):f}"


def _history(row: Baseline, name: str, at: float) -> dict[str, Any]:
    """What the row has earned, and what to run.

    Into a folder of its own: in the certificate's, every answer is there already.
    """
    folder = f"runs/{name}-{_day(at)}"
    return {
        "certificate": None if row.certificate is None else _earned(row.certificate),
        "before": [_earned(made) for made in row.before if made != row.certificate],
        "command": f"consensus bench run SUITE --out {folder} && "
        f"consensus policy propose {folder} --type {name}",
    }


def _run(row: Baseline) -> str:
    return (row.certificate.run if row.certificate is not None else "") or "RUN"


def _day(at: float) -> date:
    return datetime.fromtimestamp(at, UTC).date()


def _earned(made: Certificate) -> dict[str, Any]:
    return {
        "status": made.status,
        "date": made.date.isoformat(),
        "bound": made.bound,
        "floor": made.floor,
        "n": made.n,
    }
