"""``consensus ledger path``: where the ledger lies."""

from __future__ import annotations

import sys

from consensus.cli.ledger._shared import Json, LedgerOption, PolicyOption, print_json

__all__ = ["path"]


def path(ledger: LedgerOption = None, policy: PolicyOption = None, as_json: Json = False) -> None:
    """Print where the ledger lies, whether it is there yet or not."""
    from consensus.ledger.place import ledger_path

    place = ledger_path(ledger, policy=policy).absolute()
    if as_json:
        print_json({"path": str(place), "exists": place.exists()})
    else:
        sys.stdout.write(f"{place}\n")
