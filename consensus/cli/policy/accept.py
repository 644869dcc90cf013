"""``consensus policy accept``: a proposal's rows, with their evidence, into the policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consensus.cli._console import note, print_json, stdout
from consensus.cli.policy._shared import Json, PolicyOption

__all__ = ["accept"]


def accept(
    proposal: Annotated[Path, typer.Argument(help="What consensus policy propose wrote.")],
    *,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only the row of this task type; repeatable.", show_default=False),
    ] = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """Write proposed rows, certificates and profiles into the policy; comments and order stay.

    Refused if the table was changed since the proposal, or would not load with the new rows: then
    nothing is written.

    Example:
      consensus policy accept proposal.json --only refund_approval
    """
    from consensus.benchmark.proposals.accepting import accept as write
    from consensus.benchmark.proposals.model import load_proposal
    from consensus.policy.load import find_policy

    loaded = load_proposal(proposal)
    folder = find_policy(policy if policy is not None else Path(loaded.policy))
    done = write(loaded, folder, only=only or ())
    if as_json:
        print_json(
            {
                "rows": list(done.rows),
                "files": [str(path) for path in done.files],
                "version_hash": done.table.version_hash,
            }
        )
        return
    for name in done.rows:
        certificate = done.table.tasks[name].certificate
        status = certificate.status if certificate is not None else "unproven"
        stdout().print(f"{name}: {status}", markup=False)
    files = ", ".join(str(path) for path in done.files)
    note(f"wrote {files}; policy version {done.table.version_hash}")
