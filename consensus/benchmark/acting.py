"""Act or leave it to somebody else: a policy row's rule over replayed decisions.

The same rule as :mod:`consensus.orchestrators.concluding` applies to live ballots, on arrays: a
single leader, a quorum of the configured seats, enough of them behind it, no veto, a probability
that passes the losses' threshold, 1 − α, or a prediction set of that option alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation.conformal import prediction_sets
from consensus.benchmark.strategy import Outcome
from consensus.errors import DataError
from consensus.orchestrators.spec import Losses

__all__ = ["ACTED", "Acting", "acted_columns", "parse_losses"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_APPROVE = ("approve", "accept", "yes")
ACTED = ("acted", "wrong", "loss", "false_approve", "false_reject", "covered", "drawn")
"""Columns of what acting did: see :func:`acted_columns`."""


@dataclass(frozen=True)
class Acting:
    """When a decision is acted upon.

    Attributes:
        losses: of a wrong approval and of a wrong rejection; None: each counts 1, no threshold.
        veto: so many rejections forbid an approval.
        alpha: act only at P ≥ 1 − α, or with ``conformal`` by prediction sets.
        conformal: act only where the calibrated prediction set at ``alpha`` is the leader alone.
        min_agreement: share of the configured seats behind the leader; at .5 more than half.
        approve: the index of the option that approves, where the options are labels.
        always: act on whatever leads, a tie by a coin; losses are only counted.
    """

    losses: Losses | None = None
    veto: int | None = None
    alpha: float | None = None
    conformal: bool = False
    min_agreement: float = 0.5
    approve: int | None = None
    always: bool = False

    def check(self) -> None:
        """Refuse a rule that cannot be followed.

        Raises:
            DataError: naming the option.
        """
        if self.conformal and self.alpha is None:
            raise DataError("needs the error that is allowed", where="--conformal", fix="--alpha")
        if self.alpha is not None and not 0 < self.alpha < 1:
            raise DataError("must lie between 0 and 1", where="--alpha")
        if not 0 <= self.min_agreement <= 1:
            raise DataError("must lie between 0 and 1", where="--min-agreement")
        if self.veto is not None and self.veto < 1:
            raise DataError("must be at least 1", where="--veto")

    def of_options(self, options: Sequence[str] | None) -> Acting:
        """The rule for a data set's options.

        Raises:
            DataError: losses or a veto where no option is an approval.
        """
        names = [name.strip().lower() for name in options or ()]
        here = [i for i, name in enumerate(names) if name in _APPROVE]
        if len(here) == 1 and len(names) == 2:
            return replace(self, approve=here[0])
        if self.losses is not None or self.veto is not None:
            where = "--losses" if self.losses is not None else "--veto"
            raise DataError("is for approvals, and these cases have no option approve or reject",
                            where=where)  # fmt: skip
        return self

    def describe(self) -> dict[str, Any]:
        """The keys of a policy row that say the same."""
        said: dict[str, Any] = {}
        if self.losses is not None:
            said["losses"] = self.losses.model_dump()
        for name in ("veto", "alpha"):
            if getattr(self, name) is not None:
                said[name] = getattr(self, name)
        if self.conformal:
            said["conformal"] = True
        return {**said, "min_agreement": self.min_agreement}

    def flags(self) -> list[str]:
        """The options of ``consensus bench replay`` that say the same."""
        said: list[str] = []
        if self.losses is not None:
            two = self.losses
            both = f"false_approve={two.false_approve:g},false_reject={two.false_reject:g}"
            said += ["--losses", both]
        if self.veto is not None:
            said += ["--veto", str(self.veto)]
        if self.alpha is not None:
            said += ["--alpha", f"{self.alpha:g}"]
        if self.conformal:
            said.append("--conformal")
        if self.min_agreement != 0.5:
            said += ["--min-agreement", f"{self.min_agreement:g}"]
        return said


class _Read(NamedTuple):
    choice: NDArray[np.int64]
    acted: Bools
    sets: Bools | None
    drawn: Bools


def _read(outcome: Outcome, valid: Bools, rule: Acting) -> _Read:
    """What is chosen, whether it is acted upon, and the prediction sets."""
    rows = np.arange(len(outcome.shares))
    single = (outcome.shares > 1e-12).sum(axis=1) == 1
    choice = np.asarray(outcome.shares.argmax(axis=1))
    nothing = np.zeros(len(rows), dtype=bool)
    if outcome.posterior is None or outcome.tally is None:
        raise DataError(
            "says no probability, so nothing decides when to act",
            where="--strategy",
            fix="vote, cisc, weighted, blocks, mean, softmax, stacked or live:AGGREGATOR",
        )
    given = outcome.tally.sum(axis=1)
    backing = outcome.tally[rows, choice]
    share = backing / max(outcome.seats, 1)
    half = rule.min_agreement == 0.5
    enough = share > 0.5 + 1e-12 if half else share >= rule.min_agreement - 1e-12
    acted = single & enough & (given >= outcome.seats // 2 + 1)
    p = outcome.posterior[rows, choice]
    if rule.approve is not None:
        approves = choice == rule.approve
        if rule.veto is not None:
            acted &= ~(approves & (given - backing >= rule.veto - 1e-9))
        if rule.losses is not None:
            needed = np.where(
                approves, rule.losses.threshold("approve"), rule.losses.threshold("reject")
            )
            acted &= p > needed
    if not rule.conformal:
        if rule.alpha is not None:
            acted &= p >= 1 - rule.alpha
        return _Read(choice, acted, None, nothing)
    if outcome.quantile is None:
        raise DataError(
            "has no calibrated prediction sets", where="--conformal",
            fix="--strategy live:AGGREGATOR --calibrate half",
        )  # fmt: skip
    # inf: too few calibration cases for this α, so that a set holds everything; NaN: no stage.
    drawn = ~np.isnan(outcome.quantile)
    limit = np.where(drawn, outcome.quantile, np.inf)
    sets = prediction_sets(outcome.posterior, 0.0, valid)
    for q in np.unique(limit):
        here = limit == q
        sets[here] = prediction_sets(outcome.posterior[here], float(q), valid[here])
    acted &= drawn & (sets.sum(axis=1) == 1) & sets[rows, choice]
    return _Read(choice, acted, sets, drawn)


def acted_columns(
    outcome: Outcome, valid: Bools, credit: Floats, rule: Acting
) -> dict[str, Floats]:
    """What acting did with each decision.

    ``acted``; ``wrong`` and acted; its ``loss``; which way it was wrong; whether the prediction set
    ``covered`` the truth, where one was ``drawn``.
    """
    if rule.always:
        return _always(outcome, credit, rule)
    read = _read(outcome, valid, rule)
    rows = np.arange(len(read.choice))
    wrong = read.acted * (1.0 - credit[rows, read.choice])
    approves = np.zeros(len(rows), dtype=bool)
    if rule.approve is not None:
        approves = read.choice == rule.approve
    losses = rule.losses or Losses()
    covered = np.zeros(len(rows))
    if read.sets is not None:
        best = credit >= credit.max(axis=1, keepdims=True) - 1e-9
        covered = (read.drawn & (read.sets & best).any(axis=1)).astype(float)
    directed = rule.approve is not None
    return {
        "acted": read.acted.astype(float),
        "wrong": wrong,
        "loss": wrong * np.where(approves, losses.false_approve, losses.false_reject),
        "false_approve": wrong * approves,
        "false_reject": wrong * (~approves & directed),
        "covered": covered,
        "drawn": read.drawn.astype(float),
    }


def _always(outcome: Outcome, credit: Floats, rule: Acting) -> dict[str, Floats]:
    """Whatever leads is acted upon, a tie by a coin; no answer at all is left to somebody."""
    wrong = outcome.shares * (1.0 - credit)
    losses = rule.losses or Losses()
    false_approve = np.zeros(len(wrong))
    if rule.approve is not None:
        false_approve = wrong[:, rule.approve]
    rest = wrong.sum(axis=1) - false_approve
    return {
        "acted": outcome.shares.sum(axis=1),
        "wrong": wrong.sum(axis=1),
        "loss": false_approve * losses.false_approve + rest * losses.false_reject,
        "false_approve": false_approve,
        "false_reject": rest if rule.approve is not None else np.zeros(len(wrong)),
        "covered": np.zeros(len(wrong)),
        "drawn": np.zeros(len(wrong)),
    }


def parse_losses(text: str) -> Losses:
    """Read ``false_approve=20,false_reject=1``.

    Raises:
        DataError: for another name, or a number that is not above 0.
    """
    values: dict[str, float] = {}
    try:
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            name, _, number = part.partition("=")
            values[name.strip()] = float(number)
        return Losses.model_validate(values)
    except ValueError:
        raise DataError(
            f'"{text}" names no losses', where="--losses", fix="false_approve=20,false_reject=1"
        ) from None
