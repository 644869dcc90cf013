"""On which line of a TOML text each key stands.

``tomllib`` is the truth about what a text means; it does not say where. This scanner walks the
same text and notes the line of every table header, key and array element. It assumes a text that
``tomllib`` accepted; on one it did not accept, the index ends where the trouble starts.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Duplicate", "KeyPath", "LineIndex", "index_lines"]

KeyPath: TypeAlias = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_\-]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")
_STRINGS = (
    re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL),
    re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)


class _LostError(Exception):
    """The text is not TOML from here on."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A key that stands twice in one text."""

    path: KeyPath
    first: int
    second: int


@dataclass(slots=True)
class LineIndex:
    """Lines, counted from 1, by key path; array elements by their position."""

    said: dict[KeyPath, int] = field(default_factory=dict)
    implied: dict[KeyPath, int] = field(default_factory=dict)
    duplicates: list[Duplicate] = field(default_factory=list)

    def line(self, path: KeyPath) -> int | None:
        """The line of ``path``, or of the nearest key around it."""
        for end in range(len(path), 0, -1):
            found = self.said.get(path[:end]) or self.implied.get(path[:end])
            if found is not None:
                return found
        return None

    def say(self, path: KeyPath, line: int, *, parents: int = 0) -> None:
        """Note a key, and the tables it brings into being after the first ``parents`` parts."""
        if path in self.said:
            self.duplicates.append(Duplicate(path, self.said[path], line))
            return
        self.said[path] = line
        for end in range(parents + 1, len(path)):
            self.implied.setdefault(path[:end], line)


def index_lines(text: str) -> LineIndex:
    """The line of every key in ``text``."""
    scanner = _Scanner(text)
    with suppress(_LostError, RecursionError, IndexError):
        scanner.document()
    return scanner.index


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.index = LineIndex()
        self.counts: dict[KeyPath, int] = {}
        self.starts = [0, *(m.end() for m in re.finditer("\n", text))]

    @property
    def line(self) -> int:
        return bisect_right(self.starts, self.at)

    def skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise _LostError
        self.at = match.end()
        return match.group()

    def expect(self, token: str) -> None:
        if not self.text.startswith(token, self.at):
            raise _LostError
        self.at += len(token)

    def peek(self, token: str) -> bool:
        return self.text.startswith(token, self.at)

    def document(self) -> None:
        table: KeyPath = ()
        self.skip(_BLANK)
        while self.at < len(self.text):
            if self.peek("["):
                table = self.header()
            else:
                self.pair(table)
            self.skip(_BLANK)

    def header(self) -> KeyPath:
        line = self.line
        many = self.peek("[[")
        self.expect("[[" if many else "[")
        self.skip(_SPACE)
        parts = self.key()
        self.skip(_SPACE)
        self.expect("]]" if many else "]")
        path: KeyPath = ()
        for part in parts[:-1]:
            path = (*path, part)
            if path in self.counts:  # inside the latest element of an array of tables
                path = (*path, self.counts[path] - 1)
        path = (*path, parts[-1])
        if many:
            position = self.counts[path] = self.counts.get(path, 0) + 1
            self.index.implied.setdefault(path, line)
            path = (*path, position - 1)
        self.index.say(path, line)
        return path

    def pair(self, table: KeyPath) -> None:
        line = self.line
        path = (*table, *self.key())
        self.index.say(path, line, parents=len(table))
        self.skip(_SPACE)
        self.expect("=")
        self.skip(_SPACE)
        self.value(path)

    def key(self) -> list[str]:
        parts = [self.key_part()]
        while True:
            self.skip(_SPACE)
            if not self.peek("."):
                return parts
            self.at += 1
            self.skip(_SPACE)
            parts.append(self.key_part())

    def key_part(self) -> str:
        if self.peek('"') or self.peek("'"):
            raw = self.string()
            try:
                return str(tomllib.loads(f"k={raw}")["k"])
            except tomllib.TOMLDecodeError as error:
                raise _LostError from error
        return self.skip(_BARE_KEY)

    def string(self) -> str:
        for pattern in _STRINGS:
            match = pattern.match(self.text, self.at)
            if match is not None:
                self.at = match.end()
                return match.group()
        raise _LostError

    def value(self, path: KeyPath) -> None:
        if self.peek('"') or self.peek("'"):
            self.string()
        elif self.peek("["):
            self.array(path)
        elif self.peek("{"):
            self.inline_table(path)
        else:
            self.skip(_SCALAR)

    def array(self, path: KeyPath) -> None:
        self.at += 1
        position = 0
        self.skip(_BLANK)
        while not self.peek("]"):
            item = (*path, position)
            self.index.said[item] = self.line
            self.value(item)
            position += 1
            self.skip(_BLANK)
            if not self.peek(","):
                break
            self.at += 1
            self.skip(_BLANK)
        self.expect("]")

    def inline_table(self, path: KeyPath) -> None:
        self.at += 1
        self.skip(_BLANK)
        while not self.peek("}"):
            self.pair(path)
            self.skip(_BLANK)
            if not self.peek(","):
                break
            self.at += 1
            self.skip(_BLANK)
        self.expect("}")
