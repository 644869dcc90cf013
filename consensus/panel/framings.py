"""A framing: one way of putting the question, so that seats look at different things."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consensus.errors import PromptError
from consensus.tasks import KINDS, Kind

if TYPE_CHECKING:
    from consensus.panel._documents import Document

__all__ = ["MAX_FRAMING_CHARS", "PLAIN", "Framing", "parse_framing"]

PLAIN = "plain"
"""The framing of seat 0, and of every single call."""

MAX_FRAMING_CHARS = 4_000

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Framing:
    """A way of putting the question.

    Attributes:
        name: how policies and ballots name it.
        title: for people.
        kinds: the kinds of task it suits.
        order: its place in the default sequence; smaller comes first.
        version: raised when the words change.
        body: the instruction itself.
        file: where it was read.
    """

    name: str
    title: str
    kinds: frozenset[Kind]
    order: int
    version: int
    body: str
    file: str


def parse_framing(document: Document) -> Framing:
    """Make a framing of a file.

    Raises:
        PromptError: naming ``file:line`` and the fix.
    """
    document.only("name", "title", "kinds", "order", "version")
    name = document.text("name")
    if not _NAME.fullmatch(name) or len(name) > 64:
        raise PromptError(
            f'"{name[:64]}" is not a name',
            where=document.at("name"),
            fix="lower-case letters and digits, joined by hyphens",
        )
    body = document.body.strip()
    where = f"{document.file}:{document.body_line}"
    if not body:
        raise PromptError("has no instruction below the front matter", where=where)
    if len(body) > MAX_FRAMING_CHARS:
        raise PromptError(
            f"the instruction is longer than {MAX_FRAMING_CHARS:,} characters", where=where
        )
    return Framing(
        name=name,
        title=document.text("title"),
        kinds=_kinds(document),
        order=document.integer("order", 1000),
        version=document.integer("version"),
        body=body,
        file=document.file,
    )


def _kinds(document: Document) -> frozenset[Kind]:
    one_of = f"a list of some of {', '.join(KINDS)}"
    given = document.meta.get("kinds")
    where = document.at("kinds")
    if not isinstance(given, list) or not given:
        raise PromptError('"kinds" must be a list', where=where, fix=one_of)
    for kind in given:
        if kind not in KINDS:
            raise PromptError(f'unknown kind "{str(kind)[:40]}"', where=where, fix=one_of)
    return frozenset(given)
