"""The part of a run that one replay looks at, as dense arrays.

Axes are always case, member, sample, option: ``n, M, S, K``. A sample that was not recorded is
absent (no call, no cost); one that was recorded without a readable answer is present with no vote.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.run_format.columns import Member
from consensus.benchmark.run_format.run import RecordedRun
from consensus.benchmark.running import Running
from consensus.errors import DataError

__all__ = ["Evidence", "calibration_mask", "complete_cases", "evidence_of", "resolve_members"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_BLOCK_BYTES = 8_000_000
"""Orders are stacked up to this size: enough to amortise numpy's calls, and still in the cache."""
_KEPT_BYTES = 96_000_000
"""Orders of one evidence are kept for the next strategy up to this size."""


@dataclass(frozen=True)
class Evidence:
    """Answers of some members on some cases.

    Attributes:
        case_ids: n ids.
        members: M members.
        votes: (n, M, S, K) shares of one vote; zeros for a failure.
        present: (n, M, S) whether the sample was recorded.
        scores: (n, M, S, K) a score an option, NaN where none; None without scores.
        cost: (n, M, S) dollars, NaN where unknown; 0 where absent.
        latency: (n, M, S) seconds, NaN where unknown; 0 where absent.
        extra: further numbers (n, M, S) by name, NaN where none: lengths, sub-scores, confidence.
        valid: (n, K) the options a case has.
        credit: (n, K) how right each option is.
        strata: (n,) code of each case's task type.
        stratum_names: the task types.
        labelled: the options mean the same in every case (accept/reject, 1/2/tie), so that a bias
            towards one of them can be learned; letters do not.
        sample_is_order: samples are presentation orders, not repetitions.
    """

    case_ids: tuple[str, ...]
    members: tuple[Member, ...]
    votes: NDArray[np.float32]
    present: Bools
    scores: NDArray[np.float32] | None
    cost: Floats
    latency: Floats
    extra: Mapping[str, Floats]
    valid: Bools
    credit: Floats
    strata: NDArray[np.int64]
    stratum_names: tuple[str, ...]
    labelled: bool
    sample_is_order: bool

    def __len__(self) -> int:
        return len(self.case_ids)

    @cached_property
    def available(self) -> NDArray[np.int64]:
        """(n, M) samples recorded."""
        return np.asarray(self.present.sum(axis=2))

    @cached_property
    def typical(self) -> NDArray[np.int64]:
        """(M,) samples that a member has on most cases: what a panel can count on."""
        return np.array(
            [np.bincount(self.available[:, m]).argmax() for m in range(len(self.members))]
        )

    def take(self, rows: NDArray[np.int64]) -> Evidence:
        """Some of the cases."""
        return replace(
            self,
            case_ids=tuple(self.case_ids[i] for i in rows),
            votes=self.votes[rows],
            present=self.present[rows],
            scores=None if self.scores is None else self.scores[rows],
            cost=self.cost[rows],
            latency=self.latency[rows],
            extra={name: column[rows] for name, column in self.extra.items()},
            valid=self.valid[rows],
            credit=self.credit[rows],
            strata=self.strata[rows],
        )

    def only(self, members: Sequence[int]) -> Evidence:
        """Some of the members, in that order."""
        index = list(members)
        return replace(
            self,
            members=tuple(self.members[m] for m in index),
            votes=self.votes[:, index],
            present=self.present[:, index],
            scores=None if self.scores is None else self.scores[:, index],
            cost=self.cost[:, index],
            latency=self.latency[:, index],
            extra={name: column[:, index] for name, column in self.extra.items()},
        )

    def samples(self, order: NDArray[np.int64]) -> Evidence:
        """The samples in another order; ``order`` (n, M, S') holds sample indices.

        With a leading axis (orders, n, M, S') the orders are stacked as further cases: the first
        order of all cases, then the second.
        """
        n, members, depth = self.present.shape
        orders = 1 if order.ndim == 3 else len(order)
        start = (np.arange(n)[:, None] * members + np.arange(members)) * depth
        at = (start[..., None] + order).reshape(orders * n, members, order.shape[-1])

        def pick(values: NDArray[Any]) -> NDArray[Any]:
            return np.asarray(values.reshape(-1).take(at))

        def pick_rows(values: NDArray[Any]) -> NDArray[Any]:
            return np.asarray(values.reshape(-1, values.shape[-1]).take(at, axis=0))

        def again(values: NDArray[Any]) -> NDArray[Any]:
            return values if orders == 1 else np.concatenate([values] * orders)

        return replace(
            self,
            case_ids=self.case_ids * orders,
            votes=pick_rows(self.votes),
            present=pick(self.present),
            scores=None if self.scores is None else pick_rows(self.scores),
            cost=pick(self.cost),
            latency=pick(self.latency),
            extra={name: pick(column) for name, column in self.extra.items()},
            valid=again(self.valid),
            credit=again(self.credit),
            strata=again(self.strata),
        )

    def shuffled(self, rng: np.random.Generator, most: int | None = None) -> Evidence:
        """One random order of each member's samples on each case, recorded ones first.

        Args:
            rng: where the order comes from.
            most: keep only so many samples a member.
        """
        return self.samples(self._shuffles(rng, 1, most)[0])

    def _shuffles(
        self, rng: np.random.Generator, number: int, most: int | None = None
    ) -> NDArray[np.int64]:
        keys = rng.random((number, *self.present.shape))
        keys[:, ~self.present] = 2.0
        return np.argsort(keys, axis=3)[..., :most]

    def compact(self, most: int | None = None) -> Evidence:
        """The recorded samples first, in their own order."""
        order = np.argsort(~self.present, axis=2, kind="stable")
        return self.samples(order[:, :, :most])

    def draws(
        self, number: int, used: Sequence[int], *, seed: int, most: int | None = None
    ) -> Iterator[Evidence]:
        """Random sample orders; a single one where each member's samples are all used anyway.

        Each piece of evidence that comes back holds one order or several, stacked as further
        cases: a strategy need not know, and its caller folds them (``len`` is a multiple of n).
        """
        every = all(
            int(self.available[:, m].max(initial=0)) <= count for m, count in enumerate(used)
        )
        if every:
            yield self.compact(most)
        else:
            yield from self.shuffles(number, seed=seed, most=most)

    def shuffles(self, number: int, *, seed: int, most: int | None = None) -> Iterator[Evidence]:
        """``number`` random sample orders, stacked as in :meth:`draws`.

        Where they are small the last ones asked for are kept: settings that differ in how they
        combine the answers see the same orders, and share the work of making them.
        """
        key = (number, seed, most)
        if key in self._kept:
            yield from self._kept[key]
            return
        size = max(1, self.votes.nbytes + 8 * self.cost.size * (2 + len(self.extra)))
        if self.scores is not None:
            size += self.scores.nbytes
        step = max(1, _BLOCK_BYTES // size)
        rng = np.random.default_rng(seed)
        starts = range(0, number, step)
        blocks = (
            self.samples(self._shuffles(rng, min(step, number - start), most)) for start in starts
        )
        if number * size > _KEPT_BYTES:
            yield from blocks
            return
        self._kept.clear()
        self._kept[key] = list(blocks)
        yield from self._kept[key]

    @cached_property
    def _kept(self) -> dict[tuple[int, int, int | None], list[Evidence]]:
        return {}

    @cached_property
    def running(self) -> Running:
        """What the first samples of each member add up to."""
        return Running(self.votes, self.present, self.scores, self.cost, self.latency, self.credit)

    def pass_credit(self) -> Floats:
        """(n, M, S) credit of each recorded pass; 0 for a failure, NaN where absent."""
        credit = np.einsum("nmsk,nk->nms", self.votes, self.credit)
        return np.where(self.present, credit, np.nan)


def evidence_of(
    run: RecordedRun, members: Sequence[Member], *, sample: int | None = None
) -> Evidence:
    """Stack the answers of some members on all cases of a run.

    Args:
        run: the run.
        members: who; each must have answers in the run.
        sample: only this sample.
    """
    index = {member: i for i, member in enumerate(run.members)}
    place = np.full(len(run.members), -1, dtype=np.int64)
    for new, member in enumerate(members):
        place[index[member]] = new
    wanted: Bools = np.asarray(place[run.rows.member] >= 0)
    if sample is not None:
        wanted[run.rows.sample != sample] = False
    rows = np.flatnonzero(wanted)
    columns = run.rows.take(rows)
    depth = 1 if sample is not None else int(columns.sample.max(initial=0)) + 1
    at = (
        columns.case,
        place[columns.member],
        np.zeros(len(rows), dtype=np.int64) if sample is not None else columns.sample,
    )
    n, width = run.cases.valid.shape
    shape = (n, len(members), depth)
    present = np.zeros(shape, dtype=bool)
    present[at] = True
    votes = np.zeros((*shape, width), dtype=np.float32)
    votes[at] = columns.votes
    scores = None
    if columns.scores is not None:
        scores = np.full((*shape, width), np.nan, dtype=np.float32)
        scores[at] = columns.scores

    def spread(values: Floats, absent: float) -> Floats:
        result = np.full(shape, absent)
        result[at] = values
        return result

    names = tuple(sorted(set(run.cases.strata)))
    code = {name: i for i, name in enumerate(names)}
    extra = {name: spread(column, np.nan) for name, column in columns.extra.items()}
    for name in ("confidence", "completion_tokens", "latency_s"):
        values = getattr(columns, name)
        if not np.isnan(values).all():
            extra[name] = spread(values, np.nan)
    return Evidence(
        run.cases.ids,
        tuple(members),
        votes,
        present,
        scores,
        spread(run.cost()[rows], 0.0),
        spread(columns.latency_s, 0.0),
        extra,
        run.cases.valid,
        run.cases.credit,
        np.array([code[s] for s in run.cases.strata], dtype=np.int64),
        names,
        _labelled(run),
        run.sample_is_order,
    )


def _labelled(run: RecordedRun) -> bool:
    """One list of options for all cases, whose names are words and not letters."""
    offered = set(run.cases.options)
    return len(offered) == 1 and any(
        not (len(name) == 1 and name.isalpha()) for name in next(iter(offered))
    )


def complete_cases(run: RecordedRun, members: Sequence[Member]) -> Bools:
    """(n,) cases that every one of the members has answered in full.

    In full: with as many passes as the member has on most cases, none of them with an option left
    unscored. A pass without a readable answer counts as answered, and is wrong.
    """
    keep: Bools = np.ones(len(run.cases), dtype=bool)
    index = {member: i for i, member in enumerate(run.members)}
    whole: Bools = np.ones(len(run.rows), dtype=bool)
    if run.rows.scores is not None:
        valid = run.cases.valid[run.rows.case]
        given = ~np.isnan(run.rows.scores)
        lacking = np.asarray((~given & valid).any(axis=1))
        whole = ~(lacking & np.asarray(given.any(axis=1)))
    for member in members:
        here = run.rows.member == index[member]
        recorded = np.bincount(run.rows.case[here], minlength=len(run.cases))
        full = np.bincount(run.rows.case[here & whole], minlength=len(run.cases))
        usual = max(1, int(np.bincount(recorded[recorded > 0]).argmax()))
        keep[full < usual] = False
    return keep


def resolve_members(
    run: RecordedRun, names: Sequence[str], variant: str | None = None
) -> dict[str, tuple[Member, ...]]:
    """Find the members that a list of model names means.

    A name may carry its variant (``model@variant``). Else it is ``variant``; else the one variant
    that all the models named have, and of several the one that most models of the run answered,
    then the one with most answers; where none stands out, a model takes part with each of its own.

    Raises:
        DataError: for a model or variant that the run does not have; the message lists those that
            it has.
    """
    have: dict[str, set[str]] = {}
    for member in run.members:
        have.setdefault(member.model, set()).add(member.variant)
    known = {member.name: member for member in run.members}
    for name in names:
        if name not in have and name not in known:
            model, _, wanted = name.rpartition("@")
            if model in have:
                _no_variant(run, model, wanted, have[model])
            raise DataError(
                f'no answers of "{name}"', where=run.name, fix=f"one of {', '.join(sorted(have))}"
            )
    free = [name for name in names if name in have]
    if variant is not None:
        for name in free:
            if variant not in have[name]:
                _no_variant(run, name, variant, have[name])
        chosen: str | None = variant
    else:
        chosen = _usual_variant(run, free, have)
    found: dict[str, tuple[Member, ...]] = {}
    for name in names:
        if name in known and name not in have:
            found[name] = (known[name],)
        elif chosen is not None:
            found[name] = (Member(name, chosen),)
        else:
            found[name] = tuple(Member(name, v) for v in sorted(have[name]))
    return found


def _no_variant(run: RecordedRun, model: str, variant: str, have: set[str]) -> None:
    raise DataError(
        f'{model} has no answers in variant "{variant}"',
        where=run.name,
        fix=f"one of {', '.join(sorted(have))}",
    )


def _usual_variant(
    run: RecordedRun, names: Sequence[str], have: Mapping[str, set[str]]
) -> str | None:
    shared = set.intersection(*(have[name] for name in names)) if names else set()
    if not shared:
        return None
    models = Counter(variant for variants in have.values() for variant in variants)
    most = max(models[variant] for variant in shared)
    leaders = [variant for variant in shared if models[variant] == most]
    if len(leaders) > 1:
        asked = {variant: _answers_of(run, variant) for variant in leaders}
        leaders = [variant for variant in leaders if asked[variant] == max(asked.values())]
    return leaders[0] if len(leaders) == 1 else None


def _answers_of(run: RecordedRun, variant: str) -> int:
    """How many answers a variant has in the whole run."""
    ours = [i for i, member in enumerate(run.members) if member.variant == variant]
    return int(np.isin(run.rows.member, ours).sum())


def calibration_mask(case_ids: Sequence[str], seed: int) -> Bools:
    """(n,) whether a case calibrates: the first bit of sha256(``seed:case_id``) is 0."""
    return np.array(
        [hashlib.sha256(f"{seed}:{c}".encode()).digest()[0] < 0x80 for c in case_ids], dtype=bool
    )
