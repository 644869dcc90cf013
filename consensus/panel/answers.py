"""The words a seat may answer with, and what they mean for the task.

A seat sees its options in its own order. Each *position* has a word; the option that stands there
is ``task.options[seat.order[position]]``. Options are answered by their own words, where these are
short; candidates of a comparison by ``first`` and ``second``; long options by a number and items
of a ranking by an id, both counted as shown. Reading an answer back is the inverse.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from consensus.ballots import Answer
from consensus.panel.fencing import clean
from consensus.panel.seats import Seat
from consensus.tasks import Choose, Generate, Kind, Score, Task

__all__ = [
    "COMPARE_WORDS",
    "LOCAL_REASON_CHARS",
    "MAX_LABEL_CHARS",
    "MAX_TOKEN_POINTS",
    "SCORE_SCALE",
    "TIE_MARGIN",
    "answer_words",
    "asks_scores",
    "is_numbered",
    "is_token_ballot",
    "output_schema",
    "scale_points",
    "scale_text",
    "score_words",
    "scores_schema",
    "shown_answer",
    "shows_numbers",
]

COMPARE_WORDS = ("first", "second", "tie")

MAX_LABEL_CHARS = 80
"""The longest option that is answered by its own words."""

SCORE_SCALE = (1, 10)
"""What a ballot of scores gives each option: ten is best."""

TIE_MARGIN = 0.2
"""Points by which ``tie`` stands above the middle of two candidates that are scored: it leads where
they differ by less than twice as much, so where whole scores are equal."""

LOCAL_REASON_CHARS = 240
"""The longest rationale of a model on this machine, about the 40 words that it is asked for. Its
grammar holds it to that; a small model that loses its thread would write to its last token."""

MAX_TOKEN_POINTS = 11
"""The most whole numbers on a scale that a token ballot may answer with (0 to 10)."""


def answer_words(task: Task, seat: Seat) -> tuple[str, ...]:
    """One word for each position as this seat sees it; empty where the answer is open.

    A score has its whole numbers, where a token ballot is asked for and there are few enough.
    """
    kind = task.kind
    if kind == "approve":
        options = task.options
        return tuple([options[i] for i in seat.order])
    if isinstance(task, Choose):
        if shows_numbers(task, seat):
            return _numbers(len(task.labels))
        return tuple([task.labels[i] for i in seat.order])
    if kind == "compare":
        return COMPARE_WORDS
    if kind == "rank":
        return _ids(len(task.options))
    if isinstance(task, Score) and seat.ballot == "token":
        return scale_points(task.scale)
    return ()


def shown_answer(task: Task, seat: Seat, answer: Answer) -> Any:
    """An answer as this seat would have to write it: the inverse of reading one.

    Args:
        task: what is asked.
        seat: whose words are wanted.
        answer: in the task's own terms; one of its options, where it has a closed set.

    Returns:
        A word, a list of ids, a number, or the generated answer itself.
    """
    if isinstance(task, Generate | Score):
        return answer
    words = answer_words(task, seat)
    at = {task.options[index]: word for index, word in zip(seat.order, words, strict=True)}
    if isinstance(answer, tuple):
        return [at[item] for item in answer]
    return at[str(answer)]


def is_token_ballot(task: Task, seat: Seat) -> bool:
    """Whether this seat answers with one of a few words.

    Rankings, texts and scales without few whole numbers have no token ballot: such a seat gives
    a short structured answer.
    """
    if seat.ballot != "token":
        return False
    if isinstance(task, Score):
        return bool(scale_points(task.scale))
    return task.kind in {"approve", "choose", "compare"}


def asks_scores(task: Task, seat: Seat) -> bool:
    """Whether this seat scores every option; there must be a closed set of them."""
    return seat.ballot == "scores" and task.kind in {"approve", "choose", "compare"}


def score_words(task: Task, seat: Seat) -> tuple[str, ...]:
    """The words that this seat scores, as it sees them: ``tie`` is nothing to be scored."""
    words = answer_words(task, seat)
    return words[:-1] if task.kind == "compare" else words


def shows_numbers(task: Task, seat: Seat) -> bool:
    """Whether a seat sees numbered options.

    A ballot of scores has the words as keys of an object: providers take letters, digits, dots,
    dashes and underscores there, and anything else is numbered.
    """
    if not isinstance(task, Choose):
        return False
    return _numbers_options(task) or (asks_scores(task, seat) and not _are_keys(task.labels))


def _numbers_options(task: Choose) -> bool:
    return task.judged_options or is_numbered(task.labels)


@lru_cache(maxsize=1024)
def _are_keys(labels: tuple[str, ...]) -> bool:
    return all(_KEY.fullmatch(label) for label in labels)


_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@lru_cache(maxsize=1024)
def is_numbered(labels: tuple[str, ...]) -> bool:
    """Whether these options are answered by number, because their own words are too long.

    One option that is long, has several lines, holds a quotation mark, or would not be shown
    exactly as it is, makes all of them numbered.
    """
    return not all(
        len(label) <= MAX_LABEL_CHARS
        and label.isprintable()
        and '"' not in label
        and "\\" not in label
        and label == label.strip()
        and clean(label) == label
        for label in labels
    )


@lru_cache(maxsize=256)
def scale_points(scale: tuple[float, float]) -> tuple[str, ...]:
    """The whole numbers of a scale as words; empty unless both ends are whole and they are few."""
    low, high = scale
    if low != int(low) or high != int(high) or high - low + 1 > MAX_TOKEN_POINTS:
        return ()
    return tuple(str(point) for point in range(int(low), int(high) + 1))


def scale_text(value: float) -> str:
    """A number of a scale as a person writes it."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


@lru_cache(maxsize=64)
def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(1, count + 1))


@lru_cache(maxsize=64)
def _ids(count: int) -> tuple[str, ...]:
    return tuple(f"item-{number}" for number in range(1, count + 1))


def scores_schema(task: Task, *, reason_chars: int | None = None) -> dict[str, Any]:
    """The JSON Schema of a ballot that scores every option; as :func:`output_schema`, one a task.

    Args:
        task: of kind ``approve``, ``choose`` or ``compare``.
        reason_chars: the longest rationale, in characters; None for no bound.
    """
    words = task.options
    if isinstance(task, Choose):
        numbered = _numbers_options(task) or not _are_keys(task.labels)
        words = _numbers(len(task.labels)) if numbered else task.labels
    elif task.kind == "compare":
        words = COMPARE_WORDS[:-1]
    return _scores_schema(words, reason_chars)


@lru_cache(maxsize=256)
def _scores_schema(words: tuple[str, ...], reason_chars: int | None) -> dict[str, Any]:
    low, high = SCORE_SCALE
    return {
        "type": "object",
        "properties": {
            "rationale": _reason(reason_chars),
            "scores": {
                "type": "object",
                "properties": {
                    word: {"type": "integer", "minimum": low, "maximum": high} for word in words
                },
                "required": list(words),
                "additionalProperties": False,
            },
        },
        "required": ["rationale", "scores"],
        "additionalProperties": False,
    }


def _reason(chars: int | None) -> dict[str, Any]:
    return {"type": "string"} if chars is None else {"type": "string", "maxLength": chars}


def output_schema(task: Task, *, short: bool, reason_chars: int | None = None) -> dict[str, Any]:
    """The JSON Schema of a structured ballot.

    It is the same for every seat of a task, whatever its order: providers compile a schema once
    and keep it in front of the prompt they cache. Callers must not change it.

    Args:
        task: of any kind but ``generate``.
        short: the answer alone, without rationale and confidence.
        reason_chars: the longest rationale, in characters; None for no bound.
    """
    if isinstance(task, Choose):
        labels = task.labels
        words = _numbers(len(labels)) if _numbers_options(task) else labels
    elif task.kind == "rank":
        words = _ids(len(task.options))
    elif task.kind == "compare":
        words = COMPARE_WORDS
    else:
        words = task.options
    scale = task.scale if isinstance(task, Score) else None
    return _schema(task.kind, words, short, scale, reason_chars)


@lru_cache(maxsize=256)
def _schema(
    kind: Kind,
    words: tuple[str, ...],
    short: bool,
    scale: tuple[float, float] | None,
    reason_chars: int | None,
) -> dict[str, Any]:
    answer: dict[str, Any] = {"type": "string", "enum": list(words)}
    if scale is not None:
        answer = {"type": "number", "minimum": scale[0], "maximum": scale[1]}
    elif kind == "rank":
        answer = {"type": "array", "items": answer, "minItems": len(words), "maxItems": len(words)}
    properties: dict[str, Any] = {"answer": answer}
    if not short:
        properties = {
            "rationale": _reason(reason_chars),
            "answer": answer,
            "confidence": {"type": "number"},
        }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
