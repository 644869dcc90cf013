"""One model alone, and panels whose seats all answer side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation import posteriors, votes
from consensus.benchmark.evidence import Evidence
from consensus.benchmark.strategy import (
    Outcome,
    Strategy,
    cold_posterior,
    leaders,
    mean_scores,
    seat_counts,
    spent,
)
from consensus.errors import DataError
from consensus.statistics import error_correlation, within_correlation

__all__ = ["Blocks", "Scores", "Single", "Vote", "Weighted", "member_accuracy"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


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
