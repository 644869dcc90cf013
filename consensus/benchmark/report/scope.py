"""What a report looks at: which answers and cases, who is the frontier, who sits on the panel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.evidence import complete_cases, resolve_members
from consensus.benchmark.run_format.columns import Member
from consensus.benchmark.run_format.run import RecordedRun
from consensus.errors import DataError

__all__ = ["ALL_FRAMINGS", "Scope", "choose_scope"]

ALL_FRAMINGS = "all framings"
"""The variant under which a live run's framings are put together."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scope:
    """The part of a run that is reported.

    Attributes:
        run: on the reported cases only; a live run's framings are put together as samples.
        members: everybody in it, by name.
        frontier: whom the panel is compared with; one of ``members``.
        panel: who has seats; may be empty where only one member answered.
        variants: whose answers these are.
        left_out: cases that not every member has answered in full, and so are not reported.
        why: how each choice was made, one sentence each.
    """

    run: RecordedRun
    members: tuple[Member, ...]
    frontier: Member
    panel: tuple[Member, ...]
    variants: tuple[str, ...]
    left_out: int
    why: tuple[str, ...]

    def name(self, member: Member) -> str:
        """The member's name without what all have in common."""
        return member.model if len(self.variants) == 1 else member.name

    def shorten(self, text: str) -> str:
        """A sentence with members named as :meth:`name` does."""
        if len(self.variants) != 1:
            return text
        for member in sorted(self.members, key=lambda m: -len(m.name)):
            text = text.replace(member.name, member.model)
        return text


def choose_scope(
    run: RecordedRun,
    *,
    frontier: str | None,
    panel: Sequence[str] | None,
    variant: str | None,
    all_cases: bool,
) -> Scope:
    """Decide what is reported; whatever the caller does not say is chosen by rule, and said.

    Raises:
        DataError: for a model or variant that the run does not have.
    """
    why: list[str] = []
    if not len(run.rows):
        raise DataError("holds no answer", where=run.name, fix="run it first")
    if "plan" in run.source and variant is None and len(run.variants()) > 1:
        run = _together(run)
        why.append("The framings of this run are counted together, as samples of each model.")
    variants = (variant,) if variant is not None else _variants(run)
    members = tuple(sorted(m for m in run.members if m.variant in variants))
    if not members:
        have = ", ".join(run.variants())
        raise DataError(f'no answers in variant "{variant}"', where=run.name, fix=f"one of {have}")
    top = _named(run, frontier, variant) if frontier is not None else None
    seats = _named_all(run, panel, variant) if panel is not None else None
    members = tuple(sorted({*members, *((top,) if top else ()), *(seats or ())}))
    if len(run.variants()) > len(variants):
        why.append(f"Answers of the variant {', '.join(variants)} are reported.")
    run, left_out, split = _complete(run, members, all_cases)
    if split:
        why.append(
            "No case was answered by every model, so all are reported: a missing answer is wrong."
        )
    if left_out:
        why.append(
            f"{left_out:,} cases that not every model answered in full are left out, so that all "
            "figures are of the same cases."
        )
    costs, times, right = _means(run, members)
    if top is None:
        top, reason = _frontier(members, costs, times, right)
        why.append(reason)
    if seats is None:
        seats, reason = _panel(members, top, costs)
        why.append(reason)
    found = tuple(sorted({member.variant for member in members}))
    return Scope(run, members, top, seats, found, left_out, tuple(why))


def _together(run: RecordedRun) -> RecordedRun:
    """The run with one variant: a model's framings become further samples."""
    models = run.models()
    members = tuple(Member(model, ALL_FRAMINGS) for model in models)
    place = np.array([models.index(member.model) for member in run.members], dtype=np.int32)
    member = place[run.rows.member]
    order = np.lexsort((run.rows.sample, run.rows.member, member, run.rows.case))
    rows = run.rows.take(order)
    member = member[order]
    key = rows.case.astype(np.int64) * len(models) + member
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
    length = np.diff(np.append(first, len(key)))
    sample = np.arange(len(key)) - np.repeat(first, length)
    merged = replace(rows, member=member, sample=sample.astype(np.int32))
    return replace(run, members=members, rows=merged)


def _variants(run: RecordedRun) -> tuple[str, ...]:
    """The variant with most answers among those that every model has; all, where there is none."""
    models = set(run.models())
    answers = Counter(
        {m.variant: 0 for m in run.members}
        | Counter(run.members[i].variant for i in run.rows.member.tolist())
    )
    shared = [
        variant
        for variant in sorted(answers)
        if {m.model for m in run.members if m.variant == variant} == models
    ]
    if not shared:
        return run.variants()
    most = max(answers[variant] for variant in shared)
    return tuple(variant for variant in shared if answers[variant] == most)


def _named(run: RecordedRun, name: str, variant: str | None) -> Member:
    found = resolve_members(run, [name], variant)[name]
    if len(found) > 1:
        raise DataError(
            f"{name} answered in several variants",
            where=run.name,
            fix=f"one of {', '.join(member.name for member in found)}",
        )
    return found[0]


def _named_all(run: RecordedRun, names: Sequence[str], variant: str | None) -> tuple[Member, ...]:
    found = resolve_members(run, list(names), variant)
    return tuple(dict.fromkeys(member for name in names for member in found[name]))


def _complete(
    run: RecordedRun, members: Sequence[Member], all_cases: bool
) -> tuple[RecordedRun, int, bool]:
    """The cases to report, how many are left out, and whether none was answered by everybody."""
    index = {member: i for i, member in enumerate(run.members)}
    wanted = np.isin(run.rows.member, [index[member] for member in members])
    answered = np.zeros(len(run.cases), dtype=bool)
    answered[run.rows.case[wanted]] = True
    keep = answered if all_cases else answered & complete_cases(run, members)
    split = not keep.any()
    if split:
        keep = answered
    left_out = int(answered.sum() - keep.sum())
    return (run if keep.all() else run.take_cases(np.flatnonzero(keep))), left_out, split


def _means(
    run: RecordedRun, members: Sequence[Member]
) -> tuple[dict[Member, float], dict[Member, float], dict[Member, float]]:
    """Mean cost, latency and credit of an answer of each member; NaN where not known."""
    index = {member: i for i, member in enumerate(run.members)}
    cost = run.cost()
    credit = (run.rows.votes * run.cases.credit[run.rows.case]).sum(axis=1)
    columns: list[dict[Member, float]] = [{}, {}, {}]
    for member in members:
        here = run.rows.member == index[member]
        for column, values in zip(columns, (cost, run.rows.latency_s, credit), strict=True):
            column[member] = float(values[here].mean()) if here.any() else float("nan")
    return columns[0], columns[1], columns[2]


def _frontier(
    members: Sequence[Member],
    costs: dict[Member, float],
    times: dict[Member, float],
    right: dict[Member, float],
) -> tuple[Member, str]:
    """The dearest; without prices the slowest; without times the most accurate."""
    for values, word in ((costs, "dearest"), (times, "slowest"), (right, "most accurate")):
        known = [m for m in members if values[m] > 0 or (values is right and values[m] == 0)]
        if known:
            top = max(known, key=lambda m: (values[m], m))
            unknown = len(members) - len(known)
            of = f"the {len(known)} whose figure is known" if unknown else "all"
            flattered = ", measured on these same cases" if values is right else ""
            return top, f"The frontier is {_called(top, members)}: the {word} of {of}{flattered}."
    top = max(members)
    return top, f"The frontier is {_called(top, members)}: no figure tells the models apart."


def _called(member: Member, members: Sequence[Member]) -> str:
    return member.model if len({m.variant for m in members}) == 1 else member.name


def _panel(
    members: Sequence[Member], top: Member, costs: dict[Member, float]
) -> tuple[tuple[Member, ...], str]:
    others = [member for member in members if member != top]
    cheaper = [m for m in others if costs[m] < costs[top]]
    if cheaper:
        chosen = sorted(cheaper, key=lambda m: (costs[m], m))
        return tuple(chosen), "The panel is every model that costs less than the frontier."
    if others and not any(np.isfinite(costs[m]) for m in others):
        return tuple(others), "The panel is every other model: no costs are known."
    return tuple(others), "The panel is every other model."
