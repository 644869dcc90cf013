"""Strategies over recorded answers: what each would have decided, and paid, on every case.

A strategy sees one sample order at a time: it takes samples from the front of each member's list,
and pays for those that it takes. Failures take their seat, are paid, and have no vote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation import posteriors, stop_replay, votes
from consensus.benchmark.evidence import Evidence
from consensus.errors import DataError
from consensus.orchestrators.spec import ColdStart
from consensus.statistics import error_correlation, within_correlation

__all__ = [
    "FIXED_STRATEGIES",
    "Adaptive",
    "Blocks",
    "Cascade",
    "Outcome",
    "Scores",
    "Single",
    "Strategy",
    "Vote",
    "Weighted",
    "make_strategy",
    "seat_counts",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """What a strategy did on n cases, for one sample order.

    Attributes:
        shares: (n, K) the decision; a tie is shared equally, all zeros is no decision.
        calls: (n,) calls made.
        cost: (n,) dollars, NaN where unknown.
        latency: (n,) seconds: the slowest of what ran side by side, summed over stages.
        escalated: (n,) whether it went beyond its first stage.
        weight: (n,) how much this outcome counts in the mean of its case; None: 1.
        seats: configured seats, of which a quorum and a share are counted.
        tally: (n, K) votes of the seats; None where it cannot be said when to act.
        posterior: (n, K) probability of each option; None likewise.
        quantile: (n,) q̂ of the calibration behind it at the rule's α: inf where it has too few
            cases, NaN where it does not cover who answered; None without a calibration.
    """

    shares: Floats
    calls: Floats
    cost: Floats
    latency: Floats
    escalated: Bools
    weight: Floats | None = None
    seats: int = 1
    tally: Floats | None = None
    posterior: Floats | None = None
    quantile: Floats | None = None


class Strategy(Protocol):
    """One way to obtain and combine answers."""

    @property
    def name(self) -> str:
        """The name it is asked for by."""
        ...

    @property
    def fitted(self) -> bool:
        """False until :meth:`fit` has seen cases to calibrate on; True for what needs none."""
        ...

    def fit(self, train: Evidence) -> Strategy:
        """The strategy, calibrated on cases whose gold it may see."""
        ...

    def runs(self, evidence: Evidence, *, draws: int, seed: int) -> Iterator[Outcome]:
        """Outcomes over random sample orders; it never looks at the gold of ``evidence``."""
        ...

    def describe(self) -> dict[str, Any]:
        """What it is, as JSON values."""
        ...


def seat_counts(seats: int | None, evidence: Evidence) -> tuple[int, ...]:
    """Samples of each member that ``seats`` seats take: members in turn, samples in turn.

    Without ``seats``, one a member.

    Raises:
        DataError: if that is more than the recording has.
    """
    members = len(evidence.members)
    total = members if seats is None else seats
    if total < 1:
        raise DataError("a panel needs at least one seat", where="--seats")
    counts = tuple(total // members + (m < total % members) for m in range(members))
    for member, count, have in zip(
        evidence.members, counts, evidence.present.shape[2] * np.ones(members), strict=True
    ):
        if count > have:
            most = evidence.present.shape[2] * members
            raise DataError(
                f"{total} seats need {count} samples of {member.name}, {have:.0f} recorded",
                where="--seats",
                fix=f"at most {most}",
            )
    return counts


def front(evidence: Evidence, counts: Sequence[int]) -> Evidence:
    """The samples that seats take: the first ``counts[m]`` of each member; the rest is absent."""
    most = max(1, *counts)
    part = replace(
        evidence,
        votes=evidence.votes[:, :, :most].copy(),
        present=evidence.present[:, :, :most].copy(),
        scores=None if evidence.scores is None else evidence.scores[:, :, :most].copy(),
        cost=evidence.cost[:, :, :most].copy(),
        latency=evidence.latency[:, :, :most].copy(),
        extra={name: column[:, :, :most].copy() for name, column in evidence.extra.items()},
    )
    idle = np.arange(most)[None, :] >= np.asarray(counts)[:, None]
    part.present[:, idle] = False
    part.votes[:, idle] = 0
    part.cost[:, idle] = 0
    part.latency[:, idle] = 0
    if part.scores is not None:
        part.scores[:, idle] = np.nan
    for column in part.extra.values():
        column[:, idle] = np.nan
    return part


def spent(part: Evidence, counts: Sequence[int]) -> dict[str, Any]:
    """Calls, cost and latency of seats that all ran side by side."""
    return {
        "calls": part.running.calls(counts),
        "cost": part.running.cost(counts),
        "latency": part.running.latency(counts),
        "escalated": np.zeros(len(part), dtype=bool),
    }


def cold_posterior(tally: Floats, valid: Bools) -> Floats:
    """(n, K) what a policy makes of votes without a calibration: one block that errs together."""
    cold = ColdStart()
    return np.asarray(
        posteriors.block_posterior(
            tally[:, None, :], cold.accuracy, cold.correlation, options=valid
        )
    )


def leaders(values: NDArray[Any], valid: Bools) -> Floats:
    """(n, K) shares of the largest value among the valid options; none where nothing is finite.

    Nothing above the rest is still a tie of all, unless every value is missing.
    """
    known = np.where(valid & np.isfinite(values), values, -np.inf)
    top = known.max(axis=1, keepdims=True)
    close = (known >= top - 1e-9 * np.maximum(1.0, np.abs(top))) & np.isfinite(top)
    return np.asarray(close / np.maximum(close.sum(axis=1, keepdims=True), 1), dtype=float)


def mean_scores(part: Evidence, counts: Sequence[int] | None = None) -> Floats:
    """(n, K) mean score of each option over the seats; NaN where no seat scored it.

    Args:
        part: the answers.
        counts: the samples that each member's seats take; None: all.

    Raises:
        DataError: where the recording has no scores.
    """
    if part.scores is None:
        raise DataError("has no scores to average", where="--strategy scores", fix="vote")
    depth = int(part.present.shape[2])
    total, given = part.running.scores([depth] * len(part.members) if counts is None else counts)
    return np.where(given > 0, total / np.maximum(given, 1), np.nan)


@dataclass(frozen=True)
class Single:
    """One pass of one model: the mean over its recorded passes."""

    name: str = "single"
    fitted: bool = True

    def fit(self, train: Evidence) -> Single:
        """Nothing to calibrate."""
        return self

    def runs(self, evidence: Evidence, *, draws: int, seed: int) -> Iterator[Outcome]:
        """Every recorded pass once."""
        for m in range(len(evidence.members)):
            for s in range(evidence.present.shape[2]):
                cast = evidence.votes[:, m, s].astype(float)
                yield Outcome(
                    shares=cast,
                    tally=cast,
                    posterior=cold_posterior(cast, evidence.valid),
                    calls=evidence.present[:, m, s].astype(float),
                    cost=evidence.cost[:, m, s],
                    latency=evidence.latency[:, m, s],
                    escalated=np.zeros(len(evidence), dtype=bool),
                    weight=evidence.present[:, m, s].astype(float),
                )

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"strategy": self.name}


@dataclass(frozen=True)
class _Fixed:
    """A panel whose seats all answer, side by side."""

    seats: int | None = None
    name: str = "fixed"
    fitted: bool = True

    def fit(self, train: Evidence) -> Strategy:
        """Nothing to calibrate."""
        return self

    def runs(self, evidence: Evidence, *, draws: int, seed: int) -> Iterator[Outcome]:
        """One outcome a sample order."""
        if not self.fitted:
            raise _needs_calibration(self.name)
        counts = seat_counts(self.seats, evidence)
        for part in evidence.draws(draws, counts, seed=seed):
            yield Outcome(
                shares=self.decide(part, counts),
                **spent(part, counts),
                seats=sum(counts),
                tally=part.running.tally(counts),
                posterior=self.posterior(part, counts),
            )

    def decide(self, part: Evidence, counts: Sequence[int]) -> Floats:
        """(n, K) the decision from the first ``counts[m]`` answers of each member."""
        raise NotImplementedError

    def posterior(self, part: Evidence, counts: Sequence[int]) -> Floats | None:
        """(n, K) probability of each option, where it says one."""
        return None

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"strategy": self.name, "seats": self.seats}


@dataclass(frozen=True)
class Vote(_Fixed):
    """Plurality of the seats."""

    name: str = "vote"

    def decide(self, part: Evidence, counts: Sequence[int]) -> Floats:
        """The option with most votes."""
        tally = part.running.tally(counts)
        return np.asarray(votes.plurality(tally, part.valid).credit)

    def posterior(self, part: Evidence, counts: Sequence[int]) -> Floats | None:
        """A policy's cold start."""
        return cold_posterior(part.running.tally(counts), part.valid)


@dataclass(frozen=True)
class Scores(_Fixed):
    """The option with the highest mean score over all seats; of most votes where none is scored."""

    name: str = "scores"

    def decide(self, part: Evidence, counts: Sequence[int]) -> Floats:
        """The option with the highest mean score; a plurality where no seat scored any."""
        means = mean_scores(part, counts)
        shares = leaders(means, part.valid)
        unscored = ~np.isfinite(means).any(axis=1)
        if unscored.any():
            tally = part.running.tally(counts)[unscored]
            shares[unscored] = votes.plurality(tally, part.valid[unscored]).credit
        return shares


@dataclass(frozen=True)
class Weighted(_Fixed):
    """Votes weighted by the log-odds of each member's measured accuracy (Nitzan & Paroush 1982).

    Accuracies are shrunk towards the panel's mean by ``strength`` cases. A member below chance
    gets no vote, rather than one that counts against what it says.
    """

    name: str = "weighted"
    fitted: bool = False
    accuracy: tuple[float, ...] = ()
    strength: float = 8.0

    def fit(self, train: Evidence) -> Weighted:
        """Measure each member's accuracy."""
        accuracy, _ = member_accuracy(train, self.strength)
        return Weighted(self.seats, self.name, True, tuple(accuracy.tolist()), self.strength)

    def decide(self, part: Evidence, counts: Sequence[int]) -> Floats:
        """The option with most weight."""
        return np.asarray(votes.plurality(self._weights(part, counts), part.valid).credit)

    def posterior(self, part: Evidence, counts: Sequence[int]) -> Floats | None:
        """As the weights say for independent seats: too sure where they err together."""
        weights = np.where(part.valid, self._weights(part, counts), -np.inf)
        odds = np.exp(weights - weights.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def _weights(self, part: Evidence, counts: Sequence[int]) -> Floats:
        options = np.maximum(part.valid.sum(axis=1), 2)
        p = np.clip(np.array(self.accuracy), 1e-3, 1 - 1e-3)
        weight = np.log((options[:, None] - 1) * p / (1 - p))
        weight = np.maximum(weight, 0.0)
        return np.asarray(np.einsum("nmk,nm->nk", part.running.tallies(counts), weight))

    def describe(self) -> dict[str, Any]:
        """What it is, with the accuracies that weigh the votes."""
        return {**super().describe(), "accuracy": [round(p, 4) for p in self.accuracy]}


@dataclass(frozen=True)
class Blocks(_Fixed):
    """Posterior from blocks of seats that err together: a member's samples are a block.

    Within-member correlation makes the Dirichlet-multinomial block; the mean correlation between
    members discounts the blocks.
    """

    name: str = "blocks"
    fitted: bool = False
    accuracy: tuple[float, ...] = ()
    within: tuple[float, ...] = ()
    between: float = 0.0

    def fit(self, train: Evidence) -> Blocks:
        """Measure accuracies and correlations."""
        accuracy, errors = member_accuracy(train, 8.0)
        within = []
        for m in range(len(train.members)):
            rho = within_correlation(errors[:, m])
            within.append(posteriors.COLD_CORRELATION if rho is None else rho)
        phi = error_correlation(np.nan_to_num(np.nanmean(_safe(errors), axis=2), nan=1.0))
        pairs = phi[np.triu_indices(len(phi), 1)]
        pairs = pairs[np.isfinite(pairs)]
        between = float(np.clip(pairs.mean(), 0, 1)) if len(pairs) else 0.0
        clipped = tuple(np.clip(within, 0.0, 0.98).tolist())
        return Blocks(self.seats, self.name, True, tuple(accuracy.tolist()), clipped, between)

    def decide(self, part: Evidence, counts: Sequence[int]) -> Floats:
        """The option with the highest posterior."""
        return leaders(self.posterior(part, counts), part.valid)

    def posterior(self, part: Evidence, counts: Sequence[int]) -> Floats:
        """(n, K) probability of each option."""
        tallies = part.running.tallies(counts)
        floor = 1.0 / np.maximum(part.valid.sum(axis=1).min(), 2)
        p = np.clip(np.array(self.accuracy), floor + 1e-3, 1 - 1e-3)
        seen = int((tallies.sum(axis=2) > 0).sum(axis=1).max(initial=1))
        discount = float(posteriors.block_discount(seen, self.between))
        return np.asarray(
            posteriors.block_posterior(
                tallies, p, self.within, options=part.valid, discount=discount
            )
        )

    def describe(self) -> dict[str, Any]:
        """What it is, with what was measured."""
        return {
            **super().describe(),
            "accuracy": [round(p, 4) for p in self.accuracy],
            "rho_within": [round(r, 3) for r in self.within],
            "rho_between": round(self.between, 3),
        }


@dataclass(frozen=True)
class _Tab:
    """Votes, calls, dollars and seconds by case, as seats are asked one wave after another."""

    tally: Floats
    calls: Floats
    cost: Floats
    latency: Floats

    @classmethod
    def empty(cls, n: int, width: int) -> _Tab:
        return cls(np.zeros((n, width)), np.zeros(n), np.zeros(n), np.zeros(n))

    def add(self, part: Evidence, wave: Sequence[tuple[int, int]]) -> None:
        slowest = np.zeros(len(self.calls))
        for m, s in wave:
            self.tally[:] += part.votes[:, m, s]
            self.calls[:] += part.present[:, m, s]
            self.cost[:] += part.cost[:, m, s]
            np.maximum(slowest, part.latency[:, m, s], out=slowest)
        self.latency[:] += slowest

    def settle(self, other: _Tab, rows: NDArray[np.int64]) -> None:
        for mine, theirs in (
            (self.tally, other.tally),
            (self.calls, other.calls),
            (self.cost, other.cost),
            (self.latency, other.latency),
        ):
            mine[rows] = theirs[rows]


@dataclass(frozen=True)
class Adaptive:
    """Plurality in waves, stopped by a rule of :mod:`consensus.aggregation.stopping`.

    Seats are asked in the order members in turn, samples in turn.
    """

    seats: int | None = None
    rule: stop_replay.Rule = field(default_factory=stop_replay.beta_rule)
    waves: tuple[int, ...] = (3, 2)
    name: str = "adaptive"
    fitted: bool = True

    def fit(self, train: Evidence) -> Adaptive:
        """Nothing to calibrate."""
        return self

    def runs(self, evidence: Evidence, *, draws: int, seed: int) -> Iterator[Outcome]:
        """One outcome a sample order."""
        counts = seat_counts(self.seats, evidence)
        order = [(m, s) for s in range(max(counts)) for m in range(len(counts)) if s < counts[m]]
        # Which sample comes first matters here, even where all of them may be used.
        several = int(evidence.present.shape[2]) > 1
        parts = evidence.shuffles(draws, seed=seed) if several else iter([evidence])
        for part in parts:
            yield self._walk(part, order)

    def _walk(self, part: Evidence, order: Sequence[tuple[int, int]]) -> Outcome:
        n, width = part.valid.shape
        # What is asked of every case, and what had been asked of it when it stopped.
        asked, final = _Tab.empty(n, width), _Tab.empty(n, width)
        running = np.arange(n)
        escalated = np.zeros(n, dtype=bool)
        start = 0
        for end in stop_replay.wave_ends(len(order), self.waves).tolist():
            escalated[running] = start > 0
            asked.add(part, order[start:end])
            start = end
            stop = np.ones(len(running), dtype=bool)
            if end < len(order):
                rest = np.full((len(running), 1), float(len(order) - end))
                stop = np.asarray(self.rule(asked.tally[running][:, None, :], rest))
            final.settle(asked, running[stop])
            running = running[~stop]
            if not running.size:
                break
        shares = np.asarray(votes.plurality(final.tally, part.valid).credit)
        return Outcome(shares, final.calls, final.cost, final.latency, escalated)

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"strategy": self.name, "seats": self.seats, "waves": list(self.waves)}


@dataclass(frozen=True)
class Cascade:
    """All members but the last vote; the last one decides where they do not agree enough.

    ``need`` is the share of the configured first seats that must agree. Where the last member has
    no readable answer, the first seats' plurality stands.
    """

    seats: int | None = None
    need: float = 1.0
    name: str = "cascade"
    fitted: bool = True

    def fit(self, train: Evidence) -> Cascade:
        """Nothing to calibrate."""
        return self

    def runs(self, evidence: Evidence, *, draws: int, seed: int) -> Iterator[Outcome]:
        """One outcome a sample order."""
        last = len(evidence.members) - 1
        if last < 1:
            raise DataError("a cascade needs at least two models", where="--panel")
        first = evidence.only(range(last))
        total = last + 1 if self.seats is None else self.seats
        counts = (*seat_counts(max(1, total - 1), first), 1)
        lower, upper = (*counts[:-1], 0), (*[0] * last, 1)
        for part in evidence.draws(draws, counts, seed=seed):
            tally = part.running.tally(lower)
            base, top = spent(part, lower), spent(part, upper)
            seats = sum(lower)
            up = np.asarray(votes.agreement(tally, seats)) < self.need - 1e-9
            answered = part.votes[:, last, 0].sum(axis=1) > 0
            shares = np.asarray(votes.plurality(tally, part.valid).credit)
            shares = np.where((up & answered)[:, None], part.votes[:, last, 0], shares)
            yield Outcome(
                shares,
                base["calls"] + up * top["calls"],
                base["cost"] + np.where(up, top["cost"], 0.0),
                base["latency"] + np.where(up, top["latency"], 0.0),
                up,
            )

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"strategy": self.name, "seats": self.seats, "need": self.need}


def member_accuracy(train: Evidence, strength: float) -> tuple[Floats, Floats]:
    """Each member's accuracy (M,), shrunk to the panel's, and the errors (n, M, S) behind it.

    Failures are no votes, so they say nothing about how good a member's votes are.
    """
    credit = np.where(train.votes.sum(axis=3) > 0, train.pass_credit(), np.nan)
    hits = np.nansum(credit, axis=(0, 2))
    size = np.isfinite(credit).sum(axis=(0, 2))
    pooled = (hits.sum() + 1) / (size.sum() + 2)
    # Samples of one case are not independent cases: count cases, not samples.
    cases = np.isfinite(credit).any(axis=2).sum(axis=0)
    rate = np.divide(hits, size, out=np.full(len(hits), pooled), where=size > 0)
    return (rate * cases + strength * pooled) / (cases + strength), 1 - credit


def _safe(errors: Floats) -> Floats:
    """Errors with a wrong first sample where a case has none at all, so that means exist."""
    empty = ~np.isfinite(errors).any(axis=2)
    filled = errors.copy()
    filled[empty, 0] = 1.0
    return filled


def _needs_calibration(name: str) -> DataError:
    return DataError(
        f'"{name}" learns from labelled cases', where="--strategy", fix="add --calibrate half"
    )


def _live(aggregator: str, name: str) -> Callable[[int | None], Strategy]:
    """A strategy of a module above this one, imported when it is asked for."""

    def make(seats: int | None) -> Strategy:
        from consensus.benchmark.replay_debate import Debate
        from consensus.benchmark.replay_live import Cisc, Crowd, Live

        if aggregator == "debate":
            return Debate(seats)
        if aggregator == "cisc":
            return Cisc(seats)
        if aggregator == "dawid_skene":
            return Crowd(seats)
        return Live(aggregator, name, seats)  # type: ignore[arg-type] # the table's own words

    return make


FIXED_STRATEGIES: Mapping[str, Callable[[int | None], Strategy]] = {
    "single": lambda _: Single(),
    "vote": Vote,
    "scores": Scores,
    "weighted": Weighted,
    "blocks": Blocks,
    "adaptive": Adaptive,
    "cascade": Cascade,
    "mean": _live("mean", "mean"),
    "softmax": _live("scores", "softmax"),
    "stacked": _live("stacked", "stacked"),
    "live:mean": _live("mean", "live:mean"),
    "live:scores": _live("scores", "live:scores"),
    "live:stacked": _live("stacked", "live:stacked"),
    "live:weighted": _live("weighted", "live:weighted"),
    "live:blocks": _live("blocks", "live:blocks"),
    "cisc": _live("cisc", "cisc"),
    "dawid_skene": _live("dawid_skene", "dawid_skene"),
    "debate": _live("debate", "debate"),
}
"""Strategies by name; each takes the number of seats. ``stack`` and ``auto`` have further options
and are made in :mod:`consensus.benchmark.replay`."""


def make_strategy(name: str, seats: int | None) -> Strategy:
    """Make a strategy by its name.

    Raises:
        DataError: for an unknown name; the message lists those that exist.
    """
    try:
        return FIXED_STRATEGIES[name](seats)
    except KeyError:
        more = ("adaptive:RULE", "cascade:STEPS", "stack", "auto")
        known = ", ".join([*FIXED_STRATEGIES, *more])
        raise DataError(
            f'unknown strategy "{name}"', where="--strategy", fix=f"one of {known}"
        ) from None
