"""From what a model wrote to a ballot: tolerant of form, strict about meaning.

An answer is one of those that were offered, or there is no ballot: nothing is guessed from a
similar spelling, nothing is taken by default, and two different answers are none. Only the
completion is read, never the prompt, so nothing in the judged text can be taken for a ballot.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

from consensus.ballots import Answer, ConfidenceSource
from consensus.errors import FailureClass, UnreadableError
from consensus.models.protocol import Completion
from consensus.panel._generated import read_generated
from consensus.panel._json import MAX_REPLY_CHARS, find_values, without_thinking
from consensus.panel.answers import (
    SCORE_SCALE,
    TIE_MARGIN,
    answer_words,
    asks_scores,
    is_token_ballot,
    scale_text,
    score_words,
    shows_numbers,
)
from consensus.panel.seats import Seat
from consensus.tasks import Generate, Rank, Score, Task

__all__ = ["MAX_RATIONALE_CHARS", "MIN_COVERAGE", "Reading", "read_ballot"]

MAX_RATIONALE_CHARS = 2_000

MIN_COVERAGE = 1e-4
"""Below this share of the model's probability on the words offered, it did not answer with one."""

_ANSWER_LINE = re.compile(
    r"^[ \t>*_#`-]*(?:final[ \t]+)?answer[ \t*_`]*(?:[:=]|is:)[ \t*_`]*([^\s`*_][^\n]*)$",
    re.IGNORECASE | re.MULTILINE,
)
_KEYS = frozenset({"rationale", "answer", "confidence", "scores"})
_AROUND = " \t\r\n\"'`*_“”‘’«»"
_NUMBER = re.compile(
    r"([+-]?\d{1,15}(?:\.\d{1,15})?)(?:\s*(?:/|out of|of)\s*(\d{1,15}(?:\.\d+)?))?"
)
_COUNTED = re.compile(r"(?:(?:option|item|number)[ #-]{0,3}|#)?([0-9]{1,6})")
_CONFIDENCE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,12})?|\.[0-9]{1,12})\s*(%?)")


class Reading(NamedTuple):
    """What a completion says.

    ``answer`` is in the task's own terms: an option, the items best first, a number, a text or
    object. ``distribution`` is over the task's options (the points of the scale, for a score).
    ``scores`` are of each option; several with the highest one are a tuple, in the task's order,
    except that two candidates of a comparison that are scored alike are the answer ``tie``.
    """

    answer: Answer
    confidence: float | None = None
    confidence_source: ConfidenceSource | None = None
    rationale: str = ""
    distribution: dict[str, float] | None = None
    scores: dict[str, float] | None = None


def read_ballot(task: Task, seat: Seat, completion: Completion) -> Reading:
    """Read a completion as this seat's ballot.

    Raises:
        UnreadableError: with the class: ``refusal``, ``empty``, ``truncated`` (cut off before the
            answer was complete), ``off_list`` (an answer that was not offered), ``schema`` (of the
            wrong shape), ``unreadable`` (no answer, or several different ones). Messages hold no
            judged text and nothing that the model wrote.
    """
    if completion.finish == "refusal":
        raise _no("the model refused", "refusal")
    if len(completion.text) > MAX_REPLY_CHARS:
        raise _no(f"the reply is longer than {MAX_REPLY_CHARS:,} characters", "unreadable")
    cut = completion.finish == "length"
    if isinstance(task, Generate):
        return Reading(read_generated(task, completion.text, cut=cut))
    if is_token_ballot(task, seat) and completion.choice_probabilities is not None:
        return _from_probabilities(task, seat, completion)
    try:
        if asks_scores(task, seat):
            return _from_scores(task, seat, completion.text)
        return _from_text(task, seat, completion.text, cut=cut)
    except UnreadableError as error:
        if cut and error.failure in {"unreadable", "empty"}:
            raise _no("the reply was cut off before its answer", "truncated") from None
        raise


# -- probabilities ---------------------------------------------------------------------------------


def _from_probabilities(task: Task, seat: Seat, completion: Completion) -> Reading:
    """A distribution over the words, mapped back through the seat's order.

    A score's answer is the mean of its distribution, which says more than its mode. An exact tie
    of two candidates is the answer ``tie``; an exact tie of other options is no answer.
    """
    words = answer_words(task, seat)
    given = completion.choice_probabilities or ()
    total = math.fsum(given) if all(0.0 <= p < math.inf for p in given) else math.nan
    if len(given) != len(words) or not total > 0.0:
        raise _no("the probabilities do not fit the words that were offered", "unreadable")
    if completion.coverage is not None and not completion.coverage >= MIN_COVERAGE:
        raise _no("the model put next to no probability on the words offered", "off_list")
    shares = [p / total for p in given]
    if isinstance(task, Score):
        mean = math.fsum(float(w) * p for w, p in zip(words, shares, strict=True))
        low, high = task.scale
        return Reading(
            answer=min(max(mean, low), high), distribution=dict(zip(words, shares, strict=True))
        )
    at = dict(zip(seat.order, shares, strict=True))
    distribution = {option: at[index] for index, option in enumerate(task.options)}
    best = max(shares)
    leaders = [option for option, share in distribution.items() if share == best]
    if len(leaders) > 1 and task.kind != "compare":
        raise _no(f"the probabilities of {len(leaders)} options tie exactly", "unreadable")
    answer = leaders[0] if len(leaders) == 1 else "tie"
    return Reading(answer, distribution[answer], "token_probabilities", "", distribution)


# -- scores of every option ------------------------------------------------------------------------


def _from_scores(task: Task, seat: Seat, text: str) -> Reading:
    """One object with a score for each word: all of them, or there is no ballot."""
    reply = _spoken(text)
    found = find_values(reply)
    if found.broken:
        raise _no("the reply begins a JSON object that is none", "unreadable")
    given = [ballot for ballot in map(_keyed, found.values) if "scores" in ballot]
    if not given:
        raise _no('the reply holds no JSON object with "scores"', "unreadable")
    readings = [_scored(task, seat, ballot) for ballot in given]
    if any(reading.scores != readings[0].scores for reading in readings):
        raise _no("the reply holds several different answers", "unreadable")
    return readings[0]


def _scored(task: Task, seat: Seat, ballot: dict[str, Any]) -> Reading:
    words = score_words(task, seat)
    said = ballot["scores"]
    if not isinstance(said, dict):
        raise _no('"scores" is not an object with a number for each option', "schema")
    points: dict[int, float] = {}
    for key, value in said.items():
        position = _position(words, key, counted=shows_numbers(task, seat))
        if position is None:
            raise _no('"scores" holds something that was not offered', "off_list")
        if position in points:
            raise _no('"scores" holds an option twice', "schema")
        points[position] = _points(SCORE_SCALE, value)
    if len(points) < len(words):
        raise _no(f"{len(points)} of {len(words)} options have a score", "schema")
    at = {seat.order[position]: score for position, score in points.items()}
    if task.kind == "compare":
        at[len(words)] = math.fsum(at.values()) / 2 + TIE_MARGIN
    scores = {option: at[index] for index, option in enumerate(task.options)}
    best = max(scores.values())
    first = tuple(option for option, score in scores.items() if score == best)
    if "answer" in ballot and _answer(task, seat, ballot["answer"]) not in first:
        raise _no("the answer is not what is scored highest", "unreadable")
    return Reading(
        answer=first[0] if len(first) == 1 else first,
        rationale=_rationale(ballot.get("rationale")),
        scores=scores,
    )


def _spoken(text: str) -> str:
    """A reply without its thoughts."""
    if not text.strip():
        raise _no("the reply is empty", "empty")
    reply = without_thinking(text)
    if not reply.strip():
        raise _no("the reply holds thoughts and no answer", "unreadable")
    return reply


# -- text ------------------------------------------------------------------------------------------


def _from_text(task: Task, seat: Seat, text: str, *, cut: bool) -> Reading:
    reply = _spoken(text)
    found = find_values(reply)
    if found.broken:
        raise _no("the reply begins a JSON object that is none", "unreadable")
    if len(found.values) == 1 and not found.rest:  # nearly always: the ballot and nothing else
        ballot = _keyed(found.values[0])
        if "answer" in ballot:
            return _from_object(task, seat, ballot)
    ballots = [ballot for ballot in map(_keyed, found.values) if "answer" in ballot]
    readings = [_from_object(task, seat, ballot) for ballot in ballots]
    if found.rest:
        readings += _from_lines(task, seat, found.rest, cut=cut, strict=not readings)
    if not readings:
        readings += _from_whole(task, seat, reply, found.values, cut=cut)
    if not readings:
        raise _no("the reply holds no answer in the form that was asked for", "unreadable")
    if any(reading.answer != readings[0].answer for reading in readings):
        raise _no("the reply holds several different answers", "unreadable")
    return readings[0]


def _keyed(value: Any) -> dict[str, Any]:
    """An object by its keys, capitals and blanks aside."""
    if not isinstance(value, dict):
        return {}
    if value.keys() <= _KEYS:
        return value
    keyed = {key.strip().casefold(): item for key, item in value.items()}
    if len(keyed) < len(value):
        raise _no("the reply's JSON object holds a key twice", "unreadable")
    return keyed


def _from_object(task: Task, seat: Seat, ballot: dict[str, Any]) -> Reading:
    answer = _answer(task, seat, ballot["answer"])
    confidence = _confidence(ballot.get("confidence"))
    return Reading(
        answer=answer,
        confidence=confidence,
        confidence_source=None if confidence is None else "stated",
        rationale=_rationale(ballot.get("rationale")),
    )


def _from_lines(task: Task, seat: Seat, text: str, *, cut: bool, strict: bool) -> list[Reading]:
    """Lines like ``ANSWER: approve``. In a reply that was cut off, the last line is not whole.

    Unless ``strict``, a line that holds no answer that was offered is passed over: it may be the
    heading of the JSON object that was read.
    """
    found = list(_ANSWER_LINE.finditer(text))
    if cut and found and not text[found[-1].end() :].strip():
        found.pop()
    readings = []
    for match in found:
        try:
            answer = _answer(task, seat, _listed(task, match.group(1)))
        except UnreadableError:
            if strict:
                raise
        else:
            readings.append(Reading(answer, rationale=_rationale(text[: match.start()])))
    return readings


def _from_whole(
    task: Task, seat: Seat, reply: str, values: Sequence[Any], *, cut: bool
) -> list[Reading]:
    """A reply that is nothing but an answer: a bare word, number or list."""
    if len(values) == 1 and isinstance(values[0], dict):
        raise _no('the reply\'s JSON object has no "answer"', "unreadable")
    if cut:
        words = [word.casefold() for word in answer_words(task, seat)]
        whole = _folded(reply)
        # A word that was cut off may have been the beginning of another.
        if not is_token_ballot(task, seat) or sum(w.startswith(whole) for w in words) != 1:
            return []
    value = values[0] if len(values) == 1 else _listed(task, reply)
    try:
        return [Reading(_answer(task, seat, value))]
    except UnreadableError as error:
        # Prose is not an answer that is off the list; one short line may be.
        if len(reply.split()) > 12 and error.failure in {"off_list", "schema"}:
            return []
        raise


def _listed(task: Task, text: str) -> Any:
    """An order written in a line, as a list."""
    if not isinstance(task, Rank):
        return text
    return [piece for piece in re.split(r"[,;>→\n]+", text.strip(_AROUND + ".")) if piece.strip()]


# -- answers ---------------------------------------------------------------------------------------


def _answer(task: Task, seat: Seat, value: Any) -> Answer:
    """An answer in the task's own terms."""
    if isinstance(task, Score):
        return _points(task.scale, value)
    words = answer_words(task, seat)
    if isinstance(task, Rank):
        return _ranking(task, seat, words, value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None:
        raise _no("the answer is null", "unreadable")
    if not isinstance(value, str):
        raise _no(f"the answer is of type {type(value).__name__}, not a text", "schema")
    counted = shows_numbers(task, seat)
    position = _position(words, value, counted=counted)
    if position is None:
        raise _no(f"the answer is none of the {len(words)} that were offered", "off_list")
    return task.options[seat.order[position]]


def _position(words: Sequence[str], value: str, *, counted: bool) -> int | None:
    """Which word this is, case, blanks and quotation marks aside; None unless exactly one.

    Only the value is stripped, never the words: ``A`` is not ``A*``.

    Args:
        words: as they were offered.
        value: as it was answered.
        counted: the words are numbers that we gave, so that ``Option 2`` means ``2``.
    """
    if value in words:
        return words.index(value)
    folded = [_folded(word) for word in words]
    quoted = _folded(value).strip(_AROUND)
    for wanted in (_folded(value), quoted, quoted.rstrip(".!,;:").strip(_AROUND)):
        matches = [i for i, word in enumerate(folded) if word == wanted]
        if matches:
            return matches[0] if len(matches) == 1 else None
    number = _COUNTED.fullmatch(quoted.rstrip(".:")) if counted else None
    if number is not None and 1 <= int(number.group(1)) <= len(words):
        return int(number.group(1)) - 1
    return None


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", " ".join(text.split())).casefold()


def _ranking(task: Rank, seat: Seat, words: Sequence[str], value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _no("the answer is not a list of ids", "schema")
    order = []
    for entry in value:
        if isinstance(entry, bool) or not isinstance(entry, str | int):
            raise _no("the list holds something that is no id", "schema")
        position = _position(words, str(entry), counted=True)
        if position is None:
            raise _no("the list holds an id that was not given", "off_list")
        order.append(position)
    if len(set(order)) < len(order):
        raise _no("the list holds an id twice", "schema")
    if len(order) < (len(words) if task.top is None else task.top):
        raise _no(f"the list holds {len(order)} of {len(words)} ids", "schema")
    return tuple(task.items[seat.order[position]] for position in order)


def _points(scale: tuple[float, float], value: Any) -> float:
    low, high = scale
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value.strip(_AROUND).rstrip(".").strip(_AROUND))
        if match is None or (match.group(2) is not None and float(match.group(2)) != high):
            raise _no("the answer is not a number", "schema")
        value = float(match.group(1))
    if value is None:
        raise _no("the answer is null", "unreadable")
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _no(f"the answer is of type {type(value).__name__}, not a number", "schema")
    if not low <= value <= high:
        raise _no(f"the score is not from {scale_text(low)} to {scale_text(high)}", "off_list")
    return float(value)


def _confidence(value: Any) -> float | None:
    """A stated probability; None where none was stated, or what was stated is none.

    Percentages count only where they cannot be anything else: with the sign, or above ten (a
    plain 7 may be on a scale to ten).
    """
    percent = False
    if isinstance(value, str):
        match = _CONFIDENCE.fullmatch(value.strip())
        if match is None:
            return None
        value, percent = float(match.group(1)), bool(match.group(2))
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if percent or 10 < value <= 100:
        value = value / 100
    return float(value) if 0 <= value <= 1 else None


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def _rationale(value: Any) -> str:
    """At most 2,000 characters that any store can hold."""
    if not isinstance(value, str):
        return ""
    text = value[:MAX_RATIONALE_CHARS].strip()
    return text if text.isprintable() else _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _no(message: str, failure: FailureClass) -> UnreadableError:
    return UnreadableError(message, failure=failure)
