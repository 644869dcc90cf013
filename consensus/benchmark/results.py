"""The files of a live run: written whole from its answers, in one order, with one spelling.

The run format (``run_format``) with more beside it: a replay reads what it knows, a report also
``value``, ``passed``, ``score``, ``detail`` and the rest. What the oracle said stands apart from
``extra``, from which learned strategies take their features: gold never leaks into them.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consensus.ballots import PICO, Ballot, Failure
from consensus.benchmark.cases import Case
from consensus.benchmark.judging import Judged, option_name, plain
from consensus.benchmark.plan import Job
from consensus.benchmark.suites import Suite
from consensus.errors import DataError, SuiteError
from consensus.oracles import Oracle, PythonOracle, Rubric
from consensus.tasks import Score

__all__ = ["Answered", "case_record", "figures", "json_line", "write_results", "write_whole"]

UNGRADED = "ungraded"
"""The failure class of an answer that its grader gave no marks: no score, and no pass."""

FEW_POINTS = 21
"""A scale of so many whole numbers or fewer shows all of them as options."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One job done: what the seat said, and what the oracle says of it."""

    job: Job
    seat: Ballot | Failure
    judged: Judged | None = None

    @property
    def name(self) -> str | None:
        """The option's name; None for a failure, and where several are scored alike highest."""
        if isinstance(self.seat, Failure) or self.tied:
            return None
        return option_name(self.job.case.task, self.seat.answer)

    @property
    def tied(self) -> tuple[str, ...]:
        """The options of a closed set that share a ballot's highest score; empty for one alone."""
        answer = None if isinstance(self.seat, Failure) else self.seat.answer
        closed = self.job.case.task.kind in ("approve", "choose", "compare")
        return answer if closed and isinstance(answer, tuple) else ()

    @property
    def failure(self) -> str | None:
        """Why there is no judged answer."""
        if isinstance(self.seat, Failure):
            return self.seat.failure
        if self.judged is None or self.judged.verdict is None:
            return UNGRADED
        return None

    @property
    def passed(self) -> bool:
        """Whether the answer is acceptable."""
        judged = self.judged
        return judged is not None and judged.verdict is not None and judged.verdict.passed


def write_results(
    folder: Path, suite: Suite, answers: Sequence[Answered], manifest: Mapping[str, Any]
) -> None:
    """Write ``cases.jsonl``, ``answers.jsonl`` and, last, ``manifest.json``: each whole or not."""
    by_case: dict[str, list[Answered]] = defaultdict(list)
    for answered in sorted(answers, key=lambda a: a.job.index):
        by_case[answered.job.case.id].append(answered)
    records = {
        case.id: case_record(case, suite.oracle(case), by_case[case.id]) for case in suite.cases
    }
    write_whole(folder / "cases.jsonl", (json_line(record) for record in records.values()))
    write_whole(
        folder / "answers.jsonl",
        (
            json_line(_answer(answered, records[case.id]["options"]))
            for case in suite.cases
            for answered in by_case[case.id]
        ),
    )
    text = json.dumps(manifest, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    write_whole(folder / "manifest.json", [text + "\n"])


def case_record(case: Case, oracle: Oracle, answers: Sequence[Answered]) -> dict[str, Any]:
    """A case as the run format has it: its options, and how right each of them is.

    Where the answers are open, the options are the answers that were given.
    """
    credits_ = _credits(case, oracle, answers)
    record: dict[str, Any] = {
        "case_id": case.id,
        "task_kind": case.task.kind,
        "task_type": case.type,
        "complexity": case.complexity,
        "weight": case.weight,
        "tags": list(case.tags),
        "options": list(credits_),
    }
    right = [name for name, credit in credits_.items() if credit]
    if case.task.options == tuple(credits_) and len(right) == 1:
        record["label"] = right[0]
    else:
        record["credits"] = credits_
    fields = case.task.model_dump(mode="json", by_alias=True, exclude={"id", "type", "kind"})
    fields.pop("options", None)
    record.update((name, value) for name, value in fields.items() if value not in ("", None))
    if case.reference is not None:
        record["reference"] = case.reference
    return record


def _credits(case: Case, oracle: Oracle, answers: Sequence[Answered]) -> dict[str, float]:
    """Option → 1 if it is acceptable: judged where it was given, else judged now."""
    task = case.task
    said: dict[str, Any] = {}
    given: dict[str, float] = {}
    for answered in answers:
        if isinstance(answered.seat, Ballot) and not answered.tied:
            name = option_name(task, answered.seat.answer)
            said[name] = answered.seat.answer
            if answered.failure is None:
                given[name] = float(answered.passed)
    if isinstance(task, Score):
        said |= {option_name(task, point): point for point in _points(task)}
        options = dict(sorted(said.items(), key=lambda item: float(item[1])))
    elif task.kind in ("approve", "choose", "compare"):
        options = {option: option for option in task.options}
    else:
        return {name: given.get(name, 0.0) for name in sorted(said) or ["none"]}
    found = {}
    for name, value in options.items():
        if name in given or isinstance(oracle, Rubric):
            found[name] = given.get(name, 0.0)
        else:
            found[name] = _credit(case, oracle, value)
    return found or {"none": 0.0}


def _points(task: Score) -> list[float]:
    low, high = task.scale
    if low != int(low) or high != int(high) or high - low >= FEW_POINTS:
        return []
    return [float(point) for point in range(int(low), int(high) + 1)]


def _credit(case: Case, oracle: Oracle, value: Any) -> float:
    try:
        return float(oracle.judge(value, case.reference).passed)
    except SuiteError:
        if isinstance(oracle, PythonOracle):
            return 0.0  # it was never shown to this option, and nobody answered it
        raise


def _answer(answered: Answered, options: Sequence[str]) -> dict[str, Any]:
    job, seat = answered.job, answered.seat
    line: dict[str, Any] = {
        "case": job.case.id,
        "model": job.model,
        "variant": job.variant,
        "sample": job.sample,
        "answer": None if answered.failure else _vote(answered),
        "failure": answered.failure,
        "prompt_tokens": seat.usage.total_input,
        "completion_tokens": seat.usage.output,
        "cost_usd": seat.cost.usd,
        "latency_s": round(seat.latency_s, 6),
        "served_model": seat.served_model,
        "order": list(seat.order),
        "calls": len(seat.calls),
        "usage": seat.usage.model_dump(exclude_defaults=True),
        "cost_pico": seat.cost.pico_usd,
    }
    if isinstance(seat, Failure):
        line["message"] = seat.message
        return line
    if job.case.task.kind in ("rank", "score", "generate"):
        line["value"] = plain(seat.answer)
    if seat.confidence is not None:
        line |= {"confidence": seat.confidence, "confidence_source": seat.confidence_source}
    if seat.distribution is not None and set(seat.distribution) == set(options):
        line["scores"] = [seat.distribution[name] for name in options]
    if seat.scores is not None and set(seat.scores) == set(options):
        line["scores"] = [seat.scores[name] for name in options]
    if seat.rationale:
        line["rationale"] = seat.rationale
    judged = answered.judged
    if judged is not None:
        if judged.verdict is not None:
            verdict = judged.verdict
            line |= {"passed": verdict.passed, "score": verdict.score, "detail": verdict.detail}
        else:
            line |= {"detail": judged.ungraded, "value": plain(seat.answer)}
        if judged.cost.pico_usd or judged.grader:
            line |= {"grade_pico": judged.cost.pico_usd, "grader": judged.grader}
    return line


def _vote(answered: Answered) -> str | dict[str, float] | None:
    """The option's name; shares of one vote where several are scored alike highest."""
    tied = answered.tied
    return {name: 1 / len(tied) for name in tied} if tied else answered.name


def figures(answers: Iterable[Answered], models: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Per model: answers, passes, failures by class, exact cost, tokens, served names."""
    groups: dict[str, list[Answered]] = {model: [] for model in models}
    for answered in answers:
        groups[answered.job.model].append(answered)
    found = {}
    for model, group in groups.items():
        failures = Counter(a.failure for a in group if a.failure)
        pico = sum(a.seat.cost.pico_usd for a in group)
        graded = sum(a.judged.cost.pico_usd for a in group if a.judged is not None)
        found[model] = {
            "answers": len(group),
            "passed": sum(a.passed for a in group),
            "failures": dict(sorted(failures.items())),
            "cost_pico": pico,
            "cost_usd": pico / PICO,
            "grading_usd": graded / PICO,
            "prompt_tokens": sum(a.seat.usage.total_input for a in group),
            "completion_tokens": sum(a.seat.usage.output for a in group),
            "served": sorted({a.seat.served_model for a in group if a.seat.served_model}),
        }
    return found


def json_line(record: Mapping[str, Any]) -> str:
    """One line of a JSONL file."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def write_whole(path: Path, lines: Iterable[str]) -> None:
    """Write a file whole, or leave the old one."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(lines)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise DataError(f"cannot be written: {error.strerror}", where=str(path)) from None
