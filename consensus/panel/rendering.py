"""A task, as one seat sees it: shared material first, framing last.

The system prompt and the first part are the same bytes for every seat of a task, so that a
provider's prompt cache serves the whole fan-out; then what depends on the seat's order; then its
framing and the form of the answer.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from consensus.models.protocol import Part, Request, Turn
from consensus.panel.answers import (
    LOCAL_REASON_CHARS,
    SCORE_SCALE,
    answer_words,
    asks_scores,
    is_token_ballot,
    output_schema,
    scale_text,
    score_words,
    scores_schema,
    shows_numbers,
)
from consensus.panel.book import PromptBook
from consensus.panel.fencing import Fence, clean
from consensus.panel.seats import Seat, runs_here
from consensus.tasks import Approve, Choose, Compare, Generate, Rank, Score, Task

__all__ = ["answer_form", "preview", "render"]

CACHE_FROM_CHARS = 4_000
"""An ordered part shorter than this is not worth a cache mark of its own."""

MAX_PREPARED = 1_024
MAX_TAILS = 4_096

OUTPUT_TOKENS = {
    "approve": 1_024,
    "choose": 1_024,
    "compare": 1_024,
    "score": 1_024,
    "rank": 1_024,
    "generate": 4_096,
}
"""Reserved for a structured answer: a short rationale, and room for a model that thinks first."""

TOKENS_PER_ITEM = 8
"""What one id takes in a ranking, and one score in a ballot of scores."""

SPARE_TOKENS = 8
"""Around the word of a token ballot."""


@dataclass(slots=True)
class _Prepared:
    """What all seats of one task share, rendered once.

    ``texts`` are its options, candidates or items as they are shown, in the task's order.
    """

    alive: weakref.ref[Task]
    system: str
    fence: Fence
    texts: list[str]
    shared: Part
    ordered: dict[tuple[tuple[int, ...], bool], Part | None] = field(default_factory=dict)


def render(task: Task, seat: Seat, book: PromptBook) -> Request:
    """The request that puts a task to a seat.

    Pure: the same task, seat and book give the same bytes.
    """
    if isinstance(task, Generate):
        return _generate(task, seat, book)
    prepared = _prepare(task, book)
    shape = _shape(task, seat, book)
    ordered = _ordered(task, seat, book, prepared) if shape.shows_order else None
    shared = prepared.shared
    parts = (shared, shape.tail) if ordered is None else (shared, ordered, shape.tail)
    return Request(
        model=seat.model,
        system=prepared.system,
        turns=(Turn("user", parts),),
        output_schema=shape.schema,
        choices=shape.choices,
        max_output_tokens=shape.max_output_tokens,
        temperature=seat.temperature,
        sample=seat.sample,
    )


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a seat's requests have in common over tasks that are alike but for their texts."""

    seat: Seat
    tail: Part
    shows_order: bool
    schema: dict[str, Any] | None
    choices: tuple[str, ...]
    max_output_tokens: int


def _shape(task: Task, seat: Seat, book: PromptBook) -> _Shape:
    """Remembered by the very seat: panels are made once and used for every task of a row."""
    if isinstance(task, Approve):
        alike: object = bool(task.criteria.strip())
    elif isinstance(task, Choose):
        alike = (task.labels, task.judged_options)
    else:
        alike = task.scale if isinstance(task, Score) else len(task.options)
    key = (id(seat), task.kind, alike)
    found: _Shape | None = book.shapes.get(key)
    if found is None or found.seat is not seat:
        while len(book.shapes) >= MAX_TAILS:
            book.shapes.pop(next(iter(book.shapes)), None)
        found = book.shapes[key] = _shaped(task, seat, book)
    return found


def _shaped(task: Task, seat: Seat, book: PromptBook) -> _Shape:
    token = is_token_ballot(task, seat)
    words = answer_words(task, seat)
    reason = LOCAL_REASON_CHARS if runs_here(seat.model) else None
    schema = None
    if asks_scores(task, seat):
        schema = scores_schema(task, reason_chars=reason)
    elif seat.ballot == "token":
        schema = None if token else output_schema(task, short=True)
    elif not token:
        schema = output_schema(task, short=False, reason_chars=reason)
    return _Shape(
        seat=seat,
        tail=_tail(task, seat, book, words, framed=True),
        shows_order=book.templates[task.kind].ordered is not None,
        schema=schema,
        choices=words if token else (),
        max_output_tokens=seat.max_output_tokens or _output_tokens(task, seat, words, token),
    )


def answer_form(task: Task, seat: Seat, book: PromptBook) -> str:
    """The form of the answer without the framing: what a repair or a debate asks for again."""
    return _tail(task, seat, book, answer_words(task, seat), framed=False).text


def preview(task: Task, seat: Seat, book: PromptBook) -> str:
    """The request as a person reads it: every part under a heading."""
    import json

    request = render(task, seat, book)
    head = f"seat {seat.index}: {seat.model}, framing {seat.framing}, {seat.ballot} ballot"
    lines = [f"=== {head}, order {list(seat.order)}, sample {seat.sample} ==="]
    if request.system:
        lines += ["=== system ===", request.system]
    for turn in request.turns:
        for number, part in enumerate(turn.parts, start=1):
            mark = ", end of a cached prefix" if part.cache else ""
            lines += [f"=== {turn.role}, part {number}{mark} ===", part.text]
    if request.choices:
        lines += ["=== answered with one of ===", ", ".join(request.choices)]
    if request.output_schema is not None:
        schema = json.dumps(request.output_schema, ensure_ascii=False, indent=2)
        lines += ["=== answered as ===", schema]
    lines.append(f"=== at most {request.max_output_tokens:,} tokens of answer ===")
    return "\n".join(lines)


def _prepare(task: Task, book: PromptBook) -> _Prepared:
    """The task's shared material; remembered while the task lives, for the latest tasks."""
    memory = book.prepared
    key = id(task)
    found: _Prepared | None = memory.get(key)
    if found is not None and found.alive() is task:
        return found
    subject, criteria, *others = [clean(text) for text in task.texts()]
    fence = Fence([subject, criteria, *others])
    template = book.templates[task.kind].shared
    assert template is not None  # noqa: S101 - every judging kind has one: checked at load
    values: dict[str, Any] = {
        "criteria": criteria.strip(),
        "subject": fence.wrap("subject", subject) if subject.strip() else "",
    }
    if isinstance(task, Score):
        values["low"], values["high"] = map(scale_text, task.scale)
    made = _Prepared(
        alive=weakref.ref(task, _forget(memory, key)),
        system=book.system,
        fence=fence,
        texts=others,
        shared=Part(template.render(**values), cache=True),
    )
    while len(memory) >= MAX_PREPARED:
        memory.pop(next(iter(memory)), None)
    memory[key] = made
    return made


def _forget(memory: dict[int, Any], key: int) -> Callable[[object], None]:
    def forget(reference: object) -> None:
        found = memory.get(key)
        if found is not None and found.alive is reference:
            del memory[key]

    return forget


def _ordered(task: Task, seat: Seat, book: PromptBook, prepared: _Prepared) -> Part | None:
    """Options, candidates or items in this seat's order; None where there is nothing to show."""
    numbered = shows_numbers(task, seat)
    key = (seat.order, numbered)
    found = prepared.ordered.get(key)
    if found is not None:
        return found
    template = book.templates[task.kind].ordered
    if template is None:
        return None
    fence, order = prepared.fence, seat.order
    if isinstance(task, Choose):
        labels = [prepared.texts[i] for i in order]
        options = (
            [f"Option {n}:\n{fence.wrap(f'option-{n}', t)}" for n, t in enumerate(labels, 1)]
            if numbered
            else [f"- {label}" for label in labels]
        )
        text = template.render(options=options, numbered=numbered)
    elif isinstance(task, Compare):
        pair = [prepared.texts[i] for i in order[:2]]
        text = template.render(
            first=fence.wrap("first", pair[0]), second=fence.wrap("second", pair[1])
        )
    else:
        assert isinstance(task, Rank)  # noqa: S101 - no other kind has an ordered part
        text = template.render(
            items=_items([prepared.texts[i] for i in order], fence), count=len(order)
        )
    long = not isinstance(task, Choose) and len(text) >= CACHE_FROM_CHARS
    part = Part(text, cache=long)
    prepared.ordered[key] = part
    return part


def _items(texts: list[str], fence: Fence) -> list[str]:
    """One fenced list where every item is a line; else a fence for each item.

    An item of several lines in a list could pass its second line off as the next item.
    """
    if all(text.splitlines() == [text] for text in texts):
        lines = "\n".join(f"item-{n}: {text}" for n, text in enumerate(texts, 1))
        return [fence.wrap("items", lines)]
    return [f"item-{n}:\n{fence.wrap(f'item-{n}', text)}" for n, text in enumerate(texts, 1)]


def _tail(
    task: Task, seat: Seat, book: PromptBook, words: tuple[str, ...], *, framed: bool
) -> Part:
    """The framing and the form of the answer; the same for every task that is alike in these."""
    kind = task.kind
    scale = task.scale if isinstance(task, Score) else None
    ruled = isinstance(task, Approve) and bool(task.criteria.strip())
    key = (kind, seat.framing if framed else None, seat.ballot, words, scale, ruled)
    found: Part | None = book.tails.get(key)
    if found is not None:
        return found
    template = book.templates[kind]
    section = template.token if seat.ballot == "token" else template.answer
    values: dict[str, Any] = {"words": words}
    if asks_scores(task, seat):
        section = book.scores[kind]
        low, high = SCORE_SCALE
        values = {"words": score_words(task, seat), "low": str(low), "high": str(high)}
    assert section is not None  # noqa: S101 - only generate has none, and it does not come here
    if isinstance(task, Choose):
        values["numbered"] = shows_numbers(task, seat)
    elif isinstance(task, Approve):
        values["has_criteria"] = ruled
    elif isinstance(task, Rank):
        values["count"] = len(words)
    elif isinstance(task, Score):
        values["low"], values["high"] = map(scale_text, task.scale)
    framing = book.framing(seat.framing).body if framed else ""
    made = Part(section.render(framing=framing, framing_name=seat.framing, **values))
    while len(book.tails) >= MAX_TAILS:
        book.tails.pop(next(iter(book.tails)), None)
    book.tails[key] = made
    return made


def _generate(task: Generate, seat: Seat, book: PromptBook) -> Request:
    """The caller's own conversation; a framing other than ``plain`` is added at its end."""
    messages = task.messages
    system = ""
    if messages[0].role == "system":
        system, messages = messages[0].content, messages[1:]
    turns = [Turn(_side(m.role), (Part(m.content),)) for m in messages[:-1]]
    framing = book.framing(seat.framing)
    added = book.templates["generate"].answer.render(
        framing=framing.body, framing_name=framing.name
    )
    last = (Part(messages[-1].content, cache=True),)
    turns.append(Turn("user", (*last, Part(added)) if added else last))
    return Request(
        model=seat.model,
        system=system,
        turns=tuple(turns),
        output_schema=task.output_schema,
        max_output_tokens=seat.max_output_tokens or OUTPUT_TOKENS["generate"],
        temperature=seat.temperature,
        sample=seat.sample,
    )


def _side(role: str) -> Literal["user", "assistant"]:
    return "assistant" if role == "assistant" else "user"


def _output_tokens(task: Task, seat: Seat, words: tuple[str, ...], token: bool) -> int:
    if token:
        return SPARE_TOKENS + max(len(word.encode()) for word in words)
    if isinstance(task, Rank):
        return OUTPUT_TOKENS["rank"] + TOKENS_PER_ITEM * len(words)
    if asks_scores(task, seat):
        return OUTPUT_TOKENS[task.kind] + TOKENS_PER_ITEM * len(words)
    return OUTPUT_TOKENS[task.kind]
