"""What the commands of ``consensus policy`` share: their options, and the prompts of a policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from consensus.panel.book import PromptBook

__all__ = ["Folder", "Json", "PolicyOption", "prompts_of"]

Folder = Annotated[
    Path | None,
    typer.Argument(help="Folder or file; strategies/ here, else the shipped defaults."),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option("--policy", help="Folder or file; strategies/ here, else the shipped defaults."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def prompts_of(folder: Path) -> PromptBook:
    """The framings and templates that hold for the policy of this folder."""
    from consensus.panel.book import load_prompts
    from consensus.policy.load import find_prompts

    return load_prompts(find_prompts(folder))
