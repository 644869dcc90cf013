"""A calibration applied: seats as arrays to the probability of each option.

One decision and a whole replay go through the same functions (leading axes are cases), so what was
measured on recorded answers is what a live panel gets. Every number comes from
:mod:`consensus.aggregation`; sums are canonical, so no order of seats changes a bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation.confidence import ConfidenceMap, confidence_weights
from consensus.aggregation.features import (
    confidence_features,
    distribution_features,
    vote_features,
)
from consensus.aggregation.learned import ConditionalLogit
from consensus.aggregation.pools import contextual_calibration, linear_pool, tempered
from consensus.aggregation.posteriors import (
    block_discount,
    block_posterior,
    confusion_block_posterior,
    weighted_posterior,
)
from consensus.aggregation.score_ballots import score_posterior
from consensus.aggregation.scores import ScoreModel
from consensus.aggregation.votes import tally_blocks
from consensus.orchestrators.calibration import (
    BlocksFit,
    Calibration,
    MeanFit,
    OptionScoresFit,
    ScoresFit,
    StackedFit,
    WeightedFit,
)

__all__ = [
    "PAIRS_UP_TO",
    "SeatArrays",
    "judge_model",
    "posterior",
    "raw_posterior",
    "stacked_features",
    "stacked_width",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

PAIRS_UP_TO = 6
"""Models up to which a stacked fit has a column for each pair of them."""

LABEL_COLUMNS = 200
"""Columns up to which a stacked fit tells a model's votes for one label from those for another."""

LEAST = 1e-6
"""Least probability after averaging: no finite panel excludes an option."""


class SeatArrays(NamedTuple):
    """Ballots as arrays.

    Attributes:
        votes: int (..., seats), −1 = failed.
        groups: int (seats,): the model, as an index into the models that take part.
        distributions: (..., seats, K), rows of NaN where a ballot is a bare word.
        confidence: (..., seats), NaN where none was stated.
        scores: (..., seats, K) of each option, NaN where not given; None where nobody was asked.
    """

    votes: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    distributions: Floats
    confidence: Floats
    scores: Floats | None = None

    @property
    def options(self) -> int:
        """K."""
        return int(self.distributions.shape[-1])

    def ballots(self, *, scored: bool = False) -> Bools:
        """(..., seats) who gave a ballot; one that ties between options is one, without a vote.

        Args:
            scored: only those that scored the options.
        """
        given: Bools = np.zeros(self.votes.shape, dtype=np.bool_)
        if self.scores is not None:
            given = np.asarray(~np.isnan(self.scores).all(axis=-1))
        if scored:
            return given
        spread = ~np.isnan(self.distributions).all(axis=-1)
        return np.asarray((self.votes >= 0) | spread | given, dtype=np.bool_)


def posterior(
    calibration: Calibration,
    stage: int,
    models: Sequence[int],
    seats: SeatArrays,
    mask: Bools | None = None,
) -> Floats:
    """Calibrated probability (..., K) of each option.

    Args:
        calibration: of a closed kind.
        stage: whose temperature (and stacked weights) hold.
        models: indices into ``calibration.models``; group g of the seats is ``models[g]``. For a
            fit by stages they are exactly the stage's.
        seats: each group with at least one.
        mask: bool (..., K) options that a case has.
    """
    raw = raw_posterior(calibration, stage, models, seats, mask)
    return tempered(raw, calibration.stages[stage].temperature)


def raw_posterior(
    calibration: Calibration,
    stage: int,
    models: Sequence[int],
    seats: SeatArrays,
    mask: Bools | None = None,
) -> Floats:
    """The same before its temperature."""
    fit = calibration.fit
    if isinstance(fit, WeightedFit):
        return _weighted(fit, models, seats, mask)
    if isinstance(fit, BlocksFit):
        return _blocks(fit, models, seats, mask)
    if isinstance(fit, MeanFit):
        return _mean(fit, models, seats, mask)
    if isinstance(fit, OptionScoresFit):
        return _option_scores(fit.weights[stage], seats, mask)
    if isinstance(fit, StackedFit):
        fitted = [calibration.seats[m] for m in models]
        x = stacked_features(fit.features, calibration.options, fitted, seats)
        weights = np.asarray(fit.weights[stage], dtype=np.float64)
        return ConditionalLogit(weights, 1.0, 0.0, calibration.cases).predict(x, mask)
    raise TypeError(f"a fit of {fit.family} gives no posterior")


def _weighted(
    fit: WeightedFit, models: Sequence[int], seats: SeatArrays, mask: Bools | None
) -> Floats:
    """Log-odds of being right, added up and taken down for the correlation of errors.

    A seat below chance has no weight, rather than one against what it says.
    """
    known = [ConfidenceMap(m.a, m.b, m.base, float("nan"), 0) for m in fit.maps]
    maps = [known[models[g]] for g in seats.groups.tolist()]
    number = _number(seats, mask)
    weights = confidence_weights(seats.confidence, maps) + np.log(np.maximum(number - 1, 1))
    cast = (seats.votes >= 0).sum(axis=-1)
    discount = block_discount(cast, fit.correlation)[..., None]
    prior = None if mask is None else mask.astype(np.float64)
    weights = np.maximum(weights, 0.0) * discount
    return weighted_posterior(seats.votes, weights, seats.options, prior)


def _blocks(fit: BlocksFit, models: Sequence[int], seats: SeatArrays, mask: Bools | None) -> Floats:
    """Each model a block of correlated votes; correlated blocks discounted by one power."""
    chosen = list(models)
    counts = tally_blocks(seats.votes, seats.options, seats.groups)
    within = np.asarray(fit.within)[chosen]
    discount = float(block_discount(len(chosen), fit.between))
    if fit.confusion is not None:
        confusion = np.asarray(fit.confusion)[chosen]
        return confusion_block_posterior(counts, confusion, within, fit.prior, discount=discount)
    fewest = int(np.min(_number(seats, mask)))
    accuracy = np.maximum(np.asarray(fit.accuracy)[chosen], 1.0 / max(fewest, 2) + 1e-3)
    return block_posterior(
        counts, np.minimum(accuracy, 1 - 1e-6), within, options=mask, discount=discount
    )


def _mean(fit: MeanFit, models: Sequence[int], seats: SeatArrays, mask: Bools | None) -> Floats:
    """Average the distributions, each with its model's label bias taken out."""
    width = seats.options
    accuracy = np.asarray(fit.accuracy)[[models[g] for g in seats.groups.tolist()]][:, None]
    others = np.maximum(_number(seats, mask)[..., None] - 1, 1)
    hit = seats.votes[..., None] == np.arange(width)
    word = np.where(hit, accuracy, (1.0 - accuracy) / others)
    if mask is not None:
        word = np.where(mask[..., None, :], word, 0.0)
    # With one option, or a vote for none of these, the shares above do not sum to one.
    word = word / np.maximum(word.sum(axis=-1, keepdims=True), LEAST)
    word = np.where((seats.votes >= 0)[..., None], word, np.nan)
    bare = np.isnan(seats.distributions).any(axis=-1, keepdims=True)
    each = np.where(bare, word, seats.distributions)
    if fit.bias is not None:
        bias = np.asarray(fit.bias)[[models[g] for g in seats.groups.tolist()]]
        each = contextual_calibration(each, bias)
    pooled = np.maximum(np.nan_to_num(linear_pool(each), nan=1.0 / width), LEAST)
    if mask is not None:
        pooled = np.where(mask, pooled, 0.0)
    return tempered(pooled, 1.0)


def _option_scores(weights: Sequence[float], seats: SeatArrays, mask: Bools | None) -> Floats:
    """Softmax over each model's mean scores; a ballot without scores says nothing."""
    given = seats.scores
    if given is None:
        given = np.full_like(seats.distributions, np.nan)
    row = np.asarray(weights, dtype=np.float64)
    number = int(seats.groups.max()) + 1
    temperatures = np.full(number, np.inf)
    np.divide(1.0, row[:number], out=temperatures, where=row[:number] > 0)
    return score_posterior(given, seats.groups, temperatures, options=mask)


def stacked_features(
    kinds: Sequence[str], labels: Sequence[str] | None, fitted: Sequence[int], seats: SeatArrays
) -> Floats:
    """Columns (..., K, F) of a stacked fit, the same for any number of live seats.

    Vote shares of each model; their squares where the fit had several seats of it (unanimity);
    products of two models' shares (agreement); log mean distributions; stated confidence. Where the
    options are fixed, also a constant for each label and each model's share for each label: a
    conditional logit with these is a multinomial logit on the votes.

    Args:
        kinds: what the fit reads: ``votes``, ``distributions``, ``confidence``.
        labels: the options where they are fixed.
        fitted: how many seats the fit had of each group.
        seats: of the case, or of many.
    """
    width, number = seats.options, len(fitted)
    votes = vote_features(seats.votes, width, seats.groups, pairs=False).values[..., :number]
    shares = [votes[..., g] for g in range(number)]
    columns = list(shares)
    columns += [shares[g] ** 2 for g, n in enumerate(fitted) if n > 1]
    if number <= PAIRS_UP_TO:
        columns += [shares[g] * shares[h] for g, h in itertools.combinations(range(number), 2)]
    if "distributions" in kinds:
        d = distribution_features(seats.distributions, seats.groups).values
        columns += [d[..., g] for g in range(number)]
    if "confidence" in kinds:
        c = confidence_features(seats.votes, seats.confidence, width, seats.groups).values
        columns += [c[..., g] for g in range(number)]
    if labels is not None:
        constants = [np.broadcast_to(row, shares[0].shape) for row in np.eye(width)]
        columns += constants
        if number * width <= LABEL_COLUMNS:
            columns += [share * constant for share in shares for constant in constants]
    return np.stack(columns, axis=-1)


def stacked_width(kinds: Sequence[str], options: Sequence[str] | None, seats: Sequence[int]) -> int:
    """How many columns :func:`stacked_features` has for models with so many fitted seats."""
    number, width = len(seats), len(options or ())
    columns = number + sum(n > 1 for n in seats)
    if number <= PAIRS_UP_TO:
        columns += number * (number - 1) // 2
    columns += number * (("distributions" in kinds) + ("confidence" in kinds))
    return columns + width + (number * width if number * width <= LABEL_COLUMNS else 0)


def judge_model(fit: ScoresFit, models: Sequence[int | None], cases: int) -> ScoreModel:
    """The judges in this order; None is one that the fit has not seen: an average one."""
    noise = float(np.exp(np.mean(np.log(np.sort(fit.noise)))))
    average = (fit.centre, fit.scale, noise)
    known = list(zip(fit.location, fit.slope, fit.noise, strict=True))
    rows = np.array([average if m is None else known[m] for m in models], dtype=np.float64)
    return ScoreModel(rows[:, 0], rows[:, 1], rows[:, 2], fit.centre, fit.scale, cases)


def _number(seats: SeatArrays, mask: Bools | None) -> Floats:
    """Options of each case, (..., 1) or (1,)."""
    if mask is None:
        return np.array([float(seats.options)])
    return np.asarray(mask.sum(axis=-1, keepdims=True), dtype=np.float64)
