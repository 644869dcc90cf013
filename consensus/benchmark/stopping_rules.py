"""Stopping rules over recorded ballots, with their level chosen on a calibration half.

A rule is asked after every ballot, or after every wave. It has a *level* (a lead, a confidence, a
price …): the greater, the more ballots are asked. Every rule is brought to the same form here, so
that rules can be compared at the same number of calls or at the same accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation import posteriors, stop_scores, stop_value, stopping

__all__ = ["EDGE", "RULES", "StopRule", "Walks", "describe_rule"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
EDGE = 1e-9
"""Differences below this are none."""


@dataclass(frozen=True)
class Walks:
    """Ballots of R cases, in the order in which seats are asked.

    Attributes:
        votes: (R, T, K) shares of one vote; zeros for a failure.
        scores: (R, T, K) a score an option, a ballot's gaps filled with its own mean, zeros where
            it scored nothing; None without scores.
        valid: (R, K) the options a case has.
    """

    votes: Floats
    scores: Floats | None
    valid: Bools

    @property
    def tally(self) -> Floats:
        """(R, T, K) votes so far."""
        return self.votes.cumsum(axis=1)

    @property
    def remaining(self) -> Floats:
        """(T,) seats not yet asked."""
        seats = self.votes.shape[1]
        return np.arange(seats - 1, -1, -1, dtype=float)


class StopRule(Protocol):
    """When to stop, and what is decided then."""

    @property
    def levels(self) -> tuple[float, ...] | None:
        """The levels that can be chosen from; None: quantiles of what :meth:`sureness` gives."""
        ...

    def fit(self, walks: Walks, truth: Floats) -> StopRule:
        """The rule, with what it has to know from whole panels; ``truth`` (R, K) is credit."""
        ...

    def totals(self, walks: Walks) -> Floats:
        """(R, T, K) what the decision is the largest of."""
        ...

    def sureness(self, walks: Walks) -> Floats | None:
        """(R, T): stop where it reaches the level; None where :meth:`stops` says it otherwise."""
        ...

    def stops(self, walks: Walks, level: float) -> Bools:
        """(R, T) whether it would stop after each ballot."""
        ...


@dataclass(frozen=True)
class _Votes:
    """Rules on the votes so far, of one number a state."""

    levels: tuple[float, ...] | None = None
    """See :class:`StopRule`."""

    def fit(self, walks: Walks, truth: Floats) -> StopRule:
        """Nothing to know."""
        return self

    def totals(self, walks: Walks) -> Floats:
        """The votes."""
        return walks.tally

    def sureness(self, walks: Walks) -> Floats | None:
        """One number a state."""
        raise NotImplementedError

    def stops(self, walks: Walks, level: float) -> Bools:
        """Where sureness reaches the level."""
        sure = self.sureness(walks)
        if sure is None:
            raise NotImplementedError
        return np.asarray(sure >= level - EDGE)


@dataclass(frozen=True)
class _Certain(_Votes):
    """Nothing that remains can change the winner."""

    levels: tuple[float, ...] | None = (0.0,)

    def stops(self, walks: Walks, level: float) -> Bools:
        return stopping.certain(walks.tally, walks.remaining)

    def sureness(self, walks: Walks) -> Floats | None:
        return None


@dataclass(frozen=True)
class _Ahead(_Votes):
    """The leader is so many votes ahead."""

    def sureness(self, walks: Walks) -> Floats:
        top = np.partition(walks.tally, -2, axis=-1)
        return np.asarray(top[..., -1] - top[..., -2])


@dataclass(frozen=True)
class _Beta(_Votes):
    """Adaptive-Consistency: 1 − I_½(a+1, b+1), exact for half votes too."""

    def sureness(self, walks: Walks) -> Floats:
        from scipy.special import betainc

        top = np.partition(walks.tally, -2, axis=-1)
        return np.asarray(1.0 - betainc(top[..., -1] + 1.0, top[..., -2] + 1.0, 0.5))


@dataclass(frozen=True)
class _Prior(_Votes):
    """The same with what panels of this task type looked like; no truth is needed."""

    prior: stopping.TypePrior | None = None

    def fit(self, walks: Walks, truth: Floats) -> StopRule:
        return replace(self, prior=stopping.fit_type_prior(walks.tally[:, -1]))

    def sureness(self, walks: Walks) -> Floats:
        if self.prior is None:
            raise ValueError("the rule has not been fitted")
        return stopping.prior_confidence(walks.tally, self.prior)


@dataclass(frozen=True)
class _Correlated(_Votes):
    """Rules on the posterior of one block of seats that err together, p and ρ as measured."""

    p: float | None = None
    rho: float = 0.0

    def fit(self, walks: Walks, truth: Floats) -> StopRule:
        credit = (walks.votes * truth[:, None, :]).sum(axis=-1)
        width = walks.valid.sum(axis=1).max()
        rate = float(credit.mean())
        # One-way analysis of variance: a case's ballots share what makes the case hard.
        seats = credit.shape[1]
        between = seats * credit.mean(axis=1).var(ddof=1)
        within = credit.var(axis=1, ddof=1).mean()
        rho = (between - within) / max(between + (seats - 1) * within, 1e-12)
        low = 1.0 / float(width) + 1e-3
        return replace(self, p=float(np.clip(rate, low, 0.999)), rho=float(np.clip(rho, 0.0, 0.98)))

    def parameters(self) -> tuple[float, float]:
        if self.p is None:
            raise ValueError("the rule has not been fitted")
        return self.p, self.rho


@dataclass(frozen=True)
class _Odds(_Correlated):
    """Log-odds of the leader against its next rival."""

    def sureness(self, walks: Walks) -> Floats:
        p, rho = self.parameters()
        posterior = posteriors.block_posterior(
            walks.tally[..., None, :], p, rho, options=walks.valid[:, None, :]
        )
        top = np.partition(posterior, -2, axis=-1)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(top[..., -1]) - np.log(top[..., -2]))


@dataclass(frozen=True)
class _Value(_Correlated):
    """Minus the price of a ballot at which no number of further ones is worth asking any more."""

    horizon: int = 5

    def sureness(self, walks: Walks) -> Floats:
        p, rho = self.parameters()
        tally = walks.tally
        losses = stop_value.plain_losses(tally.shape[-1])
        worth = np.full(tally.shape[:2], np.inf)
        for t, left in enumerate(walks.remaining.astype(int).tolist()):
            # Many cases share few counts, in any order of the options.
            counts = np.concatenate([-np.sort(-tally[:, t]), walks.valid.sum(1)[:, None]], axis=1)
            states, where = np.unique(counts, axis=0, return_inverse=True)
            valid = np.arange(tally.shape[-1]) < states[:, -1:]
            best = np.zeros(len(states))
            for ballots in range(1, min(left, self.horizon) + 1):
                value = stop_value.value_of_ballots(
                    states[:, None, :-1], losses, p=p, rho=rho, ballots=ballots, options=valid
                )
                best = np.maximum(best, value / ballots)
            if left:
                worth[:, t] = -best[where.reshape(-1)]
        return worth


@dataclass(frozen=True)
class _Window(_Votes):
    """ESC: a whole window of one answer; the level is the window's length."""

    levels: tuple[float, ...] | None = (2.0, 3.0, 4.0, 5.0)

    def stops(self, walks: Walks, level: float) -> Bools:
        size = round(level)
        rows, seats, _ = walks.votes.shape
        stop = np.zeros((rows, seats), dtype=bool)
        for end in range(size, seats + 1, size):
            window = walks.votes[:, end - size : end]
            same = (np.abs(window - window[:, :1]) < EDGE).all(axis=(1, 2))
            stop[:, end - 1] = same & (window[:, 0].sum(axis=-1) > 0)
        return stop

    def sureness(self, walks: Walks) -> Floats | None:
        return None


_ERRORS = (0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01, 0.001)


@dataclass(frozen=True)
class _Sprt(_Votes):
    """Wald's test on the two leaders, as in ConSol; the level is 1 − α = 1 − β."""

    levels: tuple[float, ...] | None = tuple(1.0 - error for error in _ERRORS)
    mixture: bool = False

    def stops(self, walks: Walks, level: float) -> Bools:
        error = 1.0 - level
        if self.mixture:
            return stopping.mixture_sprt_decided(walks.tally, error)
        return stopping.sprt_decided(walks.tally, alpha=error, beta=error)

    def sureness(self, walks: Walks) -> Floats | None:
        return None


@dataclass(frozen=True)
class _Lead(_Votes):
    """The lead in standard deviations of what remains; the level is that number.

    ``evidence`` is what is added up: votes, scores, or both. A policy's rule ``lead`` is the same.
    """

    evidence: stop_scores.LeadEvidence = "scores"
    spread: float | None = None

    def ballots(self, walks: Walks) -> Floats:
        return stop_scores.lead_ballots(walks.votes, walks.scores, self.evidence)

    def fit(self, walks: Walks, truth: Floats) -> StopRule:
        spread = stop_scores.lead_spread(
            np.where(walks.valid[:, None, :], self.ballots(walks), -1e3)
        )
        return replace(self, spread=max(spread, 1e-6))

    def totals(self, walks: Walks) -> Floats:
        return self.ballots(walks).cumsum(axis=1)

    def sureness(self, walks: Walks) -> Floats:
        if self.spread is None:
            raise ValueError("the rule has not been fitted")
        totals = np.where(walks.valid[:, None, :], self.totals(walks), -np.inf)
        return stop_scores.lead_standing(totals, walks.remaining, self.spread)


RULES: Mapping[str, Callable[[], StopRule]] = {
    "certain": _Certain,
    "ahead": _Ahead,
    "odds": _Odds,
    "beta": _Beta,
    "prior": _Prior,
    "value": _Value,
    "esc": _Window,
    "sprt": _Sprt,
    "mixture": lambda: _Sprt(mixture=True),
    "votes": lambda: _Lead(evidence="votes"),
    "scores": _Lead,
    "both": lambda: _Lead(evidence="both"),
}
"""The five rules of :mod:`consensus.aggregation.stopping`, its comparators (``beta`` is
Adaptive-Consistency, ``esc`` ESC, ``sprt`` and ``mixture`` are ConSol's), and the lead over what
remains in votes, in scores and in both."""


def describe_rule(rule: StopRule) -> dict[str, Any]:
    """What was fitted, as JSON values."""
    found = {name: getattr(rule, name, None) for name in ("p", "rho", "spread")}
    return {name: round(value, 4) for name, value in found.items() if value is not None}
