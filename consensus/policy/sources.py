"""Reading TOML files into one mapping that knows where each key stands."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consensus.errors import PolicyError
from consensus.policy._lines import KeyPath, LineIndex, index_lines
from consensus.policy.findings import dotted
from consensus.policy.table import Place
from consensus.strangers import LONG_KEY

__all__ = ["MAX_FILES", "MAX_FILE_BYTES", "Sources", "read_sources"]

MAX_FILE_BYTES = 1 << 20
MAX_FILES = 500

_NAMED = (
    "providers",
    "prices",
    "tiers",
    "framing_sets",
    "strategies",
    "oracles",
    "tasks",
    "demoted",
    "history",
)
"""Tables of names, merged over files; everything else stands in one file."""

_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(slots=True)
class Sources:
    """The merged content of some TOML files.

    ``places`` has the file and line of every key and of every table that a key implies.
    """

    label: str
    files: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)


def read_sources(path: Path) -> Sources:
    """Read one file, or merge every ``*.toml`` of a folder (not of folders inside it).

    Raises:
        PolicyError: naming file and line: unreadable, too large, not TOML, or a name given twice.
    """
    sources = Sources(label=str(path))
    for file in _files(path):
        _merge(sources, file)
    return sources


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(p for p in path.glob("*.toml") if not p.name.startswith("."))
        if not found:
            raise PolicyError("holds no *.toml", where=str(path), fix="consensus init writes one")
        if len(found) > MAX_FILES:
            raise PolicyError(f"holds {len(found)} files; the most is {MAX_FILES}", where=str(path))
        return found
    if not path.exists():
        raise PolicyError("no such file or folder", where=str(path), fix="consensus init")
    return [path]


def _read(file: Path) -> str:
    if not file.is_file():  # a pipe or a device would block, a dangling link has nothing
        raise PolicyError("is not a regular file", where=str(file))
    try:
        with file.open("rb") as handle:
            content = handle.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PolicyError(f"cannot be read: {reason}", where=str(file)) from error
    if len(content) > MAX_FILE_BYTES:
        raise PolicyError(f"is larger than {MAX_FILE_BYTES:,} bytes", where=str(file))
    try:
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise PolicyError(
            "is not UTF-8 text", where=f"{file}:{line}", fix="save the file as UTF-8"
        ) from None


def _parse(file: Path, text: str) -> tuple[dict[str, Any], LineIndex]:
    if found := LONG_KEY.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise PolicyError("a key has more than 64 parts", where=f"{file}:{line}")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(file, text, str(error)) from None
    except RecursionError:
        raise PolicyError("is nested too deeply", where=str(file)) from None
    except ValueError as error:  # a date or a number that Python cannot hold
        raise PolicyError(f"is not TOML: {error}", where=str(file)) from None
    return data, index_lines(text)


def _syntax_error(file: Path, text: str, message: str) -> PolicyError:
    at = _AT.search(message)
    line = int(at.group(1)) if at and at.group(1) else text.rstrip().count("\n") + 1
    what = message[: at.start()] if at else message
    column = f", column {at.group(2)}" if at and at.group(2) else ""
    twice = re.match(r"Cannot (overwrite|declare|mutate)|Duplicate", what)
    if twice and (duplicates := index_lines(text).duplicates):
        found = duplicates[0]
        return PolicyError(
            f"{dotted(found.path)} is given twice, on lines {found.first} and {found.second}",
            where=f"{file}:{found.second}",
            fix="keep one",
        )
    return PolicyError(f"is not TOML: {what[:1].lower()}{what[1:]}{column}", where=f"{file}:{line}")


def _merge(sources: Sources, file: Path) -> None:
    data, index = _parse(file, _read(file))
    label = str(file)
    sources.files.append(label)

    def place(path: KeyPath) -> Place:
        return Place(label, index.line(path) or 1)

    def claim(path: KeyPath) -> None:
        if path in sources.places:
            raise PolicyError(
                f"{dotted(path)} is given twice, here and in {sources.places[path]}",
                where=str(place(path)),
                fix="keep one; a folder's *.toml are one table",
            )

    for key, value in data.items():
        if key in _NAMED and isinstance(value, dict):
            merged = sources.data.setdefault(key, {})
            if not isinstance(merged, dict):
                claim((key,))
            for name, entry in value.items():
                claim((key, name))
                merged[name] = entry
        elif key == "version" and sources.data.get("version", value) == value:
            sources.data[key] = value  # every file may say which format it is in
        else:
            claim((key,))
            sources.data[key] = value
    for path, line in (index.implied | index.said).items():
        sources.places.setdefault(path, Place(label, line))
