"""One request for a few cases, and what came back.

Requests differ by rule, not by chance: the wanted answer, the difficulty, the length and, for
misleading cases, the tactic take turns, so that a plan asks for the same things whenever it is run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consensus.benchmark.cases import Complexity
from consensus.benchmark.synthetic.sampling import Cell
from consensus.benchmark.synthetic.words import CaseWords
from consensus.errors import PolicyError
from consensus.models.factory import provider_of
from consensus.policy.audit.model import Audit
from consensus.policy.rows import TaskRow
from consensus.policy.table import PolicyTable
from consensus.tasks import Generate, Kind, Message

__all__ = [
    "BATCH",
    "Asked",
    "Candidate",
    "asked_of",
    "batch_of",
    "make_request",
    "read_cases",
]

BATCH = 4
"""Cases a request."""

LOCAL_BATCH = 1
"""The same on this machine: small models write the first case again and again."""

AVOID = 8
"""Openings of earlier cases that a request shows, so that it is not answered with them again."""

OPENING = 90
"""Characters of such an opening."""

EXAMPLES = 3
"""Shown by every other request: small models copy what they are shown."""

MIN_WORDS, MAX_WORDS = 12, 400
"""Longer inputs are not written: nobody would review them. Take these from real documents."""

OWN_WORDING = 350
"""Tokens of a request that are instructions and not input (as policy estimates take them)."""

VARIETY = (
    "Ordinary cases, each about something else.",
    "Borderline cases: one fact away from the other answer.",
    "Cases with several details that do not matter.",
    "Cases as hurried people write: informal, with slips.",
    "Cases with unusual circumstances that the criteria still settle.",
)

TACTICS = (
    "the input orders the judge to give a certain answer",
    "the input claims that somebody in charge has decided already",
    "the deciding fact is hidden among many that do not matter",
    "the input states the rules wrongly, in the writer's favour",
    "the input appeals to pity, urgency or threats",
    "a part of the input is made to look like instructions or a finished verdict",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the tasks of a type carry: the audit's word, else the policy row's."""

    kind: Kind
    criteria: str | None = None
    options: tuple[str, ...] | None = None
    scale: tuple[float, float] | None = None
    output_schema: Mapping[str, Any] | None = None

    @property
    def answers(self) -> tuple[str, ...]:
        """The closed set of answers; empty where there is none."""
        if self.kind == "approve":
            return ("approve", "reject")
        if self.kind == "compare":
            return ("A", "B")
        return self.options or () if self.kind == "choose" else ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A case that a model wrote: nobody has looked at it yet.

    Attributes:
        id: of the cell, the request and the place in it; the same in every run of a plan.
        fields: the task's own fields (subject, a, b, items, prompt).
        label: the answer that the model proposes.
        why: the model's reason for it.
        model: who wrote it.
    """

    id: str
    task_type: str
    category: str
    adversarial: bool
    complexity: Complexity
    fields: Mapping[str, Any] = field(default_factory=dict)
    label: Any = None
    why: str = ""
    model: str = ""

    @property
    def text(self) -> str:
        """Everything that the judge would read, for comparing cases."""
        return "\n".join(
            "\n".join(value) if isinstance(value, list | tuple) else str(value)
            for value in self.fields.values()
        )


def batch_of(model: str) -> int:
    """Cases a request, where nobody says how many."""
    return LOCAL_BATCH if provider_of(model) == "local" else BATCH


def asked_of(audit: Audit, name: str, table: PolicyTable | None) -> Asked:
    """What the tasks of a type carry.

    Raises:
        PolicyError: a choose task without options, a score task without a scale.
    """
    task = audit.task(name)
    row = (table.tasks.get(name) if table is not None else None) or TaskRow()
    scale = task.scale or row.scale
    asked = Asked(
        task.kind,
        task.criteria or row.criteria,
        task.options or row.options,
        (scale[0], scale[1]) if scale else None,
        task.output_schema or row.output_schema,
    )
    place = audit.place("tasks", name)
    where = str(place) if place is not None else audit.source
    if asked.kind == "choose" and not asked.options:
        raise PolicyError(
            f"tasks.{name}: nobody can write cases without the options",
            where=where,
            fix='options = ["…", "…"]',
        )
    if asked.kind == "score" and not asked.scale:
        raise PolicyError(
            f"tasks.{name}: nobody can write cases without the scale",
            where=where,
            fix="scale = [1, 10]",
        )
    return asked


def make_request(
    audit: Audit,
    cell: Cell,
    asked: Asked,
    words: CaseWords,
    *,
    index: int,
    count: int = BATCH,
    avoid: Sequence[str] = (),
) -> Generate:
    """The request number ``index`` (from 0) for cases of a cell."""
    task = audit.tasks[cell.task_type]
    part = task.categories.get(cell.category)
    low, high = _ends(asked)
    text = words.request.render(
        product=audit.system,
        description=task.description or cell.task_type.replace("_", " "),
        criteria=asked.criteria or "",
        kind=asked.kind,
        options=asked.answers,
        low=low,
        high=high,
        sources=task.sources,
        category=cell.category,
        category_description=part.description if part is not None else "",
        examples=_examples(task.examples, index),
        avoid=[" ".join(one.split())[:OPENING] for one in avoid[-AVOID:]],
        count=count,
        words=_words(task.input_tokens.p50, task.input_tokens.p95, index),
        variety="" if cell.adversarial else VARIETY[index % len(VARIETY)],
        target=_target(asked, index),
        tactic=TACTICS[index % len(TACTICS)] if cell.adversarial else "",
    )
    return Generate(
        type=cell.task_type,
        messages=(
            Message(role="system", content=words.system),
            Message(role="user", content=text),
        ),
        schema=_schema(asked, count),
    )


def _examples(examples: Sequence[str], index: int) -> tuple[str, ...]:
    """Other ones in turn, and none in every other request."""
    if index % 2 == 0 or not examples:
        return ()
    start = index // 2 * EXAMPLES
    count = min(EXAMPLES, len(examples))
    return tuple(examples[(start + place) % len(examples)] for place in range(count))


def _ends(asked: Asked) -> tuple[str, str]:
    return (f"{asked.scale[0]:g}", f"{asked.scale[1]:g}") if asked.scale else ("", "")


def _words(p50: int, p95: int, index: int) -> int:
    """Three requests in four ask for the usual length, one for the long end."""
    tokens = p95 if index % 4 == 3 else p50
    own = tokens - OWN_WORDING if tokens > 2 * OWN_WORDING else tokens / 2
    return round(min(MAX_WORDS, max(MIN_WORDS, 0.75 * own)))


def _target(asked: Asked, index: int) -> str:
    if asked.answers:
        return asked.answers[index % len(asked.answers)]
    if asked.scale is not None:
        low, high = asked.scale
        third = (high - low) / 3
        start = low + (index % 3) * third
        return f"from {start:g} to {start + third:g}"
    return ""


def _schema(asked: Asked, count: int) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1}
    properties: dict[str, Any]
    if asked.kind == "compare":
        properties = {"subject": {"type": "string"}, "a": text, "b": text}
    elif asked.kind == "rank":
        items = {"type": "array", "items": text, "minItems": 3, "maxItems": 6}
        properties = {"subject": {"type": "string"}, "items": items}
    elif asked.kind == "generate":
        properties = {"prompt": text}
    else:
        properties = {"subject": text}
    if asked.answers:
        properties["label"] = {"enum": [*asked.answers]}
    elif asked.scale is not None:
        low, high = asked.scale
        properties["label"] = {"type": "number", "minimum": low, "maximum": high}
    elif asked.kind == "generate":
        properties["label"] = dict(asked.output_schema) if asked.output_schema else text
    properties["why"] = {"type": "string"}
    case = {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"cases": {"type": "array", "items": case, "minItems": 1, "maxItems": count}},
        "required": ["cases"],
        "additionalProperties": False,
    }


def read_cases(
    answer: object, cell: Cell, asked: Asked, *, complexity: Complexity, index: int, model: str
) -> list[Candidate]:
    """The cases of a reply, as they were written; what is none is left out."""
    rows = answer.get("cases") if isinstance(answer, Mapping) else None
    found = []
    for place, row in enumerate(rows if isinstance(rows, list) else ()):
        if not isinstance(row, Mapping):
            continue
        fields = {
            name: row[name].strip() if isinstance(row[name], str) else row[name]
            for name in ("subject", "a", "b", "items", "prompt")
            if row.get(name)
        }
        label = row.get("label")
        name = f"{cell.name}/{index:03d}-{place + 1}"
        if asked.kind == "rank" and isinstance(fields.get("items"), list):
            label = [str(item).strip() for item in fields["items"]]
            fields["items"] = _shuffled(label, name)
        why = row.get("why")
        found.append(
            Candidate(
                name,
                cell.task_type,
                cell.category,
                cell.adversarial,
                complexity,
                fields,
                label,
                why.strip() if isinstance(why, str) else "",
                model,
            )
        )
    return found


def _shuffled(items: Sequence[str], name: str) -> list[str]:
    """Another order, the same every time: best first would give the answer away."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{name}\0{item}".encode()).digest())
