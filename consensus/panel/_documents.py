"""A prompt file: YAML front matter, then a body, perhaps in sections.

Files may come from strangers: sizes are bounded, YAML is read by a safe loader that knows no
aliases (so no bomb can unfold), and a key that stands twice is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from consensus.errors import PromptError

__all__ = ["MAX_FILE_BYTES", "MAX_FRONT_MATTER_BYTES", "Document", "read_document", "sections_of"]

MAX_FILE_BYTES = 65_536
MAX_FRONT_MATTER_BYTES = 4_096

_SECTION = re.compile(r"^<!--\s*section:\s*([^\s>]*)\s*-->[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Document:
    """One prompt file, read.

    Attributes:
        file: as the user knows it; errors name it.
        meta: the front matter.
        lines: front matter key → its line in the file, from 1.
        body: the text below the front matter, line ends as ``\\n``.
        body_line: the line on which the body begins.
    """

    file: str
    meta: dict[str, Any]
    lines: dict[str, int]
    body: str
    body_line: int

    def at(self, key: str) -> str:
        """``file:line`` of a key, or of the front matter where the key is absent."""
        return f"{self.file}:{self.lines.get(key, 1)}"

    def text(self, key: str) -> str:
        """A front matter value that must be a non-blank string."""
        value = self._required(key)
        if not isinstance(value, str) or not value.strip():
            raise PromptError(
                f'"{key}" must be a text', where=self.at(key), fix=f"{key}: some text"
            )
        return value.strip()

    def integer(self, key: str, default: int | None = None) -> int:
        """A front matter value that must be a whole number from 0 to a million."""
        value = self.meta.get(key, default) if default is not None else self._required(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1_000_000:
            raise PromptError(
                f'"{key}" must be a whole number, 0 or more', where=self.at(key), fix=f"{key}: 1"
            )
        return value

    def only(self, *keys: str) -> None:
        """Refuse front matter keys other than these."""
        for key in self.meta:
            if key not in keys:
                raise PromptError(
                    f'unknown key "{key}"', where=self.at(key), fix=f"one of {', '.join(keys)}"
                )

    def _required(self, key: str) -> object:
        if key not in self.meta:
            raise PromptError(
                f'the front matter has no "{key}"', where=self.at(key), fix=f'add "{key}: …"'
            )
        return self.meta[key]


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without anchors and aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not allowed", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)


def read_document(path: Path, *, file: str) -> Document:
    """Read one prompt file.

    Raises:
        PromptError: naming ``file:line`` and what to write instead.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PromptError(f"cannot be read: {error.strerror}", where=file) from None
    if len(raw) > MAX_FILE_BYTES:
        raise PromptError(f"is larger than {MAX_FILE_BYTES:,} bytes", where=file)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise PromptError("is not UTF-8", where=f"{file}:{line}", fix="save it as UTF-8") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    head, body, body_line = _split(text, file)
    meta, lines = _front_matter(head, file)
    return Document(file=file, meta=meta, lines=lines, body=body, body_line=body_line)


def _split(text: str, file: str) -> tuple[str, str, int]:
    lines = text.split("\n")
    fix = 'begin the file with "---", the front matter, and "---" again'
    if lines[0].rstrip() != "---":
        raise PromptError("has no front matter", where=f"{file}:1", fix=fix)
    for number, line in enumerate(lines[1:], start=2):
        if line.rstrip() == "---":
            head = "\n".join(lines[1 : number - 1])
            if len(head.encode()) > MAX_FRONT_MATTER_BYTES:
                raise PromptError(
                    f"the front matter is larger than {MAX_FRONT_MATTER_BYTES:,} bytes",
                    where=f"{file}:1",
                )
            return head, "\n".join(lines[number:]), number + 1
    raise PromptError("the front matter does not end", where=f"{file}:1", fix=fix)


def _front_matter(head: str, file: str) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        node = yaml.compose(head, Loader=_PlainLoader)
        # The same bounded text again: composing gives the lines, loading gives the values.
        meta = yaml.load(head, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark is not None else 1
        raise PromptError(
            f"the front matter is not YAML: {error.problem}", where=f"{file}:{line}"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise PromptError("the front matter is not YAML", where=f"{file}:1") from None
    if not isinstance(meta, dict) or not isinstance(node, yaml.MappingNode):
        raise PromptError(
            "the front matter is not a mapping", where=f"{file}:1", fix='lines of "key: value"'
        )
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 2
        if not isinstance(key, yaml.ScalarNode):
            raise PromptError("a key must be a word", where=f"{file}:{line}")
        if key.value in lines:
            raise PromptError(
                f'"{key.value}" is given twice (first on line {lines[key.value]})',
                where=f"{file}:{line}",
                fix="keep one",
            )
        lines[key.value] = line
    return {str(key): value for key, value in meta.items()}, lines


def sections_of(document: Document, allowed: tuple[str, ...]) -> dict[str, tuple[str, int]]:
    """The body's sections, each begun by a line ``<!-- section: NAME -->``.

    Returns:
        name → its text, and the line on which that begins.
    """
    found: dict[str, tuple[str, int]] = {}
    marks = list(_SECTION.finditer(document.body))
    one_of = f"one of {', '.join(allowed)}"
    if not marks or document.body[: marks[0].start()].strip():
        raise PromptError(
            "the body must begin with a section",
            where=f"{document.file}:{document.body_line}",
            fix=f"<!-- section: {allowed[0]} -->",
        )
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        name = mark.group(1)
        line = document.body_line + document.body.count("\n", 0, mark.start())
        where = f"{document.file}:{line}"
        if name not in allowed:
            raise PromptError(f'unknown section "{name}"', where=where, fix=one_of)
        if name in found:
            raise PromptError(f'section "{name}" stands twice', where=where, fix="keep one")
        end = following.start() if following is not None else len(document.body)
        found[name] = (document.body[mark.end() + 1 : end], line + 1)
    return found
