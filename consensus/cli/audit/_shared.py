"""What the commands of ``consensus audit`` share: options, and the policy beside an audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from consensus.policy.table import PolicyTable

__all__ = ["AuditFile", "Json", "PolicyOption", "own_policy", "percent"]

AuditFile = Annotated[Path, typer.Argument(metavar="[AUDIT]", help="The audit's file.")]
PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        help="Folder or file of the policy; strategies/ here where there is one.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def own_policy(policy: Path | None) -> PolicyTable | None:
    """The policy named, or the project's own; None where there is none. Never the shipped one:
    an audit is not held against rows that nobody here has written.
    """
    from consensus.policy.load import PROJECT_FOLDER, load_policy

    if policy is None:
        project = Path(PROJECT_FOLDER)
        if not (project.is_dir() and any(project.glob("*.toml"))):
            return None
        policy = project
    return load_policy(policy, strict=False)


def percent(share: float, digits: int = 0) -> str:
    """A share as people read it."""
    return f"{100 * share:.{digits}f} %"
