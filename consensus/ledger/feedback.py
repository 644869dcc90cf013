"""Truth that comes later: labels on receipts, and the queue of what waits for a person.

A label says what would have been right. It is checked against the task of its receipt, the later
one holds, and every earlier one stays. ``inclusion`` is the chance that this decision had to be
looked at at all: without it a label can correct and alarm, and proves nothing about the rest.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from consensus.ballots import Answer
from consensus.errors import TaskError
from consensus.ledger.receipts import Receipt
from consensus.ledger.rows import SECONDS_A_DAY
from consensus.models.coins import drawn
from consensus.models.ids import new_id
from consensus.orchestrators.concluding import answers_agree
from consensus.tasks import Generate, Rank, Score, Task

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from consensus.ledger.store import Ledger

__all__ = [
    "Label",
    "LabelOutcome",
    "LabelValue",
    "Waiting",
    "check_label",
    "give_label",
    "label_outcomes",
    "labels_in_force",
    "labels_of",
    "queue",
    "read_label",
]

LabelValue: TypeAlias = Answer | bool
"""An answer of the task's own; of a ``generate`` task also whether its outcome is acceptable."""

MAX_LABEL_BYTES = 1_000_000

_VERDICTS = {"right": True, "wrong": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One label of one receipt.

    Attributes:
        label: what would have been right; True or False: whether the outcome is acceptable.
        agrees: whether the decision acted upon that; None where it did not act, or where nothing
            can be compared (free text against free text).
        given_by: who says so, as the caller names them.
        source: how it came about: ``human``, ``outcome``, a system's name.
        inclusion: the chance that this decision had to be looked at; None where nobody knows.
        created_at, superseded_at: seconds since 1970; a label that holds is not superseded.
    """

    label_id: str
    receipt_id: str
    task_type: str
    label: LabelValue
    agrees: bool | None
    given_by: str | None
    source: str
    inclusion: float | None
    created_at: float
    superseded_at: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As a published row."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOutcome:
    """A label that holds, beside what its decision did.

    ``decided_at`` and ``labelled_at`` are seconds since 1970.
    """

    receipt_id: str
    task_type: str
    action: str
    agrees: bool | None
    inclusion: float | None
    source: str
    decided_at: float
    labelled_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A decision that waits for a person; judged text is not in it.

    Attributes:
        why: ``escalated`` (nobody but a person can settle it), or ``audit`` (it was acted upon, and
            a share of those is looked at).
        inclusion: the chance that such a decision had to wait here.
    """

    receipt_id: str
    task_type: str
    task_id: str | None
    kind: str
    why: str
    inclusion: float
    probability: float | None
    agreement: float
    created_at: float

    def to_json(self) -> dict[str, Any]:
        """As a published row."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


# -- what a label may be ---------------------------------------------------------------------------


def check_label(task: Task, label: object) -> LabelValue:
    """A label as the task's own answers are.

    Raises:
        TaskError: it is none of them; the line says what it may be.
    """
    if isinstance(task, Generate):
        return _generated(task, label)
    if isinstance(task, Rank):
        return _order(task, label)
    if isinstance(task, Score):
        return _number(task, label)
    if not isinstance(label, str) or label not in task.options:
        shown = ", ".join(task.options) if len(task.options) <= 20 else "its options"
        raise TaskError("the label is no answer to this task", fix=f"one of {shown}")
    return label


def read_label(task: Task, text: str) -> LabelValue:
    """A label as it is typed: an option, a number, JSON for a ranking or an object.

    Of a ``generate`` task, ``right`` and ``wrong`` judge the outcome it has.

    Raises:
        TaskError: as :func:`check_label`.
    """
    if isinstance(task, Generate):
        if text in _VERDICTS:
            return _VERDICTS[text]
        return check_label(task, text if task.output_schema is None else _json(text))
    if isinstance(task, Rank):
        return check_label(task, _json(text))
    if isinstance(task, Score):
        try:
            return check_label(task, float(text))
        except ValueError:
            return check_label(task, text)
    return check_label(task, text)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise TaskError("the label is not JSON", fix='for example ["first", "second"]') from None


def _order(task: Rank, label: object) -> Answer:
    items = tuple(label) if isinstance(label, list | tuple) else ()
    named = [item for item in items if isinstance(item, str)]
    wanted = len(task.items) if task.top is None else task.top
    known = len(named) == len(items) == len(set(named)) and set(named) <= set(task.items)
    if not known or len(items) not in (wanted, len(task.items)):
        what = "every item once" if task.top is None else f"the best {wanted} items, each once"
        raise TaskError("the label is no order of the items", fix=f"a list of {what}, best first")
    return tuple(named)


def _number(task: Score, label: object) -> Answer:
    low, high = task.scale
    if (
        not isinstance(label, int | float)
        or isinstance(label, bool)
        or not math.isfinite(label)
        or not low <= label <= high
    ):
        raise TaskError("the label is not on the scale", fix=f"a number from {low:g} to {high:g}")
    return float(label)


def _generated(task: Generate, label: object) -> LabelValue:
    if isinstance(label, bool):
        return label
    if task.output_schema is None:
        if isinstance(label, str) and label.strip():
            return label
        raise TaskError("the label is no text", fix="the text, or right or wrong")
    from consensus.oracles.structured import JsonSchema, as_object

    if not JsonSchema(task.output_schema).judge(label).passed:
        raise TaskError(
            "the label does not satisfy the task's schema",
            fix="JSON that does, or right or wrong",
        )
    value: Answer = as_object(label)
    return value


def _agrees(receipt: Receipt, task: Task, label: LabelValue) -> bool | None:
    decision = receipt.decision
    if decision.action != "act" or decision.outcome is None:
        return None
    if isinstance(label, bool):
        return label
    if isinstance(task, Generate) and task.output_schema is None:
        return True if label == decision.outcome else None
    if isinstance(task, Rank) and isinstance(label, tuple) and isinstance(decision.outcome, tuple):
        top = task.top
        if top is not None:
            return set(label[:top]) == set(decision.outcome[:top])
    scale = task.scale if isinstance(task, Score) else None
    return answers_agree(task.kind, decision.outcome, label, scale=scale)


# -- labels ----------------------------------------------------------------------------------------


def give_label(
    ledger: Ledger,
    receipt_id: str,
    label: object,
    *,
    by: str | None = None,
    source: str = "human",
    probability: float | None = None,
    typed: bool = False,
    at: float | None = None,
) -> Label:
    """Keep what would have been right; blocks until it is on disk.

    A label that says what already holds (same label, same source, same person) is not kept again.

    Args:
        receipt_id: of the decision, or how it begins.
        label: an answer of the task's own; of a ``generate`` task also True or False: whether its
            outcome is acceptable.
        by: who says so.
        source: how it came about.
        probability: the chance that this decision had to be looked at, in (0, 1].
        typed: the label is text as it was typed (:func:`read_label`).
        at: when, in seconds since 1970; now.

    Raises:
        TaskError: the label is no answer to the task; or another argument is none.
        LedgerError: there is no such receipt, or the label could not be kept.
    """
    from sqlalchemy import insert, select, update

    from consensus.ledger.schema import labels

    if probability is not None and not 0 < probability <= 1:
        raise TaskError(
            f"a probability of {probability:g} is none", fix="greater than 0, at most 1"
        )
    if not 0 < len(source) <= 64 or (by is not None and not 0 < len(by) <= 256):
        raise TaskError("source has 1 to 64 characters, by 1 to 256")
    receipt = ledger.receipt(receipt_id)
    task = receipt.question()
    where = f"receipt {receipt.receipt_id}"
    try:
        value = read_label(task, str(label)) if typed else check_label(task, label)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except TaskError as error:
        raise TaskError(error.message, where=where, fix=error.fix) from None
    except (TypeError, ValueError):
        raise TaskError("the label is not JSON", where=where) from None
    if len(text.encode("utf-8", "replace")) > MAX_LABEL_BYTES:
        raise TaskError(f"the label is longer than {MAX_LABEL_BYTES:,} bytes", where=where)
    made = Label(
        label_id=new_id(),
        receipt_id=receipt.receipt_id,
        task_type=receipt.decision.task_type,
        label=json.loads(text),
        agrees=_agrees(receipt, task, value),
        given_by=by,
        source=source,
        inclusion=probability,
        created_at=time.time() if at is None else at,
    )
    in_force = (labels.c.receipt_id == made.receipt_id, labels.c.superseded_at.is_(None))

    def write(connection: Connection) -> Label:
        row = connection.execute(select(labels).where(*in_force)).mappings().first()
        if row is not None and _same(row, made, text):
            return _label(row)
        connection.execute(update(labels).where(*in_force).values(superseded_at=made.created_at))
        connection.execute(
            insert(labels).values(
                label_id=made.label_id,
                receipt_id=made.receipt_id,
                task_type=made.task_type,
                label=text,
                agrees=made.agrees,
                given_by=by,
                source=source,
                inclusion=probability,
                created_at=made.created_at,
                day=int(made.created_at // SECONDS_A_DAY),
            )
        )
        return made

    return ledger.work(write)


def labels_of(ledger: Ledger, receipt_id: str) -> tuple[Label, ...]:
    """Every label that a receipt was given, the earliest first; the last one holds."""
    from sqlalchemy import select

    from consensus.ledger.schema import labels

    query = (
        select(labels)
        .where(labels.c.receipt_id == receipt_id)
        .order_by(labels.c.created_at, labels.c.label_id)
    )
    rows = ledger.read(lambda connection: connection.execute(query).mappings().all())
    return tuple(_label(row) for row in rows)


def labels_in_force(
    ledger: Ledger, task_type: str | None = None, since: float | None = None
) -> tuple[Label, ...]:
    """The labels that hold, in the order in which they were given."""
    from sqlalchemy import select

    from consensus.ledger.schema import labels as b

    query = select(b).where(b.c.superseded_at.is_(None))
    if task_type is not None:
        query = query.where(b.c.task_type == task_type)
    if since is not None:
        query = query.where(b.c.created_at >= since)
    query = query.order_by(b.c.created_at, b.c.label_id)
    rows = ledger.read(lambda connection: connection.execute(query).mappings().all())
    return tuple(_label(row) for row in rows)


def label_outcomes(
    ledger: Ledger, task_type: str | None = None, since: float | None = None
) -> tuple[LabelOutcome, ...]:
    """What labels say of decisions, in the order in which the labels were given.

    Args:
        task_type: only of this type.
        since: only labels given at this time or later, in seconds since 1970.
    """
    from sqlalchemy import select

    from consensus.ledger.schema import decisions as d
    from consensus.ledger.schema import labels as b

    query = (
        select(
            b.c.receipt_id,
            b.c.task_type,
            d.c.action,
            b.c.agrees,
            b.c.inclusion,
            b.c.source,
            d.c.created_at.label("decided_at"),
            b.c.created_at.label("labelled_at"),
        )
        .join_from(b, d, b.c.receipt_id == d.c.receipt_id)
        .where(b.c.superseded_at.is_(None))
    )
    if task_type is not None:
        query = query.where(b.c.task_type == task_type)
    if since is not None:
        query = query.where(b.c.created_at >= since)
    query = query.order_by(b.c.created_at, b.c.label_id)
    rows = ledger.read(lambda connection: connection.execute(query).mappings().all())
    return tuple(LabelOutcome(**row) for row in rows)


def _same(row: Any, made: Label, text: str) -> bool:
    return (row["label"], row["given_by"], row["source"], row["inclusion"]) == (
        text,
        made.given_by,
        made.source,
        made.inclusion,
    )


def _label(row: Any) -> Label:
    fields = {name: row[name] for name in Label.__dataclass_fields__}
    value = json.loads(row["label"])
    return Label(**{**fields, "label": value})


# -- the queue -------------------------------------------------------------------------------------


def queue(
    ledger: Ledger,
    *,
    task_type: str | Collection[str] | None = None,
    audit: float = 0.0,
    since: float | None = None,
    limit: int | None = None,
) -> tuple[Waiting, ...]:
    """Decisions without a label that wait for a person, the oldest first.

    Args:
        task_type: only of this type, or of these.
        audit: the share of the decisions that acted which are looked at too, drawn by a hash of
            their id: the same ones every time, and of a smaller share a part.
        since: only those decided at this time or later, in seconds since 1970.
        limit: at most so many; None for all.

    Raises:
        TaskError: ``audit`` is no share.
    """
    from sqlalchemy import or_, select

    from consensus.ledger.queries import several
    from consensus.ledger.schema import decisions as d
    from consensus.ledger.schema import labels as b

    if not 0 <= audit <= 1:
        raise TaskError(f"an audit of {audit:g} is no share", fix="from 0 to 1")
    labelled = select(b.c.receipt_id).where(
        b.c.receipt_id == d.c.receipt_id, b.c.superseded_at.is_(None)
    )
    names = ("receipt_id", "task_type", "task_id", "kind", "action", "probability", "agreement")
    wanted = d.c.action == "escalate"
    query = select(*(d.c[name] for name in names), d.c.created_at).where(
        or_(wanted, d.c.action == "act") if audit else wanted, ~labelled.exists()
    )
    if task_type is not None:
        query = query.where(d.c.task_type.in_(several(task_type)))
    if since is not None:
        query = query.where(d.c.created_at >= since)
    query = query.order_by(d.c.created_at, d.c.receipt_id)

    def read(connection: Connection) -> Sequence[Waiting]:
        found: list[Waiting] = []
        # Left early, a stream from a server must be closed.
        with connection.execute(query.execution_options(yield_per=1000)) as rows:
            for row in rows.mappings():
                escalated = row["action"] == "escalate"
                if not escalated and not drawn(row["receipt_id"], audit):
                    continue
                given = {name: value for name, value in row.items() if name != "action"}
                why = "escalated" if escalated else "audit"
                found.append(Waiting(**given, why=why, inclusion=1.0 if escalated else audit))
                if limit is not None and len(found) >= limit:
                    break
        return found

    return tuple(ledger.read(read))
