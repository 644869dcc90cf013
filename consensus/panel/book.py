"""The book of prompts: framings, templates and fixed texts, the project's over the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consensus.errors import PromptError
from consensus.panel.framings import PLAIN, Framing
from consensus.panel.templates import Template
from consensus.tasks import Kind

__all__ = ["KindTemplate", "PromptBook", "load_prompts"]


@dataclass(frozen=True, slots=True)
class KindTemplate:
    """How one kind of task is put.

    ``shared`` is the same for every seat of a task, ``ordered`` for every seat with the same
    order; ``answer`` and ``token`` hold the framing and the form of the answer.
    """

    kind: Kind
    version: int
    shared: Template | None
    ordered: Template | None
    answer: Template
    token: Template | None


@dataclass(frozen=True, slots=True, eq=False)
class PromptBook:
    """Every prompt in force. Made by :func:`load_prompts`; never changes.

    Attributes:
        framings: by name.
        templates: by kind.
        system: the system prompt of every judging seat.
        repair: asks again; uses ``problem`` and ``form``.
        debate: shows other judges' answers; uses ``answers`` and ``form``.
        scores: by kind, asks for a score of every option.
        candidates_subject, candidates_criteria: put candidates for a generated answer to a panel.
        sha256: hash of all of it; certificates hold it.
    """

    framings: Mapping[str, Framing]
    templates: Mapping[Kind, KindTemplate]
    system: str
    repair: Template
    debate: Template
    scores: Mapping[Kind, Template]
    candidates_subject: Template
    candidates_criteria: Template
    sha256: str
    _kind_hashes: Mapping[Kind, str]
    _sequences: dict[tuple[Kind, tuple[str, ...]], tuple[str, ...]] = field(default_factory=dict)
    prepared: dict[int, Any] = field(default_factory=dict, repr=False)
    tails: dict[Any, Any] = field(default_factory=dict, repr=False)
    shapes: dict[Any, Any] = field(default_factory=dict, repr=False)
    """What rendering remembers; bounded there, and of no meaning to anyone else."""

    def framing(self, name: str) -> Framing:
        """The framing of this name.

        Raises:
            PromptError: if there is none; it names those that there are.
        """
        try:
            return self.framings[name]
        except KeyError:
            raise PromptError(
                f'unknown framing "{name[:64]}"', fix=f"one of {', '.join(sorted(self.framings))}"
            ) from None

    def framings_for(self, kind: Kind) -> tuple[Framing, ...]:
        """The framings that suit a kind, in the default sequence; ``plain`` is always first."""
        suited = [f for f in self.framings.values() if kind in f.kinds]
        return tuple(sorted(suited, key=lambda f: (f.name != PLAIN, f.order, f.name)))

    def sequence(self, kind: Kind, names: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The names in which framings are dealt to seats: ``names`` if given, else the default.

        Raises:
            PromptError: an unknown framing, or one that does not suit the kind.
        """
        key = (kind, names)
        found = self._sequences.get(key)
        if found is None:
            for name in names:
                framing = self.framing(name)
                if kind not in framing.kinds:
                    raise PromptError(
                        f'framing "{name}" does not suit tasks of kind "{kind}"',
                        where=framing.file,
                        fix=f"one of {', '.join(f.name for f in self.framings_for(kind))}",
                    )
            found = names or tuple(f.name for f in self.framings_for(kind))
            if len(self._sequences) < 1024:
                self._sequences[key] = found
        return found

    def kind_sha256(self, kind: Kind) -> str:
        """Hash of the prompts that a task of this kind can meet."""
        return self._kind_hashes[kind]


def load_prompts(folder: Path | None) -> PromptBook:
    """Read the packaged prompts, and a project's over them.

    A project's framing replaces the default of the same name, or joins them; its templates and
    fixed texts replace the defaults of the same file name.

    Args:
        folder: the project's ``prompts/``; None for the defaults alone.

    Raises:
        PromptError: naming ``file:line`` and the fix.
    """
    from consensus.panel._shelf import Shelf
    from consensus.resources import packaged

    shelf = Shelf()
    shelf.add(packaged("prompts"))
    if folder is not None:
        shelf.add(Path(folder))
    return shelf.book()
