"""Finding JSON in what a model wrote: tolerant of form, never of meaning.

Bounded in time and depth, whatever the text: a reply is a stranger's.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

__all__ = ["MAX_REPLY_CHARS", "NOT_JSON", "Found", "find_values", "load", "without_thinking"]

MAX_REPLY_CHARS = 1_000_000

MAX_STARTS = 64
"""Places in a reply that are tried as the beginning of a JSON value."""

MAX_ENDS = 8
"""Ends of thoughts that are looked at, the last first."""

MAX_REPAIRED_CHARS = 100_000
"""The longest reply in which trailing commas are forgiven."""

NOT_JSON: Any = object()

_TRAILING_COMMA = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)|(,)(?=\s*[}\]])', re.DOTALL)
_THOUGHTS_END = re.compile(r"</(?:think|thinking|thought|reasoning)>")
_THOUGHTS_BEGIN = re.compile(r"\s*<(?:think|thinking|thought|reasoning)>")
_LIKE_AN_OBJECT = re.compile(r"""\{\s*(?:["'“‘]|\w+\s*:)""")


class Found(NamedTuple):
    """What a text holds.

    ``values`` are its JSON values, those inside others aside; ``rest`` is the text around them;
    ``broken`` says that something began like an object and is none (or that there was more than
    can be looked at): then nothing after it can be trusted, since it may stand inside a string that
    was quoted badly.
    """

    values: list[Any]
    rest: str
    broken: bool


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number too large to hold")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_float)


def load(text: str) -> Any:
    """The JSON value that the whole text is, or :data:`NOT_JSON`.

    A key that stands twice, NaN, infinities and numbers as large as these make it none.
    """
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return NOT_JSON


def without_thinking(text: str) -> str:
    """The reply below the block of thoughts with which some open models begin.

    Thoughts that do not end leave nothing.
    """
    if "<" not in text or text.lstrip().startswith(("{", "[")):
        return text
    ends = list(_THOUGHTS_END.finditer(text))
    begun = _THOUGHTS_BEGIN.match(text)
    if not ends:
        return "" if begun else text
    start = ends[0].end() if begun else 0
    for end in reversed(ends[-MAX_ENDS:]):
        # One that stands inside an object was quoted there, perhaps from what is judged.
        if not find_values(text[start : end.start()]).broken:
            return text[end.end() :]
    return text[start:]


def find_values(text: str, *, opening: str = "{") -> Found:
    """The JSON values in a text: the whole of it, else those that stand in its prose or code.

    A trailing comma is forgiven.

    Args:
        text: at most :data:`MAX_REPLY_CHARS` characters.
        opening: the characters that may begin a value in prose.
    """
    whole = load(text.strip())
    if whole is not NOT_JSON:
        return Found([whole], "", broken=False)
    found = _in_prose(text, opening)
    if found.broken and len(text) <= MAX_REPAIRED_CHARS:
        mended = _TRAILING_COMMA.sub(lambda m: "" if m.group(1) else m.group(0), text)
        if mended != text:
            return _in_prose(mended, opening)
    return found


def _in_prose(text: str, opening: str) -> Found:
    values: list[Any] = []
    rest: list[str] = []
    kept = position = 0
    starts = re.compile(f"[{re.escape(opening)}]")
    for _ in range(MAX_STARTS):
        match = starts.search(text, position)
        if match is None:
            return Found(values, "".join([*rest, text[kept:]]), broken=False)
        try:
            value, end = _DECODER.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            if _LIKE_AN_OBJECT.match(text, match.start()):
                return Found(values, "".join([*rest, text[kept:]]), broken=True)
            position = match.start() + 1
        else:
            values.append(value)
            rest.append(text[kept : match.start()])
            kept = position = end
    return Found(values, "".join([*rest, text[kept:]]), broken=True)
