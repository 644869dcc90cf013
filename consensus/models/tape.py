"""Recorded completions by content hash: a request that was answered once need not be paid again.

A tape is a file of JSON lines that is only ever appended to, so two runs can be joined with
``cat``, a diff shows what was added, and a process killed at any moment harms at most the line it
was writing. Only an index (hash → place in the file) is held in memory. Lines are parsed and
validated, never executed.

Where two lines carry one key, the later one counts: that is what recording again means.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, Self, get_args, runtime_checkable

from consensus.ballots import Usage
from consensus.errors import DataError
from consensus.models.protocol import Completion, PriceBasis

__all__ = [
    "MAX_LINE_BYTES",
    "CompletionSource",
    "Paid",
    "PaidSource",
    "Tape",
    "TapeMode",
    "completion_from_json",
    "completion_to_json",
]

MAX_LINE_BYTES: Final = 16_000_000
"""The longest line of a tape; longer answers are not recorded, longer lines are not read."""

TapeMode = Literal["record_missing", "record", "replay"]

_FINISHES: Final = frozenset({"stop", "length", "refusal", "tool", "other"})
_USAGE_FIELDS: Final = tuple(Usage.model_fields)
_FIELDS: Final = frozenset(
    {
        "text",
        "served_model",
        "usage",
        "finish",
        "latency_s",
        "request_id",
        "choice_probabilities",
        "coverage",
        "headers",
    }
)
_CANONICAL: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False)


# -- completions as JSON ---------------------------------------------------------------------------


def completion_to_json(completion: Completion) -> str:
    """One line of ASCII JSON that :func:`completion_from_json` reads back as an equal completion.

    Raises:
        DataError: a number in it is not finite.
    """
    usage = completion.usage
    data: dict[str, Any] = {
        "text": completion.text,
        "served_model": completion.served_model,
        "usage": {name: value for name in _USAGE_FIELDS if (value := getattr(usage, name))},
        "finish": completion.finish,
        "latency_s": completion.latency_s,
    }
    if completion.request_id is not None:
        data["request_id"] = completion.request_id
    if completion.choice_probabilities is not None:
        data["choice_probabilities"] = completion.choice_probabilities
    if completion.coverage is not None:
        data["coverage"] = completion.coverage
    if completion.headers:
        data["headers"] = completion.headers
    try:
        return _CANONICAL.encode(data)
    except ValueError:
        raise DataError("a completion holds a number that is not finite") from None


def completion_from_json(text: str | bytes, *, where: str | None = None) -> Completion:
    """Read a completion that :func:`completion_to_json` wrote.

    Raises:
        DataError: naming ``where`` and the field; nothing is guessed or coerced, and no recorded
            text is repeated.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError("a completion is not JSON", where=where) from None
    return _completion(data, where)


def _completion(data: object, where: str | None) -> Completion:
    if not isinstance(data, dict):
        raise DataError("a completion is not an object", where=where)
    if unknown := data.keys() - _FIELDS:
        raise DataError(f"a completion has the unknown field {min(unknown)!r}", where=where)

    def wrong(name: str, wanted: str) -> DataError:
        return DataError(f'a completion\'s "{name}" is not {wanted}', where=where)

    def text(name: str) -> str:
        value = data.get(name)
        if not isinstance(value, str):
            raise wrong(name, "text")
        return value

    def number(name: str, value: object, most: float = math.inf) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong(name, "a number")
        # A whole number of JSON may be larger than any float.
        if not (0 <= value <= min(most, sys.float_info.max)):
            raise wrong(name, f"a finite number from 0 to {most:g}")
        return float(value)

    usage = data.get("usage")
    if not isinstance(usage, dict) or usage.keys() - set(_USAGE_FIELDS):
        raise wrong("usage", "an object of token counts")
    for name, count in usage.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise wrong(f"usage.{name}", "a count")
    finish = text("finish")
    if finish not in _FINISHES:
        raise wrong("finish", f"one of {', '.join(sorted(_FINISHES))}")
    probabilities = data.get("choice_probabilities")
    if probabilities is not None and not isinstance(probabilities, list):
        raise wrong("choice_probabilities", "a list")
    coverage = data.get("coverage")
    headers = data.get("headers", {})
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        raise wrong("headers", "an object of texts")
    return Completion(
        text=text("text"),
        served_model=text("served_model"),
        usage=Usage.model_construct(**usage),
        finish=finish,  # type: ignore[arg-type] # checked against the closed set above
        latency_s=number("latency_s", data.get("latency_s", 0.0)),
        request_id=text("request_id") if data.get("request_id") is not None else None,
        choice_probabilities=None
        if probabilities is None
        else tuple(number("choice_probabilities", p, 1.0) for p in probabilities),
        coverage=None if coverage is None else number("coverage", coverage, 1.0),
        headers=headers,
    )


# -- where recorded answers come from --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Paid:
    """An answer that was paid for once, with what is known of that payment.

    ``cost_pico`` is None where the source kept no price; the served model is then priced again.
    """

    completion: Completion
    call_id: str = ""
    decision_id: str = ""
    cost_pico: int | None = None
    price_basis: PriceBasis = "served"


@runtime_checkable
class CompletionSource(Protocol):
    """Answers that are already there: a tape, a ledger."""

    def lookup(self, key: str) -> Completion | None:
        """The completion under this content hash, or None."""
        ...


@runtime_checkable
class PaidSource(CompletionSource, Protocol):
    """A source that also knows which call an answer came from and what it cost."""

    def recall(self, key: str) -> Paid | None:
        """The completion under this content hash with its payment, or None."""
        ...


_HEAD = re.compile(rb'\{"key":"([0-9a-f]{64})",')


class Tape:
    """Completions in an append-only file of JSON lines.

    Args:
        path: the file; made when first written to.
        mode: ``record_missing`` answers from the tape and records what it lacks; ``record`` asks
            again and records everything; ``replay`` only answers from the tape, and a request that
            it lacks is a :class:`DataError`: no call is ever made.

    Attributes:
        skipped: lines that could not be read (torn by a kill, not JSON, or longer than
            ``MAX_LINE_BYTES``). They are left where they are.

    Raises:
        DataError: the path is no readable file, or, with ``replay``, is absent.
    """

    def __init__(self, path: str | Path, mode: TapeMode = "record_missing") -> None:
        if mode not in get_args(TapeMode):
            raise DataError(f"unknown mode {mode!r}", fix=f"one of {', '.join(get_args(TapeMode))}")
        self.path = Path(path)
        self.mode: TapeMode = mode
        self.skipped = 0
        self._index: dict[str, tuple[int, int]] = {}
        self._torn = False
        flags = os.O_RDONLY if mode == "replay" else os.O_RDWR | os.O_CREAT | os.O_APPEND
        try:
            self._file = os.open(self.path, flags | getattr(os, "O_BINARY", 0), 0o600)
            self._scan()
        except OSError as error:
            raise DataError(
                f"the tape cannot be opened: {error.strerror}", where=str(path)
            ) from None

    def __len__(self) -> int:
        return len(self._index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def writable(self) -> bool:
        """Whether answers are recorded."""
        return self.mode != "replay"

    def lookup(self, key: str) -> Completion | None:
        """The completion under this key, or None.

        Raises:
            DataError: its line is JSON but holds no valid completion: the file was edited.
        """
        paid = self.recall(key)
        return None if paid is None else paid.completion

    def recall(self, key: str) -> Paid | None:
        """The completion under this key with its payment, or None.

        Raises:
            DataError: its line is JSON but holds no valid completion: the file was edited.
        """
        place = self._index.get(key)
        if place is None or self.mode == "record":
            return None
        offset, length = place
        where = f"{self.path} at byte {offset}"
        try:
            row = json.loads(os.pread(self._file, length, offset))
        except (ValueError, RecursionError):
            self.skipped += 1
            del self._index[key]
            return None
        if not isinstance(row, dict) or row.get("key") != key:
            raise DataError("the tape was changed while it was open", where=where)
        cost = row.get("cost_pico")
        basis = row.get("price_basis", "served")
        call_id, decision_id = row.get("call_id", ""), row.get("decision_id", "")
        if not (cost is None or (type(cost) is int and cost >= 0)):
            raise DataError('"cost_pico" is not a count', where=where)
        if basis not in get_args(PriceBasis):
            raise DataError('"price_basis" is unknown', where=where)
        if not (isinstance(call_id, str) and isinstance(decision_id, str)):
            raise DataError('"call_id" or "decision_id" is not text', where=where)
        completion = _completion(row.get("completion"), where)
        return Paid(completion, call_id, decision_id, cost, basis)

    def keep(self, key: str, paid: Paid) -> None:
        """Append an answer. On return it survives the death of this process.

        An answer too long for a line is not kept. In ``replay`` mode nothing is.

        Raises:
            DataError: the file cannot be written, or the completion holds a non-finite number.
        """
        if not self.writable:
            return
        head = _CANONICAL.encode(
            {
                "key": key,
                "v": 1,
                "call_id": paid.call_id,
                "decision_id": paid.decision_id,
                "cost_pico": paid.cost_pico,
                "price_basis": paid.price_basis,
            }
        )
        body = completion_to_json(paid.completion)
        line = f'{head[:-1]},"completion":{body}}}\n'.encode("ascii")
        if len(line) > MAX_LINE_BYTES:
            return
        if self._torn:
            line = b"\n" + line
        try:
            written = os.write(self._file, line)
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            self._torn = True
            raise DataError(
                f"the tape cannot be written: {error.strerror}", where=str(self.path)
            ) from None
        # With O_APPEND the kernel chose the place; another process may have written before us.
        end = os.lseek(self._file, 0, os.SEEK_CUR)
        start = end - len(line) + (1 if self._torn else 0)
        self._torn = False
        self._index[key] = (start, end - start)

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _scan(self) -> None:
        """Index every line; parse only those that this class did not write."""
        with self.path.open("rb") as lines:
            offset = 0
            while line := lines.readline(MAX_LINE_BYTES + 1):
                start, offset = offset, offset + len(line)
                if not line.endswith(b"\n"):
                    self.skipped += 1
                    while line and not line.endswith(b"\n"):
                        line = lines.readline(MAX_LINE_BYTES + 1)
                        offset += len(line)
                    self._torn = not line
                elif key := _line_key(line):
                    self._index[key] = (start, len(line))
                elif not line.isspace():
                    self.skipped += 1


def _line_key(line: bytes) -> str | None:
    match = _HEAD.match(line)
    if match and line.endswith(b"}\n"):
        return match[1].decode()
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    key = row.get("key") if isinstance(row, dict) else None
    return key if isinstance(key, str) else None
