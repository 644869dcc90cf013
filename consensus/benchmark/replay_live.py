"""Aggregators of live decisions, replayed: the same functions that conclude one, over a recording.

``mean`` and ``softmax`` (the aggregator ``scores`` of a policy) learn on the calibration half what
``consensus bench fit`` would write into a file; ``stacked`` likewise; ``cisc`` needs no labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation import votes
from consensus.aggregation.confidence import cisc
from consensus.aggregation.dawid_skene import dawid_skene
from consensus.benchmark._fit_closed import Family, calibrated_posteriors, fit_closed
from consensus.benchmark._fit_data import Labelled, crowd_truth, score_rows, spread_rows
from consensus.benchmark._fit_families import Panel
from consensus.benchmark.evidence import Evidence
from consensus.benchmark.strategy import Outcome, cold_posterior, front, leaders, seat_counts, spent
from consensus.errors import DataError
from consensus.orchestrators.calibrated import SeatArrays
from consensus.orchestrators.calibration import CALIBRATION_FORMAT, Calibration, MeanFit

__all__ = ["Cisc", "Crowd", "Live", "calibrate_panel", "labelled_panel", "panel_arrays"]

Floats = NDArray[np.float64]


def panel_arrays(part: Evidence) -> SeatArrays:
    """Every sample of every member as a seat, in the shape of a live panel's ballots."""
    n, members, samples = part.present.shape
    shares = part.votes.reshape(n, members * samples, -1)
    scores = None if part.scores is None else part.scores.reshape(shares.shape)
    distributions = [
        spread_rows(None if scores is None else scores[:, seat], part.valid, shares[:, seat].shape)
        for seat in range(members * samples)
    ]
    stated = part.extra.get("confidence")
    c = np.full((n, members * samples), np.nan) if stated is None else stated.reshape(n, -1)
    cast = np.where(shares.max(axis=-1) > 0.999, shares.argmax(axis=-1), -1)
    with np.errstate(invalid="ignore"):
        c = np.where((cast >= 0) & (c >= 0) & (c <= 1), c, np.nan)
    return SeatArrays(
        cast.astype(np.int64),
        np.repeat(np.arange(members), samples),
        np.stack(distributions, axis=1),
        c.astype(np.float64),
        None
        if scores is None
        else np.stack([score_rows(scores[:, s], part.valid) for s in range(scores.shape[1])], 1),
    )


def labelled_panel(part: Evidence, counts: Sequence[int]) -> Labelled:
    """A panel's ballots on the cases of a half, as fits and aggregators read them."""
    options = tuple(str(k) for k in range(part.valid.shape[1])) if part.labelled else None
    models = tuple(member.name for member in part.members)
    valid = None if part.labelled or part.valid.all() else part.valid
    return Labelled(
        Panel(models, tuple(max(count, 1) for count in counts), options),
        panel_arrays(part),
        np.asarray(part.credit.argmax(axis=1), dtype=np.int64),
        valid,
        part.case_ids,
    )


def calibrate_panel(
    part: Evidence,
    counts: Sequence[int],
    aggregator: Family,
    *,
    balanced: bool = False,
    gold: bool = True,
) -> Calibration:
    """What ``consensus bench fit`` would write, from one sample order of a panel.

    Args:
        part: the answers that the seats take.
        counts: seats of each member.
        aggregator: whose numbers are fitted.
        balanced: each label weighs the same together.
        gold: without, what the votes make of each case stands in for its label (Dawid–Skene).

    Raises:
        DataError: no case has one right option, or nothing that the aggregator could read.
    """
    data = labelled_panel(part, counts)
    if gold:
        best = part.credit.max(axis=1)
        usable = (best > 0) & ((part.credit >= best[:, None] - 1e-9).sum(axis=1) == 1)
    else:
        truth, usable, _ = crowd_truth(data.seats)
        data = replace(data, truth=truth)
    data = data.take(usable)
    if not len(data.ids):
        raise DataError("no calibration case has one right option", where="--calibrate")
    common: dict[str, Any] = {
        "format": CALIBRATION_FORMAT,
        "task_type": "",
        "kind": "choose",
        "options": data.panel.options,
        "models": data.panel.models,
        "seats": data.panel.seats,
        "cases": len(data.ids),
    }
    made, _ = fit_closed(data.balanced() if balanced else data, aggregator, common, None)
    return made


@dataclass(frozen=True)
class Live:
    """A calibrated aggregator of :mod:`consensus.orchestrators`, over recorded panels."""

    aggregator: Family
    name: str
    seats: int | None = None
    calibration: Calibration | None = None
    alpha: float | None = None

    @property
    def fitted(self) -> bool:
        """Whether it has seen labelled cases."""
        return self.calibration is not None

    def fit(self, train: Evidence) -> Live:
        """Learn the aggregator's numbers, and how label bias is best taken out.

        Raises:
            DataError: no calibration case has one right option, or nothing it could read.
        """
        counts = seat_counts(self.seats, train)
        # A random order, as those that it will be read on: of recorded samples the first may be of
        # another sort (rb2's are 1.7 points more often right), and sets drawn on them too small.
        part = front(next(train.draws(1, counts, seed=0)), counts)
        return replace(self, calibration=calibrate_panel(part, counts, self.aggregator))

    def runs(self, evidence: Evidence, *, draws: int, seed: int) -> Iterator[Outcome]:
        """One outcome a sample order."""
        if self.calibration is None:
            raise DataError(
                f'"{self.name}" learns from labelled cases',
                where="--strategy",
                fix="add --calibrate half",
            )
        counts = seat_counts(self.seats, evidence)
        for part in evidence.draws(draws, counts, seed=seed):
            taken = front(part, counts)
            data = labelled_panel(taken, counts)
            p, quantile = calibrated_posteriors(self.calibration.at(self.alpha), data)
            readable = taken.votes.sum(axis=(1, 2, 3)) > 0
            shares = leaders(p, taken.valid) * readable[:, None]
            yield Outcome(
                shares=shares,
                **spent(part, counts),
                seats=sum(counts),
                tally=part.running.tally(counts),
                posterior=p,
                quantile=quantile,
            )

    def describe(self) -> dict[str, Any]:
        """What it is, and what it chose."""
        fit = None if self.calibration is None else self.calibration.fit
        chosen = {"label_bias": fit.bias_from} if isinstance(fit, MeanFit) else {}
        return {
            "strategy": self.name,
            "aggregator": self.aggregator,
            "seats": self.seats,
            **chosen,
        }


@dataclass(frozen=True)
class Crowd:
    """Dawid–Skene on the very answers that are decided: each member's confusions, no labels.

    It takes seats to err independently given the truth, so its posterior is too sure.
    """

    seats: int | None = None
    name: str = "dawid_skene"
    fitted: bool = True

    def fit(self, train: Evidence) -> Crowd:
        """Nothing to calibrate."""
        return self

    def runs(self, evidence: Evidence, *, draws: int, seed: int) -> Iterator[Outcome]:
        """One outcome a sample order.

        Raises:
            DataError: options whose names mean something else in every case.
        """
        if not evidence.labelled:
            raise DataError(
                "learns what members make of each option: these mean something else in every case",
                where=f"--strategy {self.name}",
                fix="vote or blocks",
            )
        counts = seat_counts(self.seats, evidence)
        for part in evidence.draws(draws, counts, seed=seed):
            cast = panel_arrays(front(part, counts)).votes
            rows = np.arange(len(part)).reshape(-1, len(evidence))
            p = np.concatenate(
                [dawid_skene(cast[one], part.valid.shape[1], smoothing=1.0).posterior
                 for one in rows]
            )  # fmt: skip
            p = np.where(part.valid, p, 0.0)
            answered = np.asarray((cast >= 0).any(axis=1)).reshape(-1, 1)
            yield Outcome(
                shares=leaders(p, part.valid) * answered,
                **spent(part, counts),
                seats=sum(counts),
                tally=part.running.tally(counts),
                posterior=p,
            )

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"strategy": self.name, "seats": self.seats}


@dataclass(frozen=True)
class Cisc:
    """Votes weighted by stated confidence within the question, softmax(c/T); no labels."""

    seats: int | None = None
    temperature: float = 1.0
    name: str = "cisc"
    fitted: bool = True

    def fit(self, train: Evidence) -> Cisc:
        """Nothing to calibrate."""
        return self

    def runs(self, evidence: Evidence, *, draws: int, seed: int) -> Iterator[Outcome]:
        """One outcome a sample order."""
        counts = seat_counts(self.seats, evidence)
        for part in evidence.draws(draws, counts, seed=seed):
            taken = front(part, counts)
            n, width = taken.valid.shape
            given = taken.votes.reshape(n, -1, width).astype(np.float64)
            stated = panel_arrays(taken).confidence
            # A seat that is torn between options gives each its part: weigh seats, then share out.
            number = given.shape[1]
            own = np.where(given.sum(axis=2) > 0, np.arange(number), -1)
            weight = cisc(own, stated, number, self.temperature)
            shares = np.einsum("ns,nsk->nk", weight, given)
            decided = np.asarray(votes.plurality(shares, taken.valid).credit)
            voiced = (given.sum(axis=2) > 0).sum(axis=1)
            yield Outcome(
                shares=decided,
                **spent(part, counts),
                seats=sum(counts),
                tally=part.running.tally(counts),
                posterior=cold_posterior(shares * voiced[:, None], taken.valid),
            )

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"strategy": self.name, "seats": self.seats, "temperature": self.temperature}
