"""``consensus policy promote``: a demoted row serves by its own route again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consensus.cli._console import note, print_json, stdout
from consensus.cli.policy._shared import Json, PolicyOption

__all__ = ["promote"]


def promote(
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="A task type.")],
    *,
    by: Annotated[str, typer.Option(help="Who, or why; kept with the incidents.")] = "promoted",
    ledger: Annotated[
        Path | None, typer.Option("--ledger", help="The ledger's file.", show_default=False)
    ] = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """Let a demoted row serve by its own route again, and end its open incidents.

    A row that is certified anew needs no promotion: its demotion held for the old evidence.

    Example:
      consensus policy promote refund_approval --by "ann: the new prompt was rolled back"
    """
    from consensus.ledger.place import ledger_path
    from consensus.ledger.store import Ledger
    from consensus.ledger.watch import acknowledge, incidents
    from consensus.policy.demotion import promote as lift
    from consensus.policy.load import find_policy

    folder = find_policy(policy)
    path = lift(folder, task_type)
    ended = []
    place = ledger_path(ledger, policy=folder)
    if place.exists():
        with Ledger(place, must_exist=True) as book:
            for one in incidents(book, task_type=task_type):
                acknowledge(book, one.incident_id, by=by)
                ended.append(one.incident_id)
    else:
        note(f"note: no ledger at {place}; open incidents of it are not ended")
    if as_json:
        print_json({"task_type": task_type, "file": str(path), "ended": ended})
        return
    told = f"; {len(ended)} incident{'' if len(ended) == 1 else 's'} ended" if ended else ""
    stdout().print(f"{task_type} serves by its own route again ({path}){told}", markup=False)
