"""What each member's answers say for each option, ready for every panel of them.

A :class:`Recipe` is what is learned about single members from calibration cases (how much its
length of answer varies, how good it is on each task type); a :class:`Table` is evidence put through
a recipe: for every member and number of samples a block of features, which a state of the search
sets side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.auto.judges import Judges, centred_means, learn_judges
from consensus.benchmark.auto.scales import Scale, by_worth, learn_scales
from consensus.benchmark.auto.stacking import Slots
from consensus.benchmark.evidence import Evidence

__all__ = ["Recipe", "State", "Table", "learn_recipe", "learn_scores"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
State = tuple[int, ...]
"""How many samples of each member have been asked."""

EFFORT = ("completion_tokens", "output_chars")
"""Columns that tell how much a model had to work: the first that varies is used."""

TYPE_CASES = 150
"""Calibration cases from which a task type has weights of its own."""

MOST_TYPES = 8

NO_SCORE = frozenset({"confidence", "completion_tokens", "output_chars", "latency_s"})
"""Extra columns that are no score of the case."""


@dataclass(frozen=True)
class Recipe:
    """What calibration cases tell about single members.

    Attributes:
        effort: the column of effort, or None.
        effort_mean, effort_sd: (M,) of its logarithm; a deviation of 0: not used for that member.
        type_logit: (M, S) log-odds of a member's vote on each task type, less its mean.
        frequent_types: task types with cases enough to have weights of their own.
        columns: names of further scores of a case.
        column_mean, column_sd: (M, C).
        column_weight: (C, K) how each option's truth goes with a score.
        judges: what scores weigh together; None where there are none.
        scales: what each member's points are worth.
    """

    effort: str | None
    effort_mean: Floats
    effort_sd: Floats
    type_logit: Floats
    frequent_types: tuple[int, ...]
    columns: tuple[str, ...]
    column_mean: Floats
    column_sd: Floats
    column_weight: Floats
    judges: Judges | None = None
    scales: tuple[Scale, ...] = ()


def learn_scores(train: Evidence, weights: Floats) -> tuple[Judges | None, tuple[Scale, ...]]:
    """What the scores of members tell, and what their points are worth."""
    scales = learn_scales(train, weights)
    return learn_judges(by_worth(train, scales), weights), scales


def learn_recipe(train: Evidence, weights: Floats) -> Recipe:
    """Learn the recipe from calibration cases; ``weights`` (n,) are theirs."""
    members = len(train.members)
    judges, scales = learn_scores(train, weights)
    effort = next(
        (name for name in EFFORT if name in train.extra and np.isfinite(train.extra[name]).any()),
        None,
    )
    mean, deviation = np.zeros(members), np.zeros(members)
    if effort is not None:
        logs = _log(train.extra[effort])
        for m in range(members):
            known = logs[:, m][np.isfinite(logs[:, m])]
            # A member that always answers in a word or two has no effort to read.
            if known.size > 20 and known.std() > 0.3:
                mean[m], deviation[m] = known.mean(), known.std()
    columns: tuple[str, ...] = ()
    if train.labelled:
        columns = tuple(
            sorted(
                name
                for name, values in train.extra.items()
                if name not in NO_SCORE and np.isfinite(values).mean() > 0.5
            )
        )
    column_mean, column_sd = np.zeros((2, members, len(columns)))
    column_weight = np.zeros((len(columns), train.valid.shape[1]))
    gold = train.credit - np.average(train.credit, axis=0, weights=weights)
    for c, name in enumerate(columns):
        values = train.extra[name]
        column_mean[:, c] = np.nanmean(values, axis=(0, 2))
        column_sd[:, c] = np.nanstd(values, axis=(0, 2))
        pooled = np.nanmean(_standard(values, column_mean[:, c], column_sd[:, c]), axis=(1, 2))
        column_weight[c] = (np.nan_to_num(pooled) * weights) @ gold / weights.sum()
    return Recipe(
        effort,
        mean,
        deviation,
        _type_logit(train),
        _frequent_types(train),
        columns,
        column_mean,
        column_sd,
        column_weight,
        judges,
        scales,
    )


def _log(values: Floats) -> Floats:
    return np.asarray(np.log1p(np.maximum(values, 0.0)))


def _standard(values: Floats, mean: Floats, deviation: Floats) -> Floats:
    """(n, M, S) in units of each member's own spread; 0 for one that never varies."""
    usable = deviation > 1e-9
    scale = np.where(usable, deviation, 1.0)
    z = (values - mean[None, :, None]) / scale[None, :, None]
    return np.where(usable[None, :, None], z, 0.0)


def _frequent_types(train: Evidence) -> tuple[int, ...]:
    counts = np.bincount(train.strata, minlength=len(train.stratum_names))
    often = [s for s in range(len(counts)) if counts[s] >= TYPE_CASES]
    return tuple(often) if len(often) <= MOST_TYPES else ()


def _type_logit(train: Evidence, strength: float = 40.0) -> Floats:
    types = len(train.stratum_names)
    members = len(train.members)
    passes = np.maximum(train.available, 1)
    credit = np.nansum(train.pass_credit(), axis=2) / passes
    overall = credit.mean(axis=0)
    table = np.zeros((members, types))
    for s in range(types):
        here = np.flatnonzero(train.strata == s)
        rate = (credit[here].sum(axis=0) + strength * overall) / (len(here) + strength)
        rate = np.clip(rate, 0.02, 0.98)
        table[:, s] = np.log(rate / (1 - rate))
    return np.asarray(table - table.mean(axis=1, keepdims=True))


class Table:
    """Evidence as feature blocks, for one or several sample orders.

    Rows are (order, case) pairs: ``case`` says which case a row is.

    Attributes:
        slots: the options of every row.
        option: (N,) index of each slot's option; −1 where a slot stands for all that nobody named.
        blocks: ``blocks[m][c]`` (N, f): what member m's first c samples say; None for c = 0.
        common: (N, f) what is known before any call (the options' own prevalence), or None.
        tags: ``tags[m]`` (f,) "" for features that are always used, else the optional set they
            belong to: ``type`` (how good the member is on this task type), ``effort`` (how long it
            worked on this case).
        used: the optional sets in use.
        evidence: the sample orders themselves, where all cases have the same labels.
        cost: ``cost[m]`` (R, cap): cost of each further sample, in the unit of the search.
        dollars, latency, called: the same in dollars, seconds and calls.
    """

    def __init__(
        self, orders: Sequence[Evidence], recipe: Recipe, caps: State, unit: str, *, scored: bool
    ) -> None:
        first = orders[0]
        self.cases, self.orders = len(first), len(orders)
        self.caps = caps
        self.case = np.tile(np.arange(self.cases), self.orders)
        self.valid = np.tile(first.valid, (self.orders, 1))
        self.credit = np.tile(first.credit, (self.orders, 1))
        self.votes = [
            np.concatenate([order.votes[:, m, : caps[m]] for order in orders]).astype(float)
            for m in range(len(caps))
        ]
        self.scores = [
            None
            if not scored or first.scores is None
            else np.concatenate(
                [o.scores[:, m, : caps[m]] for o in orders if o.scores is not None]
            ).astype(float)
            for m in range(len(caps))
        ]
        self.labelled = first.labelled
        self.evidence = tuple(orders) if first.labelled else ()
        self._lay_slots(all_options=scored or first.labelled)
        self.dollars, self.latency, self.called = [], [], []
        for m, cap in enumerate(caps):
            self.dollars.append(np.concatenate([o.cost[:, m, :cap] for o in orders]))
            self.latency.append(np.concatenate([o.latency[:, m, :cap] for o in orders]))
            self.called.append(
                np.concatenate([o.present[:, m, :cap] for o in orders]).astype(float)
            )
        self.cost = self.called if unit == "calls" else self.dollars
        self.common = self._intercepts() if first.labelled else None
        self.recipe = recipe
        several = len(first.stratum_names) > 1
        self.types = np.tile(first.strata, self.orders) if several else None
        self.means = self._means(recipe)
        self.tags: list[NDArray[np.str_]] = [np.array([], dtype=str) for _ in caps]
        self.used: frozenset[str] = frozenset()
        self.blocks = [
            [None, *(self._block(orders, recipe, m, c) for c in range(1, cap + 1))]
            for m, cap in enumerate(caps)
        ]

    def __len__(self) -> int:
        return len(self.case)

    def _means(self, recipe: Recipe) -> list[dict[int, Floats]]:
        """By member and number of samples, (N,) what its scores are worth."""
        found: list[dict[int, Floats]] = []
        for m, scores in enumerate(self.scores):
            if scores is None:
                found.append({})
                continue
            worth = recipe.scales[m].worth(scores)
            found.append(
                {
                    count: self._spread(centred_means(worth[:, :count], self.valid))
                    for count in range(1, self.caps[m] + 1)
                }
            )
        return found

    def judged_by(self, judges: Judges | None, scales: tuple[Scale, ...]) -> Table:
        """The same answers, their scores read by what other cases told of them."""
        other = copy(self)
        other.recipe = replace(self.recipe, judges=judges, scales=scales)
        other.means = other._means(other.recipe)
        return other

    def _lay_slots(self, *, all_options: bool) -> None:
        named = self.valid.copy()
        if not all_options:
            named &= np.any([v.sum(axis=1) > 0 for v in self.votes], axis=0)
        rest = self.valid & ~named
        others = rest.sum(axis=1)
        size = named.sum(axis=1) + (others > 0)
        start = np.concatenate([[0], np.cumsum(size)[:-1]]).astype(np.int64)
        total = int(size.sum())
        option = np.full(total, -1, dtype=np.int64)
        row, column = np.nonzero(named)
        place = start[row] + (np.cumsum(named, axis=1) - 1)[row, column]
        option[place] = column
        multiplicity = np.ones(total)
        credit = np.zeros(total)
        credit[place] = self.credit[row, column]
        left = np.flatnonzero(others > 0)
        last = start[left] + size[left] - 1
        multiplicity[last] = others[left]
        credit[last] = (self.credit * rest).sum(axis=1)[left] / others[left]
        self.option = option
        self.slots = Slots(start, size.astype(np.int64), multiplicity, credit)

    def _spread(self, values: Floats) -> Floats:
        """(R, K) → (N,): the value of each slot's option; 0 for what nobody named."""
        flat = values[self.slots.case, np.maximum(self.option, 0)]
        return np.asarray(np.where(self.option >= 0, flat, 0.0))

    def _intercepts(self) -> Floats:
        width = self.valid.shape[1]
        return np.stack([(self.option == k).astype(float) for k in range(width - 1)], axis=1)

    def _block(self, orders: Sequence[Evidence], recipe: Recipe, m: int, count: int) -> Floats:
        vote = self._spread(self.votes[m][:, :count].mean(axis=1))
        columns = [vote]
        scores = self.scores[m]
        if scores is not None:
            # The whole score says what the vote says, and more; the panel weighs it as one.
            columns = []
        if self.labelled:
            columns += (
                [vote * (self.option == k) for k in range(self.valid.shape[1] - 1)]
                if self.valid.shape[1] > 2
                else []
            )
            columns += self._column_scores(orders, recipe, m, count)
        tags = [""] * len(columns)
        if scores is None and self.types is not None:
            strata = self.types
            codes = strata[self.slots.case]
            columns.append(vote * recipe.type_logit[m, strata][self.slots.case])
            tags.append("type")
            for s in recipe.frequent_types:
                columns.append(vote * (codes == s))
                tags.append("type")
        if recipe.effort is not None and recipe.effort_sd[m] > 0:
            logs = np.concatenate([_log(o.extra[recipe.effort][:, m, :count]) for o in orders])
            mean_log = np.where(np.isfinite(logs), logs, recipe.effort_mean[m]).mean(axis=1)
            z = np.clip((mean_log - recipe.effort_mean[m]) / recipe.effort_sd[m], -4, 4)
            z = z[self.slots.case]
            columns += [vote * z, vote * (z**2 - 1)]
            tags += ["effort", "effort"]
        self.tags[m] = np.array(tags, dtype=str)
        return np.stack(columns, axis=1) if columns else np.empty((len(self.option), 0))

    def _column_scores(
        self, orders: Sequence[Evidence], recipe: Recipe, m: int, count: int
    ) -> list[Floats]:
        """One number an option: the member's scores of the case, weighed by what they told."""
        if not recipe.columns:
            return []
        total = np.zeros((len(self), self.valid.shape[1]))
        for c, name in enumerate(recipe.columns):
            values = np.concatenate([o.extra[name][:, m, :count] for o in orders])[:, None]
            z = _standard(values, recipe.column_mean[[m], c], recipe.column_sd[[m], c])
            filled = np.where(np.isfinite(z), z, 0.0).mean(axis=(1, 2))
            total += filled[:, None] * recipe.column_weight[c]
        return [self._spread(total)]

    def options(self) -> list[frozenset[str]]:
        """The sets of optional features that could be used: none, each, all."""
        present = sorted({str(tag) for tags in self.tags for tag in tags if tag})
        sets = [frozenset[str](), *(frozenset([tag]) for tag in present)]
        return sets if len(present) < 2 else [*sets, frozenset(present)]

    def _columns(self, m: int) -> NDArray[np.bool_]:
        return np.isin(self.tags[m], ["", *self.used])

    def _judged(self, state: State) -> list[Floats]:
        """What the scores of a state's members say together, by slot."""
        means = {
            m: self.means[m][count] for m, count in enumerate(state) if self.means[m] and count
        }
        judges = self.recipe.judges
        if not means or judges is None:
            return []
        weights = judges.weights([count if m in means else 0 for m, count in enumerate(state)])
        score = np.sum([weights[m] * mean for m, mean in means.items()], axis=0)
        columns = [score, self._lead(score)]
        if len(means) > 1:
            # A candidate that one judge likes least, or most: agreement beyond the sum.
            columns += [np.min(list(means.values()), axis=0), np.max(list(means.values()), axis=0)]
        return columns

    def _lead(self, values: Floats) -> Floats:
        """(N,) of the leading slot its distance to the next, 0 for all others."""
        top = self.slots.largest(values)[self.slots.case]
        second = self.slots.largest(np.where(values >= top, -np.inf, values))[self.slots.case]
        tied = self.slots.sum((values >= top).astype(float))[self.slots.case] > 1
        alone = (values >= top) & ~tied & np.isfinite(second)
        return np.where(alone, values - np.where(alone, second, 0.0), 0.0)

    def design(self, state: State) -> Floats:
        """(N, F) the features of a state, with the optional ones in :attr:`used`."""
        blocks = [] if self.common is None else [self.common]
        judged = self._judged(state)
        if judged:
            blocks.append(np.stack(judged, axis=1))
        for m, count in enumerate(state):
            block = self.blocks[m][count]
            if block is not None:
                columns = self._columns(m)
                blocks.append(block if columns.all() else block[:, columns])
        return np.concatenate(blocks, axis=1)

    def penalties(self, width: int) -> Floats:
        """(F,) precision of the prior of each of a state's features, relative to a vote's."""
        # Prevalence is learned nearly freely.
        free = 0 if self.common is None else self.common.shape[1]
        return np.concatenate([np.full(free, 0.1), np.ones(width - free)])

    def spent(self, state: State, what: str) -> Floats:
        """(R,) what the samples of a state cost together: ``cost``, ``dollars`` or ``called``."""
        columns: list[Floats] = getattr(self, what)
        parts = [columns[m][:, :count].sum(axis=1) for m, count in enumerate(state)]
        return np.asarray(np.sum(parts, axis=0))
