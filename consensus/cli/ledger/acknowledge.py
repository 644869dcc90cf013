"""``consensus ledger acknowledge``: somebody has looked at an incident."""

from __future__ import annotations

from typing import Annotated

import typer

from consensus.cli._console import print_json
from consensus.cli.ledger._shared import Json, LedgerOption, PolicyOption, opened
from consensus.cli.ledger.incidents import tell

__all__ = ["acknowledge"]


def acknowledge(
    incident: Annotated[str, typer.Argument(metavar="INCIDENT", help="Its id, or how it begins.")],
    *,
    by: Annotated[str, typer.Option(help="Who, or why.")] = "acknowledged",
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """End an incident; its monitor counts anew. A demoted row stays so until it is promoted.

    Example:
      consensus ledger acknowledge 01J9Z4 --by "ann: a holiday's traffic"
    """
    from consensus.ledger.watch import acknowledge as end

    with opened(ledger, policy) as book:
        ended = end(book, incident, by=by)
    if as_json:
        print_json(ended.to_json())
    else:
        tell(ended)
