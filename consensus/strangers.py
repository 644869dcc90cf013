"""Files that a stranger may have written: regular ones, read within bounds, compressed or not.

A small ``.gz`` may hold more than a machine does, a line may never end, brackets may nest deeper
than the parser's stack, and a device or a pipe may give bytes for ever. Whatever such a file holds,
reading it ends in data or in one clear error.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tomllib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from consensus.errors import DataError, DeclarationError

__all__ = [
    "LONG_KEY",
    "MAX_EXPANDED_BYTES",
    "MAX_LINE_BYTES",
    "inside",
    "numbered_lines",
    "open_bounded",
    "parse_json",
    "parse_toml",
    "read_bounded",
    "read_json",
]

MAX_EXPANDED_BYTES = 4_000_000_000
"""What is read line by line may be this long, once unpacked."""

MAX_LINE_BYTES = 24_000_000
"""The longest line of JSON: a task of four million bytes, each escaped."""


MAX_DOCUMENT_BYTES = 64_000_000
"""What is read whole may be this long."""

LONG_KEY = re.compile(r"""(?<![A-Za-z0-9_"'\-])(?:[A-Za-z0-9_"'\-]++[ \t]*+\.[ \t]*+){64}""")
"""tomllib takes quadratic time over the parts of one key, minutes for a few ten thousand.

It begins at a word's beginning and gives nothing back, or one long word would take minutes too.
"""


def inside(
    folder: Path, name: str, *, error: type[DeclarationError] = DataError, where: str | None = None
) -> Path:
    """A file of this folder; a name with ``..``, or that leads out by a link, is refused.

    Raises:
        DeclarationError: of the class ``error``.
    """
    at = where or str(folder)
    try:
        root = folder.resolve()
        path = (root / name).resolve()
    except (ValueError, OSError, RuntimeError):  # a null byte, a link that leads to itself
        raise error(f"file {name[:200]!r} is no path of a file", where=at) from None
    if not path.is_relative_to(root) or ".." in Path(name).parts:
        raise error(f"file {name[:200]!r} lies outside its folder", where=at)
    return path


def read_bounded(path: Path, most: int, *, error: type[DeclarationError] = DataError) -> bytes:
    """A whole file, unpacked where it is ``.gz``.

    Raises:
        DeclarationError: of the class ``error``: no regular file, unreadable, damaged, or longer
            than ``most`` bytes.
    """
    with open_bounded(path, most, error=error) as stream:
        return stream.read()


def open_bounded(
    path: Path, most: int | None = None, *, error: type[DeclarationError] = DataError
) -> io.BufferedReader:
    """A file's bytes, unpacked where it is ``.gz``; reading beyond ``most`` of them is an error.

    Raises:
        DeclarationError: as :func:`read_bounded`, here or while it is read.
    """
    where = str(path)
    try:
        if path.exists() and not path.is_file():
            raise error("is not a regular file", where=where)
        raw: IO[bytes] = path.open("rb")
    except OSError as caught:
        raise error(f"cannot be read: {caught.strerror}", where=where) from None
    except ValueError:
        raise error("is no path of a file", where=where) from None
    unpacked: Any = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
    bound = MAX_EXPANDED_BYTES if most is None else most
    return io.BufferedReader(_Bounded(unpacked, raw, bound, where, error), 1 << 16)


class _Bounded(io.RawIOBase):
    def __init__(
        self, inner: Any, raw: IO[bytes], most: int, where: str, error: type[DeclarationError]
    ) -> None:
        self._inner, self._raw = inner, raw
        self._left, self._most = most, most
        self._where, self._error = where, error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._inner.read(len(buffer))
        except (OSError, EOFError, zlib.error) as caught:
            raise self._error(f"cannot be read whole: {caught}", where=self._where) from None
        self._left -= len(data)
        if self._left < 0:
            raise self._error(f"is longer than {self._most:,} bytes", where=self._where)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inner.close()
        self._raw.close()
        super().close()


def numbered_lines(
    path: Path,
    most: int | None = None,
    *,
    line: int = MAX_LINE_BYTES,
    error: type[DeclarationError] = DataError,
) -> Iterator[tuple[int, bytes | None]]:
    """The lines that are not blank, with their numbers from 1; None for one that is too long.

    Raises:
        DeclarationError: as :func:`open_bounded`.
    """
    with open_bounded(path, most, error=error) as stream:
        number = 0
        while raw := stream.readline(line + 1):
            number += 1
            if len(raw) > line:
                while raw and not raw.endswith(b"\n"):
                    raw = stream.readline(line)
                yield number, None
            elif raw.strip():
                yield number, raw


def parse_json(data: bytes | str) -> Any:
    """A JSON value.

    Raises:
        ValueError: it is none, is not UTF-8, or is nested too deeply.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def read_json(path: Path, most: int = MAX_DOCUMENT_BYTES) -> Any:
    """The JSON value that a file is.

    Raises:
        DataError: as :func:`read_bounded`.
        ValueError: as :func:`parse_json`.
    """
    return parse_json(read_bounded(path, most))


def parse_toml(data: bytes) -> dict[str, Any]:
    """A TOML table.

    Raises:
        ValueError: it is none, is not UTF-8, is nested too deeply, or would take for ever.
    """
    text = data.decode().replace("\r\n", "\n")
    if LONG_KEY.search(text):
        raise ValueError("a key has more than 64 parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
