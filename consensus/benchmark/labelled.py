"""Labelled receipts as a run: what production decided and what was right, for fits and replays.

Each receipt with a label is a case, each seat's answer a row, as if a suite had been run. A case's
``weight`` is one over the chance that it had to be looked at: cases that were sought out stand for
fewer than those that were drawn from a small share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consensus.ballots import Ballot, Failure
from consensus.benchmark.judging import option_name
from consensus.benchmark.run_format.writing import RunWriter
from consensus.errors import DataError
from consensus.ledger.feedback import Label, labels_in_force
from consensus.orchestrators.concluding import answers_agree
from consensus.tasks import Rank, Score, Task

if TYPE_CHECKING:
    from consensus.ledger.receipts import Receipt
    from consensus.ledger.store import Ledger

__all__ = ["Exported", "export_labelled"]

NO_CHANCE = "nobody knows the chance that it had to be looked at"
OPEN = "its answers are open: what is right is no option"
NO_ANSWERS = "no seat was asked"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written; ``left_out`` counts labelled receipts by the reason why they were not."""

    cases: int
    answers: int
    left_out: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """As a published row."""
        return {
            "cases": self.cases,
            "answers": self.answers,
            "left_out": dict(sorted(self.left_out.items())),
        }


def export_labelled(
    ledger: Ledger,
    folder: str | Path,
    *,
    task_type: str | None = None,
    since: float | None = None,
    unweighted: bool = False,
) -> Exported:
    """Write the labelled receipts as a run's folder.

    Args:
        folder: to be made; a run that is there already is an error.
        task_type: only of this type.
        since: only labels given at this time or later, in seconds since 1970.
        unweighted: also those of which nobody knows the chance, with weight 1. They are a biased
            sample of whatever made somebody look.

    Raises:
        DataError: the folder holds a run, cannot be written, or nothing could be exported.
    """
    path = Path(folder)
    if (path / "manifest.json").exists():
        raise DataError("holds a run already", where=str(path), fix="name another folder")
    left_out: Counter[str] = Counter()
    found: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    for label in labels_in_force(ledger, task_type, since):
        if label.inclusion is None and not unweighted:
            left_out[NO_CHANCE] += 1
            continue
        case = _case(ledger.receipt(label.receipt_id), label)
        if isinstance(case, str):
            left_out[case] += 1
        else:
            found.append(case)
    if not found:
        why = "; ".join(f"{count:,}: {reason}" for reason, count in left_out.items())
        raise DataError(
            f"no labelled receipt can be exported{f' ({why})' if why else ''}",
            where=ledger.where,
            fix="label some (consensus ledger queue --audit SHARE --label), or --unweighted",
        )
    writer = RunWriter(path, name=task_type or "labelled receipts")
    writer.manifest["source"] = {
        "kind": "ledger",
        "task_type": task_type,
        "unweighted": unweighted,
        "left_out": dict(sorted(left_out.items())),
    }
    try:
        with writer:
            for record, lines in found:
                writer.case(record)
                for line in lines:
                    writer.answer(line)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", where=str(path)) from None
    return Exported(len(found), sum(len(lines) for _, lines in found), left_out)


def _case(receipt: Receipt, label: Label) -> tuple[dict[str, Any], list[dict[str, Any]]] | str:
    """A case and its answers; or why there is none."""
    task = receipt.question()
    seats: list[Ballot | Failure] = []
    for hop in receipt.hops:
        seats += [ballot for ballot in hop.ballots if ballot.role != "judge"]
        seats += hop.failures
    if task.kind == "generate":
        return OPEN
    if not seats:
        return NO_ANSWERS
    value = tuple(label.label) if isinstance(label.label, list) else label.label
    heard: list[Any] = [value, *(seat.answer for seat in seats if isinstance(seat, Ballot))]
    if receipt.frontier is not None and receipt.frontier.outcome is not None:
        heard.append(receipt.frontier.outcome)
    options = _options(task, heard)
    record: dict[str, Any] = {
        "case_id": receipt.receipt_id,
        "task_kind": task.kind,
        "task_type": task.type,
        "weight": 1.0 if label.inclusion is None else 1 / label.inclusion,
        "label_source": label.source,
        "options": list(options),
    }
    if isinstance(task, Score):
        record["credits"] = {
            name: float(answers_agree("score", float(name), float(value), scale=task.scale))  # type: ignore[arg-type]
            for name in options
        }
    else:
        record["label"] = option_name(task, value)
    if receipt.text_stored:
        fields = task.model_dump(mode="json", by_alias=True, exclude={"id", "type", "kind"})
        fields.pop("options", None)
        record |= {name: given for name, given in fields.items() if given not in ("", None)}
    return record, [*_answers(receipt, task, seats, options)]


def _options(task: Task, heard: list[Any]) -> tuple[str, ...]:
    """The task's own; where the answers are open, those that were given and the right one."""
    if not isinstance(task, Rank | Score):
        return task.options
    given = {option_name(task, answer) for answer in heard}
    return tuple(sorted(given, key=float if isinstance(task, Score) else str))


def _answers(
    receipt: Receipt, task: Task, seats: list[Ballot | Failure], options: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    samples: Counter[tuple[str, str]] = Counter()
    for seat in seats:
        member = (seat.model, seat.framing)
        line: dict[str, Any] = {
            "case": receipt.receipt_id,
            "model": seat.model,
            "variant": seat.framing,
            "sample": samples[member],
            "answer": None,
            "prompt_tokens": seat.usage.total_input,
            "completion_tokens": seat.usage.output,
            "cost_usd": seat.cost.usd,
            "latency_s": seat.latency_s,
            "served_model": seat.served_model,
        }
        samples[member] += 1
        if isinstance(seat, Failure):
            yield {**line, "failure": seat.failure}
            continue
        line["answer"] = option_name(task, seat.answer)
        if seat.confidence is not None:
            line["confidence"] = seat.confidence
        for scores in (seat.distribution, seat.scores):
            if scores is not None and set(scores) == set(options):
                line["scores"] = [scores[name] for name in options]
        yield line
    beside = receipt.frontier
    if beside is not None:
        yield {
            "case": receipt.receipt_id,
            "model": beside.model,
            "variant": "plain",
            "sample": samples[beside.model, "plain"],
            "answer": None if beside.outcome is None else option_name(task, beside.outcome),
            "failure": beside.failure,
            "prompt_tokens": beside.usage.total_input,
            "completion_tokens": beside.usage.output,
            "cost_usd": beside.cost.usd,
            "latency_s": beside.latency_s,
            "served_model": beside.served_model,
        }
