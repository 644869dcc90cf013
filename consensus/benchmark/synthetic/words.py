"""The words with which cases are asked for: ``prompts/synthesis/cases.md``."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from consensus.panel._documents import read_document, sections_of
from consensus.panel.templates import Template, compile_template
from consensus.resources import packaged

__all__ = ["CaseWords", "load_words"]

_VARIABLES: dict[str, object] = {
    "product": "a shop",
    "description": "some question",
    "criteria": "some rule",
    "kind": "approve",
    "options": ("one", "two"),
    "low": "1",
    "high": "5",
    "sources": ("a form",),
    "category": "returns",
    "category_description": "some returns",
    "examples": ("some text",),
    "avoid": ("some text",),
    "count": 4,
    "words": 40,
    "variety": "Some variety.",
    "target": "one",
    "tactic": "some tactic",
}


@dataclass(frozen=True, slots=True)
class CaseWords:
    """The compiled prompt. ``sha256`` covers its text."""

    system: str
    request: Template
    sha256: str


def load_words(prompts: Path | None = None) -> CaseWords:
    """The project's own words where it has any, else the shipped ones.

    Args:
        prompts: the project's ``prompts/``; None for the shipped ones.

    Raises:
        PromptError: naming ``file:line`` and the fix.
    """
    own = None if prompts is None else prompts / "synthesis" / "cases.md"
    path = (
        own if own is not None and own.is_file() else packaged("prompts") / "synthesis" / "cases.md"
    )
    document = read_document(path, file=str(path))
    document.only("name", "version")
    sections = sections_of(document, ("system", "request"))
    made = {
        name: compile_template(
            text,
            file=str(path),
            line=line,
            variables=_VARIABLES if name == "request" else {},
            required=("description", "count") if name == "request" else (),
        )
        for name, (text, line) in sections.items()
    }
    if missing := {"system", "request"} - set(made):
        from consensus.errors import PromptError

        raise PromptError(f'has no section "{missing.pop()}"', where=str(path))
    text = made["system"].source + "\0" + made["request"].source
    return CaseWords(made["system"].render(), made["request"], sha256(text.encode()).hexdigest())
