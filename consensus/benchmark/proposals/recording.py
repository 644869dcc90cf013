"""A run as seats that have answered: what a panel of the engine would have got, case by case.

A live run's variants are framings of the engine, so a seat gets the answer that was given under its
own framing (and, where one was recorded, under its own order of the options). A recording of
somebody else's prompts has one variant a model, which then stands for every framing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.ballots import Answer
from consensus.benchmark.cases import Case
from consensus.benchmark.evidence import resolve_members
from consensus.benchmark.judging import option_name
from consensus.benchmark.proposals.seat_answers import (
    NOBODY,
    SeatAnswer,
    answers_of,
    details_of,
)
from consensus.benchmark.run_format.run import RecordedRun
from consensus.benchmark.suites import Suite, load_suite
from consensus.errors import DataError, SuiteError, TaskError
from consensus.models.prices import PriceBook
from consensus.oracles import Rubric
from consensus.panel.book import PromptBook
from consensus.strangers import read_json
from consensus.tasks import KINDS, Kind, Task, parse_task

__all__ = [
    "NOBODY",
    "USUAL_OPTIONS",
    "Recording",
    "SeatAnswer",
    "policy_names",
    "recording_of",
    "task_types",
    "type_name",
]

_KINDS: Mapping[str, Kind] = {"choice": "choose", "pairwise": "compare", "approval": "approve"}
USUAL_OPTIONS: Mapping[Kind, Mapping[str, str]] = {
    "approve": {"accept": "approve"},
    "compare": {"1": "A", "2": "B"},
}
_ALLOWED: Mapping[Kind, tuple[str, ...]] = {
    "approve": ("criteria", "subject"),
    "choose": ("criteria", "subject", "options"),
    "compare": ("criteria", "subject", "a", "b"),
    "rank": ("criteria", "subject", "items"),
    "score": ("criteria", "subject", "scale"),
    "generate": ("messages", "schema"),
}
_FIELDS = ("subject", "criteria", "a", "b", "items", "scale", "messages", "schema")


@dataclass(frozen=True)
class Recording:
    """One task type of a run, under the policy's names.

    Attributes:
        task_type: its name; ``stratum``: as the run spells it; kind: of all its tasks.
        tasks: in the order of ``case_ids``.
        models: the policy's names of the models that answered, each once.
        framings: the framings that every model was asked under; None where the recorded prompts
            are not the engine's.
        depth: model → answers that it has on most cases under one framing.
        answers: (model, framing or "") → for each case its answers by sample.
        credit: option name → how right it is, a case.
        judge_with: a live run's own suite cases, by id, with their oracle; None without a suite.
    """

    name: str
    task_type: str
    stratum: str
    kind: Kind
    case_ids: tuple[str, ...]
    tasks: tuple[Task, ...]
    models: tuple[str, ...]
    framings: tuple[str, ...] | None
    depth: Mapping[str, int]
    answers: Mapping[tuple[str, str], tuple[tuple[SeatAnswer, ...], ...]]
    credit: tuple[Mapping[str, float], ...]
    source: Mapping[str, Any]
    judge_with: tuple[Suite, Mapping[str, Case]] | None = None
    left_out: int = 0
    notes: tuple[str, ...] = ()
    _judged: dict[tuple[int, str], float] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.case_ids)

    def only(self, models: Sequence[str]) -> Recording:
        """Some of the models, on the same cases."""
        kept = tuple(model for model in self.models if model in models)
        return replace(
            self,
            models=kept,
            answers={key: value for key, value in self.answers.items() if key[0] in kept},
        )

    def given(self, case: int, model: str, framing: str) -> tuple[SeatAnswer, ...]:
        """The answers of a model to a case under a framing, by sample."""
        found = self.answers.get((model, framing if self.framings is not None else ""))
        return found[case] if found is not None else ()

    def worth(self, case: int, outcome: Answer) -> float:
        """How right an outcome is: as recorded, else as the suite's oracle says; else not at all.

        A median or a merged order may be an answer that nobody gave.
        """
        name = option_name(self.tasks[case], outcome)
        known = self.credit[case].get(name)
        if known is not None:
            return known
        key = (case, name)
        if key not in self._judged:
            self._judged[key] = self._ask_oracle(case, outcome)
        return self._judged[key]

    def _ask_oracle(self, case: int, outcome: Answer) -> float:
        if self.judge_with is None:
            return 0.0
        suite, cases = self.judge_with
        given = cases[self.case_ids[case]]
        oracle = suite.oracle(given)
        if isinstance(oracle, Rubric):
            return 0.0
        try:
            return float(oracle.judge(outcome, given.reference).passed)
        except SuiteError:
            return 0.0

    @cached_property
    def scored(self) -> frozenset[str]:
        """The models of whose answers any has a score for each option."""
        return frozenset(
            model
            for (model, _), cases in self.answers.items()
            if any(answer.scores is not None for samples in cases for answer in samples)
        )

    @property
    def asked_for_scores(self) -> bool:
        """Whether the engine itself made this run with ballots of scores: rows then ask so too."""
        return self.framings is not None and bool(self.scored)

    @property
    def served(self) -> dict[str, tuple[str, ...]]:
        """The models that really answered, by the policy's name; empty where nobody wrote it."""
        given: Mapping[str, Sequence[str]] = self.source.get("served", {})
        return {model: tuple(given[model]) for model in self.models if given.get(model)}


def task_types(run: RecordedRun) -> tuple[str, ...]:
    """The task types that a run has cases of."""
    return tuple(sorted(set(run.cases.strata)))


def type_name(run: RecordedRun, stratum: str) -> str:
    """A stratum as the policy may name it: letters, digits, ``_ . -``; the run's name for none."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", stratum or run.name).strip("_.-")
    return plain[:64] or "cases"


def policy_names(run: RecordedRun, names: Mapping[str, str]) -> dict[str, str]:
    """Recorded name → the policy's. A name without a provider stands under ``recorded/``: the row
    can be measured, and not served until the model is named as the policy does."""
    plain = {model: model if "/" in model else f"recorded/{model}" for model in run.models()}
    return {**plain, **names}


def recording_of(
    run: RecordedRun,
    stratum: str,
    *,
    folder: Path,
    book: PromptBook,
    prices: PriceBook,
    names: Mapping[str, str] | None = None,
    variant: str | None = None,
    models: Sequence[str] | None = None,
) -> Recording:
    """One task type's cases with every model's answers.

    Args:
        run: as :func:`~consensus.benchmark.recorded.load_run` reads it.
        stratum: one of :func:`task_types`; :func:`type_name` is the task type's name.
        folder: of the run.
        book: knows which variants are framings.
        prices: today's, by the policy's names; recorded prices serve where it knows none.
        names: recorded name → the policy's, for models and options.
        variant: for recordings of other prompts; see :func:`.evidence.resolve_members`.
        models: only these, by the policy's names.

    Raises:
        DataError: several kinds under one type, options that no task of the kind has, no case.
    """
    called = dict(names or {})
    task_type = type_name(run, stratum)
    rows = np.array([i for i, s in enumerate(run.cases.strata) if s == stratum], dtype=np.int64)
    if not rows.size:
        raise DataError(f'has no cases of type "{stratum}"', where=run.name)
    part = run.take_cases(rows)
    kinds = sorted({_KINDS.get(kind, kind) for kind in part.cases.kinds})
    if len(kinds) != 1 or kinds[0] not in KINDS:
        raise DataError(
            f'the cases of "{task_type}" are of kind {", ".join(kinds)}',
            where=run.name,
            fix="give each kind a task type of its own",
        )
    kind: Kind = kinds[0]
    called = {**USUAL_OPTIONS.get(kind, {}), **policy_names(run, called)}
    unknown = sorted(set(models or ()) - {name for m in run.models() for name in (m, called[m])})
    if unknown:
        raise DataError(
            f'no answers of "{unknown[0]}"',
            where=run.name,
            fix=f"one of {', '.join(run.models())}",
        )
    wanted = [m for m in part.models() if models is None or {m, called[m]} & set(models)]
    if not wanted:
        raise DataError(f'nobody answered the cases of "{task_type}"', where=run.name)
    framed = all(v in book.framings for m in wanted for v in part.variants(m))
    chosen = _members(part, wanted, variant, framed=framed)
    shared = None
    if framed:
        sets = [set(part.variants(model)) for model in wanted]
        common = set.intersection(*sets)
        shared = tuple(f for f in book.sequence(kind) if f in common)
        shared += tuple(sorted(common - set(shared)))
    keep = _answered(part, wanted, chosen)
    part = part.take_cases(keep)
    details = details_of(folder, set(part.cases.ids))
    tasks = tuple(_task(part, i, task_type, kind, called) for i in range(len(part.cases)))
    answers = answers_of(part, chosen, details, tasks, called, prices, framed=framed)
    renamed = tuple(called.get(model, model) for model in wanted)
    return Recording(
        name=run.name,
        task_type=task_type,
        stratum=stratum,
        kind=kind,
        case_ids=part.cases.ids,
        tasks=tasks,
        models=renamed,
        framings=shared,
        depth={called.get(m, m): _depth(answers, called.get(m, m)) for m in wanted},
        answers=answers,
        credit=tuple(
            {
                called.get(name, name): float(part.cases.credit[i, k])
                for k, name in enumerate(part.cases.options[i])
            }
            for i in range(len(part.cases))
        ),
        source={**run.source, "served": _served(folder, called)},
        judge_with=_suite(folder),
        left_out=int(rows.size - keep.size),
        notes=tuple(run.report.notes[:3]),
    )


# -- members and cases -----------------------------------------------------------------------------


def _members(
    run: RecordedRun, models: Sequence[str], variant: str | None, *, framed: bool
) -> dict[str, dict[str, int]]:
    """model → (framing, or "" for somebody else's prompts) → its member's index."""
    index = {member: i for i, member in enumerate(run.members)}
    if framed:
        return {
            model: {m.variant: i for m, i in index.items() if m.model == model} for model in models
        }
    found = resolve_members(run, models, variant)
    return {model: {"": index[found[model][0]]} for model in models}


def _answered(
    run: RecordedRun, models: Sequence[str], chosen: Mapping[str, Mapping[str, int]]
) -> NDArray[np.int64]:
    """Cases that every one of the models has answered at least once (a failure is an answer)."""
    keep = np.ones(len(run.cases), dtype=bool)
    for model in models:
        mine = np.isin(run.rows.member, list(chosen[model].values()))
        asked = np.zeros(len(run.cases), dtype=bool)
        asked[run.rows.case[mine]] = True
        keep &= asked
    if not keep.any():
        raise DataError(
            "no case was answered by every model", where=run.name, fix="--models: name fewer"
        )
    return np.flatnonzero(keep)


def _depth(
    answers: Mapping[tuple[str, str], tuple[tuple[SeatAnswer, ...], ...]], model: str
) -> int:
    """Answers under one framing that at least nine cases of ten have."""
    fewest = []
    for (name, _), cases in answers.items():
        if name == model:
            counts = np.sort([len(samples) for samples in cases])
            fewest.append(int(counts[len(counts) // 10]))
    return min(fewest, default=0)


def _task(
    run: RecordedRun, case: int, task_type: str, kind: Kind, called: Mapping[str, str]
) -> Task:
    """The case as a task. Texts that a recording leaves out are stood in for."""
    record = run.cases.records[case]
    options = [called.get(name, name) for name in run.cases.options[case]]
    data: dict[str, Any] = {"kind": kind, "type": task_type, "id": run.cases.ids[case]}
    data |= {name: record[name] for name in _FIELDS if record.get(name) is not None}
    if kind == "choose":
        data["options"] = options
    if kind in ("approve", "choose", "score") and not data.get("subject"):
        data["subject"] = str(record.get("question") or record.get("text") or "(not recorded)")
    if kind == "compare":
        data.setdefault("a", "(not recorded: A)")
        data.setdefault("b", "(not recorded: B)")
    allowed = (*_ALLOWED[kind], "kind", "type", "id")
    kept = {key: value for key, value in data.items() if key in allowed}
    try:
        task = parse_task(kept)
    except TaskError as error:
        raise DataError(
            f'case "{run.cases.ids[case]}" is no {kind} task: {error.message}', where=run.name
        ) from None
    strange = [
        name for name in options if kind in ("approve", "compare") and name not in task.options
    ]
    if strange:
        raise DataError(
            f"a task of kind {kind} has no option {strange[0]}",
            where=run.name,
            fix=f"--as {strange[0]}={task.options[0]}",
        )
    return task


# -- what only a live run's folder has -------------------------------------------------------------


def _suite(folder: Path) -> tuple[Suite, Mapping[str, Case]] | None:
    """The copy of its suite that a live run keeps."""
    if not (folder / "suite" / "suite.toml").exists():
        return None
    suite = load_suite(folder / "suite")
    return suite, {case.id: case for case in suite.cases}


def _served(folder: Path, called: Mapping[str, str]) -> dict[str, list[str]]:
    try:
        manifest = read_json(folder / "manifest.json")
        models = manifest["models"]
    except (ValueError, KeyError, TypeError, DataError):
        return {}
    return {
        called.get(model, model): sorted(figures.get("served", []))
        for model, figures in models.items()
        if isinstance(figures, dict)
    }
