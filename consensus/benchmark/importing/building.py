"""From exchanges and reviewed groups to a run's files and the draft of a suite."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consensus.benchmark.importing.costing import cost_of
from consensus.benchmark.importing.exchange import Exchange
from consensus.benchmark.importing.grouping import (
    Group,
    approving,
    normal_label,
    parse_number,
    parse_object,
)
from consensus.benchmark.judging import option_name, plain
from consensus.benchmark.run_format.report import ImportReport
from consensus.errors import TaskError
from consensus.models.prices import PriceBook
from consensus.tasks import Approve, Choose, Compare, Generate, Rank, Score, Task, parse_task

__all__ = ["Built", "build"]


@dataclass(slots=True)
class _Case:
    task: Task
    label: Any = None
    label_where: str = ""
    answers: list[tuple[Exchange, Any, str | None]] = field(default_factory=list)


@dataclass(slots=True)
class Built:
    """What an import makes.

    Attributes:
        cases, answers: lines of the run format.
        suite_cases: lines of the draft suite.
        types: task type → (kind, one of its tasks, whether its answers are objects).
        labelled: cases with a label of the log's own.
        referenced: cases whose reference is a recorded answer.
    """

    cases: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    suite_cases: list[dict[str, Any]] = field(default_factory=list)
    types: dict[str, dict[str, Any]] = field(default_factory=dict)
    labelled: int = 0
    referenced: int = 0


def build(
    groups: Sequence[Group],
    exchanges: Sequence[Exchange],
    report: ImportReport,
    prices: PriceBook,
    *,
    reference: str | None = None,
) -> Built:
    """Cases and answers. Equal questions are one case; a model's further answers are its samples.

    Args:
        groups: with the names and kinds in force.
        exchanges: what was read.
        report: counts what cannot become a case or an answer.
        prices: for costs that the log does not give.
        reference: the model whose answer stands for the label where there is none; None: the first
            answer that was recorded.
    """
    cases: dict[str, _Case] = {}
    for group in groups:
        if group.kind == "skip":
            report.filtered["skipped in the review"] += len(group.members)
            continue
        for index in group.members:
            exchange = exchanges[index]
            try:
                task = _task(exchange, group)
            except TaskError as error:
                report.complain(exchange.where, "a call that makes no case", error.message[:200])
                continue
            case_id = exchange.case_id or _case_id(task)
            case = cases.setdefault(case_id, _Case(task))
            if case.task.model_dump(exclude={"id"}) != task.model_dump(exclude={"id"}):
                report.complain(exchange.where, "an id that another question has", case_id[:80])
                continue
            _add_label(case, exchange, report)
            answer, failure = _answer(exchange, group, task)
            case.answers.append((exchange, answer, failure))
    built = Built()
    for case_id, case in cases.items():
        _finish(case_id, case, built, report, prices, reference)
    return built


def _task(exchange: Exchange, group: Group) -> Task:
    if exchange.task:
        return parse_task({**exchange.task, "type": group.name})
    base: dict[str, Any] = {"type": group.name, "kind": group.kind}
    if group.kind == "generate":
        messages = [{"role": role, "content": text} for role, text in exchange.messages]
        return parse_task({**base, "messages": messages, "schema": exchange.schema})
    base |= {"subject": exchange.prompt, "criteria": group.criteria or exchange.system}
    if group.kind == "choose":
        base["options"] = list(group.labels)
    if group.kind == "score":
        base["scale"] = group.scale
    return parse_task(base)


def _case_id(task: Task) -> str:
    text = json.dumps(task.model_dump(mode="json", exclude={"id"}), sort_keys=True)
    return f"{task.type}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _add_label(case: _Case, exchange: Exchange, report: ImportReport) -> None:
    if exchange.label is None:
        return
    label = _fitting(case.task, exchange.label)
    if label is None:
        report.complain(exchange.where, "a label that does not fit its task")
    elif case.label is None:
        case.label, case.label_where = label, exchange.where
    elif case.label != label:
        report.complain(exchange.where, "another label than before", case.label_where)


def _answer(exchange: Exchange, group: Group, task: Task) -> tuple[Any, str | None]:
    """The answer in the task's own terms, or the class of what is wrong with it."""
    if exchange.failure is not None or exchange.output is None:
        return None, exchange.failure or "empty"
    value = exchange.output
    if not exchange.task and isinstance(value, str):
        whole = parse_object(value)
        if group.answer_field is not None:
            value = None if whole is None else whole.get(group.answer_field)
            if value is None:
                return None, "unreadable"
        elif isinstance(task, Generate) and whole is not None:
            value = whole
        if isinstance(task, Approve) and isinstance(value, str) and group.labels:
            words = {normal_label(word): option for word, option in _approval(group.labels)}
            value = words.get(normal_label(value), value)
    fitting = _fitting(task, value)
    return (None, "off_list") if fitting is None else (fitting, None)


def _approval(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Which of two words approves: by its meaning where it is known, else the first."""
    first = not approving(labels[1]) or approving(labels[0])
    yes, no = (labels[0], labels[1]) if first else (labels[1], labels[0])
    return [(yes, "approve"), (no, "reject")]


def _fitting(task: Task, value: Any) -> Any:
    """A value as an answer to this task, or None."""
    if isinstance(task, Approve | Choose | Compare):
        if not isinstance(value, str):
            return None
        folded = {normal_label(option): option for option in task.options}
        return folded.get(normal_label(value))
    if isinstance(task, Score):
        number = parse_number(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | float):
            return None
        return float(number) if task.scale[0] <= number <= task.scale[1] else None
    if isinstance(task, Rank):
        if not isinstance(value, list | tuple) or sorted(map(str, value)) != sorted(task.items):
            return None
        return tuple(value)
    return value if isinstance(value, str | dict | list) else None


def _finish(
    case_id: str,
    case: _Case,
    built: Built,
    report: ImportReport,
    prices: PriceBook,
    reference: str | None,
) -> None:
    task = case.task
    named = [
        (exchange, answer, failure, None if failure else option_name(task, answer))
        for exchange, answer, failure in case.answers
    ]
    gold, source = case.label, "label"
    if gold is None:
        gold = _recorded(case, reference)
        source = "recorded"
    built.labelled += source == "label"
    built.referenced += source == "recorded" and gold is not None
    right = None if gold is None else option_name(task, gold)
    record = _record(case_id, case, {n for *_, n in named if n is not None}, right)
    if gold is not None:
        record |= {"reference": plain(gold), "gold": source}
    built.cases.append(record)
    samples: Counter[tuple[str, str]] = Counter()
    for exchange, answer, failure, name in named:
        member = (exchange.model, exchange.variant)
        sample = exchange.sample if exchange.sample is not None else samples[member]
        samples[member] += 1
        built.answers.append(
            _line(case_id, task, exchange, answer, failure, name, right, sample, prices)
        )
        report.kept += 1
        if failure:
            report.failures[failure] += 1
    if gold is not None:
        fields = task.model_dump(mode="json", by_alias=True, exclude={"id", "type", "kind"})
        kept = {k: v for k, v in fields.items() if v not in ("", None)}
        built.suite_cases.append(
            {
                "id": case_id,
                "type": task.type,
                **kept,
                "label": plain(gold),
                "note": "from the log" if source == "label" else "a recorded answer, not checked",
            }
        )
        known = built.types.setdefault(
            task.type, {"kind": task.kind, "json": True, "longest": 0, "scale": None}
        )
        known["json"] &= isinstance(gold, dict)
        known["longest"] = max(known["longest"], len(str(gold)))
        known["scale"] = task.scale if isinstance(task, Score) else None


def _recorded(case: _Case, reference: str | None) -> Any:
    for exchange, answer, failure in case.answers:
        if failure is None and (reference is None or exchange.model == reference):
            return answer
    return None


def _record(case_id: str, case: _Case, given: set[str], right: str | None) -> dict[str, Any]:
    task = case.task
    if isinstance(task, Approve | Choose | Compare):
        options = list(task.options)
    else:
        options = sorted(given | ({right} if right is not None else set())) or ["none"]
    record: dict[str, Any] = {
        "case_id": case_id,
        "task_kind": task.kind,
        "task_type": task.type,
        "options": options,
    }
    if right is not None and right in options:
        record["label"] = right
    else:
        record["credits"] = {}
    fields: Mapping[str, Any] = task.model_dump(
        mode="json", by_alias=True, exclude={"id", "type", "kind"}
    )
    record.update((k, v) for k, v in fields.items() if k != "options" and v not in ("", None))
    return record


def _line(
    case_id: str,
    task: Task,
    exchange: Exchange,
    answer: Any,
    failure: str | None,
    name: str | None,
    right: str | None,
    sample: int,
    prices: PriceBook,
) -> dict[str, Any]:
    cost = cost_of(exchange, prices)
    line: dict[str, Any] = {
        "case": case_id,
        "model": exchange.model,
        "variant": exchange.variant,
        "sample": sample,
        "answer": name,
        "failure": failure,
        "confidence": exchange.confidence,
        "prompt_tokens": None if exchange.usage is None else exchange.usage.total_input,
        "completion_tokens": None if exchange.usage is None else exchange.usage.output,
        "cost_usd": cost,
        "cost_basis": None
        if cost is None
        else "recorded"
        if exchange.recorded_usd is not None
        else "today's price",
        "latency_s": exchange.latency_s,
        "served_model": exchange.served_model,
        "from": exchange.where,
    }
    if failure is not None and isinstance(exchange.output, str):
        line["text"] = exchange.output
    if failure is None and task.kind in ("rank", "score", "generate"):
        line["value"] = plain(answer)
    if failure is None and right is not None:
        line["passed"] = name == right
    return line
