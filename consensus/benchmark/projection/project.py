"""Expected traffic × routes: what a month and a year cost, before and after, and how sure that is.

Three things are kept apart wherever they are shown. *Measured* rows have an interval from
resampling cases. *Assumed* rows have none: they are expected tokens at list prices, and a total
says which share of it they are. *Best and worst* are no interval either: escalation at the ends of
its confidence bounds, and in the worst case every request as long as the audit's 95th percentile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.projection.breakeven import (
    CascadeBreakEven,
    Classifier,
    ClassifierBreakEven,
    ManyCalls,
    cascade_break_even,
    classifier_break_even,
    many_calls,
)
from consensus.benchmark.projection.measurement import (
    FrontierCost,
    Measurement,
    Priced,
    Roles,
    Source,
    assumed,
    draw_means,
    expected_tokens,
    from_profile,
)
from consensus.benchmark.projection.tariff import Parts, Tariff, Tokens, tariff_of
from consensus.benchmark.projection.traffic import Flow, WhatIf
from consensus.errors import DeclarationError, PolicyError
from consensus.policy.estimate import frontier_model
from consensus.policy.route import Route, route_type
from consensus.policy.table import PolicyTable
from consensus.statistics.intervals import clopper_pearson

__all__ = ["Line", "Projection", "Span", "project"]

MONTHS = 12
UNLIKE = 1.25
"""Measured tokens of a call further than this factor from the audit's median are remarked upon."""

NOTHING = 1e-9
"""A saving below this share of the cost is no saving."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Span:
    """Two ends, in dollars a month."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """One task type, a group of them, or the total; dollars a month throughout.

    Attributes:
        name: the task type, or the group.
        group: what a task type is summed under.
        monthly: requests.
        share: of all requests.
        route: in words: the first choice, and what it escalates to.
        source: where the route's cost comes from; None for a sum of several.
        assumed_share: part of ``after`` that is assumed and not measured.
        before, before_measured: one frontier call a request, and whether that was measured.
        after: the routes as the policy has them.
        interval, saved_interval: 95 %, measured parts only; None where nothing was measured.
        best, worst: see the module.
        parts: ``after`` by class of token.
        roles: ``after`` by what it bought.
        escalation, escalation_interval: share of decisions; None where not measured.
        latency_p50_s, latency_p95_s, frontier_latency_s: seconds; None where unknown.
        cascade: of a route that escalates.
        notes: what a reader must know.
    """

    name: str
    group: str
    owner: str
    monthly: float
    share: float
    route: str
    source: Source | None
    n: int
    assumed_share: float
    before: float
    before_measured: bool
    after: float
    interval: Span | None
    saved_interval: Span | None
    best: float
    worst: float
    parts: Parts
    roles: Roles
    escalation: float | None = None
    escalation_interval: tuple[float, float] | None = None
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    frontier_latency_s: float | None = None
    latency_needed_s: float | None = None
    cascade: CascadeBreakEven | None = None
    notes: tuple[str, ...] = ()

    @property
    def saved(self) -> float:
        """Dollars a month; negative where the routes cost more."""
        difference = self.before - self.after
        # The same route on both sides: what is left of it is the rounding of floats.
        return difference if abs(difference) > NOTHING * max(self.before, self.after) else 0.0

    @property
    def change(self) -> float | None:
        """After against before, as a share: −0.5 is half the price. None where before is free."""
        return self.after / self.before - 1 if self.before else None

    @property
    def latency_ratio(self) -> float | None:
        """The frontier's median over the route's: above 1 the route is faster."""
        if not self.latency_p50_s or self.frontier_latency_s is None:
            return None
        return self.frontier_latency_s / self.latency_p50_s


@dataclass(frozen=True, slots=True)
class Projection:
    """What a month costs.

    Attributes:
        frontier: the model of *before*.
        types: a line a task type, dearest saving first.
        groups: the same summed: by the audit's complexity, or by first tier.
        total: everything.
        what_if: what was assumed to be otherwise; its words.
        policy_version: of the table.
        prices_date: the day of the price map, ISO.
        traffic: where the volumes come from.
    """

    frontier: str
    types: tuple[Line, ...]
    groups: tuple[Line, ...]
    total: Line
    classifier: ClassifierBreakEven | None
    ten_calls: ManyCalls | None
    what_if: tuple[str, ...]
    policy_version: str
    prices_date: str
    traffic: str
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Worked:
    """One task type worked out, with its draws for the sums."""

    line: Line
    after: Floats | None = None
    saved: Floats | None = None
    tokens: Tokens = field(default_factory=Tokens)


def project(
    table: PolicyTable,
    flows: Sequence[Flow],
    *,
    measurements: Mapping[str, Measurement] | None = None,
    what_if: WhatIf | None = None,
    classifier: Classifier | None = None,
    frontier: str | None = None,
    traffic: str = "",
    otherwise: Sequence[str] = (),
    draws: int = 2_000,
    seed: int = 0,
) -> Projection:
    """Project a month.

    Args:
        table: the policy: its routes, prices and tiers.
        flows: the expected traffic.
        measurements: by task type, in place of what the row's own profile says.
        what_if: other volumes, prices or caching.
        classifier: what a content classifier would cost.
        frontier: the model of *before*; the first of the tier ``frontier`` otherwise.
        traffic: where the volumes come from, in words.
        otherwise: what else is not as it is now, in words: a table that is only proposed.
        draws: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        DeclarationError: no traffic, no frontier, or a what-if that touches nothing.
        PolicyError: a route cannot be followed.
        PriceError: a model has no known price.
    """
    chosen = what_if or WhatIf()
    top = frontier or frontier_model(table)
    if top is None:
        raise PolicyError(
            "names no frontier to compare with",
            where=table.source,
            fix='add frontier = ["MODEL"] under [tiers], or give --frontier MODEL',
        )
    if not flows:
        raise DeclarationError("no task type has any traffic", where=traffic or "traffic")
    today = tariff_of(table)
    tariff = tariff_of(table, prices=chosen.prices, cached=chosen.cached)
    given = measurements or {}
    rng = np.random.default_rng(seed)
    used = {top}
    worked: list[_Worked] = []
    moved = chosen.apply(flows)
    whole = sum(flow.monthly for flow in moved)
    for flow in moved:
        way = route_type(table, flow.task_type)
        measured = given.get(flow.task_type) or _known(table, flow, way, today)
        used |= measured.models()
        share = flow.monthly / whole if whole else 0.0
        worked.append(_work(flow, share, way, measured, top, today, tariff, rng, draws))
    for model in chosen.prices:
        if model not in used:
            raise DeclarationError(
                f'no route uses "{model}"', where="--price", fix=f"one of {', '.join(sorted(used))}"
            )
    total = _sum("total", "", worked, whole)
    by_group: dict[str, list[_Worked]] = {}
    for one in worked:
        by_group.setdefault(one.line.group, []).append(one)
    rank = {"low": 0, "medium": 1, "high": 2}
    names = sorted(by_group, key=lambda name: (rank.get(name, 3), name))
    typical = _typical(worked, whole)
    return Projection(
        frontier=top,
        types=tuple(
            sorted((one.line for one in worked), key=lambda line: (-line.saved, line.name))
        ),
        groups=tuple(_sum(name, name, by_group[name], whole) for name in names),
        total=total,
        classifier=classifier_break_even(
            total.before, total.after, whole, classifier or Classifier()
        ),
        ten_calls=many_calls(tariff, table.tiers.get("mid", ()), top, typical),
        what_if=(*otherwise, *chosen.words()),
        policy_version=table.version_hash,
        prices_date=tariff.book.date.isoformat(),
        traffic=traffic,
        notes=_notes(worked, table),
    )


def _known(table: PolicyTable, flow: Flow, way: Route, today: Tariff) -> Measurement:
    """What the row's own profile says, else the arithmetic of the audit's lengths."""
    row = table.tasks.get(flow.task_type)
    if row is None or row.profile is None or not row.profile.n:
        return assumed(flow, way)
    prices = {} if row.certificate is None else dict(row.certificate.prices)
    return from_profile(row.profile, way, prices, today)


def _work(
    flow: Flow,
    share: float,
    way: Route,
    measured: Measurement,
    top: str,
    today: Tariff,
    tariff: Tariff,
    rng: np.random.Generator,
    times: int,
) -> _Worked:
    priced = measured.priced(tariff)
    # Where no tokens were recorded, one frontier call is of the expected length.
    tokens = measured.call_tokens if measured.call_tokens.prompt else expected_tokens(flow, way)
    front, factor = _frontier_usd(measured.frontier, top, tokens, measured.at or today, tariff)
    volume = flow.monthly
    drawn = draw_means(measured, priced, rng, times)
    after = saved = None
    if drawn is not None:
        after = drawn.route * volume
        beside = front if drawn.frontier is None else drawn.frontier * factor
        saved = beside * volume - after
    interval = _span(after)
    rate = low = high = None
    if measured.n and len(way.hops) > 1:
        rate = measured.rate
        low, high = clopper_pearson(measured.escalations, measured.n)[:2]
    best, worst = _ends(flow, way, measured, priced, (low, high), tariff)
    cascade = None
    if len(way.hops) > 1 and priced.later:
        cascade = cascade_break_even(
            priced.first,
            priced.later,
            check=(measured.graders_usd or 0.0) * priced.change,
            rate=rate,
            interval=None if low is None or high is None else (low, high),
        )
    roles = priced.roles(measured)
    line = Line(
        name=flow.task_type,
        group=flow.group or way.hops[0].name,
        owner=flow.owner,
        monthly=volume,
        share=share,
        route=_words(way),
        source=measured.source,
        n=measured.n,
        assumed_share=0.0 if measured.n else 1.0,
        before=front * volume,
        before_measured=measured.frontier is not None and measured.frontier.n > 0,
        after=priced.usd * volume,
        interval=interval,
        saved_interval=_span(saved),
        best=min(best * volume, interval.low if interval else best * volume),
        worst=max(worst * volume, interval.high if interval else worst * volume),
        parts=priced.parts * volume,
        roles=_times(roles, volume),
        escalation=rate,
        escalation_interval=None if low is None or high is None else (low, high),
        latency_p50_s=measured.latency_p50_s,
        latency_p95_s=measured.latency_p95_s,
        frontier_latency_s=None if measured.frontier is None else measured.frontier.latency_p50_s,
        latency_needed_s=flow.latency_s,
        cascade=cascade,
        notes=(*measured.notes, *_remarks(flow, way, measured)),
    )
    return _Worked(line, after, saved, tokens)


def _frontier_usd(
    known: FrontierCost | None, top: str, tokens: Tokens, then: Tariff, now: Tariff
) -> tuple[float, float]:
    """Dollars of one frontier call, and their factor against what was measured."""
    listed = now.call(top, tokens).total
    if known is None or not known.n:
        return listed, 1.0
    was = then.call(top, tokens).total
    factor = listed / was if was else 1.0
    return known.usd * factor, factor


def _ends(
    flow: Flow,
    way: Route,
    measured: Measurement,
    priced: Priced,
    bounds: tuple[float | None, float | None],
    tariff: Tariff,
) -> tuple[float, float]:
    """Dollars a decision at best and at worst."""
    on_input, on_output = flow.stretch
    low, high = bounds
    if measured.n:
        least = (low or 0.0) - measured.rate if low is not None else 0.0
        most = (high or 0.0) - measured.rate if high is not None else 0.0
        usual = priced.parts.stretched(on_input, on_output)
        factor = usual / priced.usd if priced.usd else 1.0
        best = max(0.0, priced.usd + least * priced.later)
        return best, (priced.usd + most * priced.later) * factor
    legs = [
        tariff.call(leg.model, leg.tokens).stretched(on_input, on_output) * leg.calls
        for leg in measured.legs
    ]
    return priced.first, sum(legs)


def _sum(name: str, group: str, worked: Sequence[_Worked], whole: float) -> Line:
    """Several lines as one: their sums, and intervals from the sums of their draws."""
    lines = [one.line for one in worked]
    after, saved = (_added(worked, lines, which) for which in ("after", "saved"))
    total_after = sum(line.after for line in lines)
    guessed = sum(line.after for line in lines if not line.n)
    volume = sum(line.monthly for line in lines)
    routes = list(dict.fromkeys(line.route for line in lines))
    parts = Parts()
    for line in lines:
        parts += line.parts
    return Line(
        name=name,
        group=group,
        owner="",
        monthly=volume,
        share=volume / whole if whole else 0.0,
        route=routes[0] if len(routes) == 1 else f"{len(routes)} routes",
        source=lines[0].source if len({line.source for line in lines}) == 1 else None,
        n=sum(line.n for line in lines),
        assumed_share=guessed / total_after if total_after else float(not any(x.n for x in lines)),
        before=sum(line.before for line in lines),
        before_measured=all(line.before_measured for line in lines),
        after=total_after,
        interval=_span(after),
        saved_interval=_span(saved),
        best=sum(line.best for line in lines),
        worst=sum(line.worst for line in lines),
        parts=parts,
        roles=Roles(
            *(sum(getattr(line.roles, part) for line in lines) for part in _ALWAYS),
            *(_known_sum(getattr(line.roles, part) for line in lines) for part in _MAYBE),
        ),
        escalation=_weighted(lines, lambda line: line.escalation),
        latency_p50_s=_weighted(lines, lambda line: line.latency_p50_s),
        frontier_latency_s=_weighted(lines, lambda line: line.frontier_latency_s),
    )


_ALWAYS = ("settled", "losers", "escalations")
_MAYBE = ("retries", "graders")


def _added(worked: Sequence[_Worked], lines: Sequence[Line], which: str) -> Floats | None:
    """Draws of a sum; assumed lines enter as constants. None where all is assumed."""
    drawn = [getattr(one, which) for one in worked]
    if all(values is None for values in drawn):
        return None
    total = np.zeros(max(len(values) for values in drawn if values is not None))
    for values, line in zip(drawn, lines, strict=True):
        total = total + (getattr(line, which) if values is None else values)
    return total


def _span(values: Floats | None) -> Span | None:
    if values is None:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return Span(float(low), float(high))


def _times(roles: Roles, factor: float) -> Roles:
    def scaled(value: float | None) -> float | None:
        return None if value is None else value * factor

    return Roles(
        roles.settled * factor,
        roles.losers * factor,
        roles.escalations * factor,
        scaled(roles.retries),
        scaled(roles.graders),
    )


def _known_sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _weighted(lines: Sequence[Line], value: Callable[[Line], float | None]) -> float | None:
    """Mean by traffic; None where a line does not know it."""
    found = [(line.monthly, value(line)) for line in lines]
    whole = sum(weight for weight, _ in found)
    if not whole or any(one is None for _, one in found):
        return None
    return sum(weight * (one or 0.0) for weight, one in found) / whole


def _typical(worked: Sequence[_Worked], whole: float) -> Tokens:
    """Mean tokens of a call over the traffic."""
    mean = Tokens()
    for one in worked:
        mean += one.tokens * (one.line.monthly / whole if whole else 0.0)
    return mean


def _words(way: Route) -> str:
    first, *later = way.hops
    seats = f" × {first.seats}" if first.seats > 1 else ""
    models = list(dict.fromkeys(first.models))
    shown = ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")
    said = " → ".join([f"{shown}{seats}", *(hop.name for hop in later)])
    return f"mixture: {said} and others" if way.others else said


def _remarks(flow: Flow, way: Route, measured: Measurement) -> tuple[str, ...]:
    """What a reader must know of one line."""
    said: list[str] = []
    if way.others:
        said.append(
            "a mixture of strategies: its worst case and its split over models are the first "
            "strategy's" + ("" if measured.n else ", and so are its assumed dollars")
        )
    if not measured.n:
        said.append(
            "assumed: expected tokens at list prices"
            + (", no escalation" if len(way.hops) > 1 else "")
        )
        return tuple(said)
    if measured.usd and not measured.call_tokens.prompt:
        said.append(
            "no tokens were recorded, so other prices or caching do not move what it costs after"
        )
    for what, expected, found in (
        ("input", flow.input_p50, measured.call_tokens.prompt),
        ("output", flow.output_p50, measured.call_tokens.answer),
    ):
        if expected and found and not 1 / UNLIKE <= found / expected <= UNLIKE:
            said.append(
                f"measured {what} of a call is {found:,.0f} tokens, the audit expects "
                f"{expected:,.0f}: the measured figure is used"
            )
    needed, got = flow.latency_s, measured.latency_p95_s
    if needed is not None and got is not None and got > needed:
        said.append(f"95 % are answered within {got:.2f} s, {needed:g} s are asked for")
    return tuple(said)


def _notes(worked: Sequence[_Worked], table: PolicyTable) -> tuple[str, ...]:
    """What a reader must know of the whole."""
    said: list[str] = []
    lines = [one.line for one in worked]
    guessed = [line.name for line in lines if not line.n]
    if guessed:
        said.append(
            f"{len(guessed)} of {len(lines)} task types are assumed, not measured: "
            f"{', '.join(sorted(guessed))}. No interval covers them."
        )
    if any(not line.before_measured for line in lines):
        said.append(
            "Before is the frontier's list price for one call of the same tokens where the "
            "frontier was not measured."
        )
    rowless = [line.name for line in lines if line.name not in table.tasks]
    if rowless:
        said.append(f"No row of their own, so [defaults] serves: {', '.join(sorted(rowless))}.")
    return tuple(said)
