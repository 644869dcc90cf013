"""Panels that ask some seats only where the first do not suffice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation import stop_replay, votes
from consensus.benchmark.evidence import Evidence
from consensus.benchmark.strategy import (
    Outcome,
    seat_counts,
    spent,
)
from consensus.errors import DataError

__all__ = ["Adaptive", "Cascade"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


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
