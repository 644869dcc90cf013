"""What one route is known to cost: measured by a profile, a run or the ledger, or assumed.

Measured dollars stand. Prices of models only say how these dollars divide into classes of tokens,
and by what factor they change when a price does: a profile holds totals, and which model's tokens
they were is inferred from the seats of the route's hops and the measured escalation rate.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.projection.tariff import Parts, Tariff, Tokens
from consensus.benchmark.projection.traffic import Flow
from consensus.policy.certificate import CertifiedPrice, Profile
from consensus.policy.estimate import PROMPT_TOKENS, TYPICAL_INPUT
from consensus.policy.route import Hop, Route, expected_output

__all__ = [
    "Draws",
    "FrontierCost",
    "Leg",
    "Measurement",
    "Priced",
    "Roles",
    "Source",
    "assumed",
    "draw_means",
    "expected_tokens",
    "from_profile",
    "seat_legs",
]

Source: TypeAlias = Literal["profile", "run", "ledger", "assumed"]
Floats: TypeAlias = NDArray[np.float64]

BLOCK = 1_000_000
"""Weights of the bootstrap that are in memory at once."""

PRIOR = 0.5
"""Jeffreys' pseudo-count for an escalation rate."""


@dataclass(frozen=True, slots=True)
class Leg:
    """Calls of one model in one place of a route.

    Attributes:
        calls: mean calls a decision; for an escalation, a decision *that escalates*.
        escalation: whether it belongs to a hop after the first.
    """

    model: str
    calls: float
    tokens: Tokens
    escalation: bool = False


@dataclass(frozen=True, slots=True)
class FrontierCost:
    """One frontier call for each decision, as far as it was measured.

    Attributes:
        usd: mean of one call, at the prices of the time.
        n: cases measured; 0: a price list's arithmetic.
        costs: (n,) dollars a case, in the order of the route's own; None where only the mean is
            known.
        latency_p50_s: seconds; None where unknown.
        usd_sd: standard deviation of one call's dollars; None where unknown.
    """

    usd: float
    n: int
    costs: Floats | None = None
    latency_p50_s: float | None = None
    usd_sd: float | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is known of one route on one task type.

    Attributes:
        n: decisions or cases measured; 0 where assumed.
        legs: where its calls go, first hop and escalations.
        usd: mean dollars a decision at the prices of the time; None: the legs' arithmetic.
        usd_sd: standard deviation of a decision's dollars; None where unknown.
        costs: (n,) dollars a decision; None where only the moments are known.
        escalations: decisions that asked a stronger route.
        retries_usd, graders_usd: part of ``usd`` that went to failed attempts and repairs, and to
            graders; None where it was not told apart.
        at: the tariff in force when it was measured; None: today's.
        latency_p50_s, latency_p95_s: seconds; None where unknown.
        frontier: measured beside it; None where never.
        notes: what a reader must know of these figures.
    """

    source: Source
    n: int
    legs: tuple[Leg, ...]
    usd: float | None = None
    usd_sd: float | None = None
    costs: Floats | None = None
    escalations: int = 0
    retries_usd: float | None = None
    graders_usd: float | None = None
    at: Tariff | None = None
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    frontier: FrontierCost | None = None
    notes: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        """Measured share of decisions that escalate; 0 where nothing was measured."""
        return self.escalations / self.n if self.n else 0.0

    @property
    def call_tokens(self) -> Tokens:
        """Mean tokens of one call of the first hop."""
        first = [leg for leg in self.legs if not leg.escalation]
        calls = sum(leg.calls for leg in first)
        if not calls:
            return Tokens()
        return sum((leg.tokens * (leg.calls / calls) for leg in first), Tokens())

    def models(self) -> set[str]:
        """Every model that its calls go to."""
        return {leg.model for leg in self.legs}

    def priced(self, tariff: Tariff) -> Priced:
        """The dollars of a decision at some prices.

        Raises:
            PriceError: one of its models has no known price.
        """
        first, later = self._of_legs(tariff)
        if self.usd is None:
            return Priced(first + later * self.rate, first.total, later.total, 1.0)
        then = tariff if self.at is None else self.at
        first_then, later_then = self._of_legs(then)
        listed = first_then.total + self.rate * later_then.total
        now = first + later * self.rate
        if not listed:
            # What was free has a price now: the arithmetic is all there is to add.
            parts = now + Parts(other=self.usd)
            return Priced(parts, first.total + self.usd, later.total, 1.0)
        # Retries, graders and what stopping saved are in what was paid, not in the legs.
        factor = self.usd / listed
        change = now.total / listed
        parts = now * factor if now.total else Parts()
        return Priced(parts, first.total * factor, later.total * factor, change)

    def _of_legs(self, tariff: Tariff) -> tuple[Parts, Parts]:
        """Dollars of the first hop, and of the escalations of a decision that escalates."""
        sums = [Parts(), Parts()]
        for leg in self.legs:
            sums[leg.escalation] += tariff.call(leg.model, leg.tokens) * leg.calls
        return sums[0], sums[1]


@dataclass(frozen=True, slots=True)
class Roles:
    """Dollars a decision by what they bought; None where it was not told apart.

    ``settled``: first choices that stood. ``losers``: first choices that were then escalated.
    ``escalations``: the stronger calls. ``retries``: failed attempts and repairs. ``graders``.
    Where retries or graders are None their dollars are within the others.
    """

    settled: float
    losers: float
    escalations: float
    retries: float | None
    graders: float | None

    def to_json(self) -> dict[str, float | None]:
        """By name."""
        return {
            "settled": self.settled,
            "losers": self.losers,
            "escalations": self.escalations,
            "retries": self.retries,
            "graders": self.graders,
        }


@dataclass(frozen=True, slots=True)
class Priced:
    """A route's dollars at some prices.

    Attributes:
        parts: a decision's, by class of token.
        first: of the first hop.
        later: of the escalations of a decision that escalates.
        change: factor against what was measured.
    """

    parts: Parts
    first: float
    later: float
    change: float

    @property
    def usd(self) -> float:
        """Dollars a decision."""
        return self.parts.total

    def roles(self, measured: Measurement) -> Roles:
        """The same dollars by what they bought; the sum is :attr:`usd`."""
        retries = _scaled(measured.retries_usd, self.change)
        graders = _scaled(measured.graders_usd, self.change)
        told = (retries or 0.0) + (graders or 0.0)
        rest = max(0.0, self.usd - told)
        later = measured.rate * self.later
        whole = self.first + later
        share = later / whole if whole else 0.0
        first = rest * (1 - share)
        return Roles(
            first * (1 - measured.rate), first * measured.rate, rest * share, retries, graders
        )


class Draws(NamedTuple):
    """Mean dollars a decision, as often as was drawn: the route's, and the frontier's beside it.

    ``frontier`` is None where its cases were not measured one by one.
    """

    route: Floats
    frontier: Floats | None


def draw_means(
    measured: Measurement, priced: Priced, rng: np.random.Generator, times: int
) -> Draws | None:
    """Mean dollars a decision under resampling; None where nothing was measured.

    Cases are resampled where their costs are known, the frontier's with them, so that the
    difference is paired; frontier dollars are those of the time. A profile knows mean and standard
    deviation: its mean is taken as normal, cut at 0; the frontier's likewise, as if independent,
    which makes the difference's interval wider rather than narrower where costs rise together.
    Where it knows no deviation only the escalation rate varies, by its Jeffreys posterior.
    """
    if not measured.n:
        return None
    if measured.costs is not None and len(measured.costs) > 1:
        n = len(measured.costs)
        mean = float(measured.costs.mean())
        beside = None if measured.frontier is None else measured.frontier.costs
        sides = [measured.costs] if beside is None else [measured.costs, beside]
        means = _resampled(np.column_stack(sides), rng, times)
        route = means[:, 0] * (priced.usd / mean) if mean else np.full(times, priced.usd)
        return Draws(route, None if beside is None else means[:, 1])
    if measured.usd_sd:
        spread = measured.usd_sd * priced.change / math.sqrt(measured.n)
        route = np.maximum(0.0, rng.normal(priced.usd, spread, size=times))
        return Draws(route, _frontier_means(measured.frontier, rng, times))
    k, n = measured.escalations, measured.n
    rate = rng.beta(k + PRIOR, n - k + PRIOR, size=times)
    moved = priced.usd + (rate - measured.rate) * priced.later
    return Draws(np.maximum(0.0, moved), None)


def _frontier_means(
    beside: FrontierCost | None, rng: np.random.Generator, times: int
) -> Floats | None:
    if beside is None or not beside.usd_sd or not beside.n:
        return None
    spread = beside.usd_sd / math.sqrt(beside.n)
    return np.maximum(0.0, rng.normal(beside.usd, spread, size=times))


def _resampled(values: Floats, rng: np.random.Generator, times: int) -> Floats:
    """(times, sides) means of resampled rows of ``values`` (n, sides), some at a time."""
    n = len(values)
    at_once = max(1, BLOCK // n)
    even = np.full(n, 1 / n)
    blocks = [
        rng.multinomial(n, even, size=min(at_once, times - start)) @ values / n
        for start in range(0, times, at_once)
    ]
    return np.concatenate(blocks)


def from_profile(
    profile: Profile, route: Route, prices: dict[str, CertifiedPrice], today: Tariff
) -> Measurement:
    """What the row's profile says, at the prices of its certificate."""
    calls = profile.calls_per_decision
    rate = profile.escalations / profile.n if profile.n else 0.0
    each = 1 / calls if calls else 0.0
    tokens = Tokens(
        input=max(0.0, profile.input_tokens - profile.cached_tokens) * each,
        cached=min(profile.input_tokens, profile.cached_tokens) * each,
        output=max(0.0, profile.output_tokens - profile.reasoning_tokens) * each,
        reasoning=min(profile.output_tokens, profile.reasoning_tokens) * each,
    )
    later = route.hops[1].seats if len(route.hops) > 1 else 0
    first = calls if not later else max(calls - rate * later, min(1.0, calls))
    legs = seat_legs(route.hops[0], first, tokens)
    if later:
        legs += seat_legs(route.hops[1], later, tokens, escalation=True)
    return Measurement(
        source="profile",
        n=profile.n,
        legs=legs,
        usd=profile.usd_per_decision,
        usd_sd=profile.usd_sd or None,
        escalations=profile.escalations,
        at=replace(today, listed=prices, cached=None),
        latency_p50_s=profile.latency_p50_s or None,
        latency_p95_s=profile.latency_p95_s or None,
        frontier=FrontierCost(
            profile.frontier_usd,
            profile.frontier_n,
            usd_sd=profile.frontier_usd_sd or None,
            latency_p50_s=profile.frontier_latency_p50_s or None,
        )
        if profile.frontier_n
        else None,
    )


def assumed(flow: Flow, route: Route) -> Measurement:
    """A route that nothing was measured of: every seat asked once, none escalated."""
    tokens = expected_tokens(flow, route)
    legs = seat_legs(route.hops[0], route.hops[0].seats, tokens)
    for hop in route.hops[1:]:
        legs += seat_legs(hop, hop.seats, tokens, escalation=True)
    return Measurement(source="assumed", n=0, legs=legs)


def expected_tokens(flow: Flow, route: Route) -> Tokens:
    """A usual call, by the traffic's medians; by the row's expectations where nobody gave any."""
    row = route.row
    given = flow.input_p50
    if given is None:
        given = (row.expected_input_tokens or TYPICAL_INPUT) + PROMPT_TOKENS
    return Tokens(input=given, output=flow.output_p50 or expected_output(row, row.kind))


def seat_legs(
    hop: Hop, calls: float, tokens: Tokens, *, escalation: bool = False
) -> tuple[Leg, ...]:
    """So many calls of this length, dealt to the hop's models as its seats are."""
    seats: Sequence[str] = hop.seat_models()
    return tuple(
        Leg(model, calls * count / len(seats), tokens, escalation)
        for model, count in Counter(seats).items()
    )


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
