"""``consensus ledger migrate``: from one place to another, SQLite or PostgreSQL."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

__all__ = ["migrate"]

Source = Annotated[
    str, typer.Argument(metavar="FROM", help="A file, or NAME of a variable with a URL.")
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="TO",
        help="The same. postgresql://… works too, but a password in it can be read by everyone "
        "who may list this machine's processes.",
    ),
]


def migrate(
    source: Source,
    target: Target,
    batch: Annotated[int, typer.Option(min=1, max=100_000, help="Rows a transaction.")] = 500,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Take every record over into another ledger, and check that none is missing.

    Cut short, it goes on where it was when it is run again. At the end rows, values and sums of
    both are compared, table by table; exit 1 if they differ. The source is left as it is.

    Example, with the URL in a variable:

    export CONSENSUS_LEDGER_URL=postgresql://me:secret@db.internal/consensus

    consensus ledger migrate .consensus/ledger.db CONSENSUS_LEDGER_URL

    From then on the policy says \\[ledger] url_env = "CONSENSUS_LEDGER_URL" in place of path.
    """
    from consensus.ledger.page import safe_json
    from consensus.ledger.store import Ledger
    from consensus.ledger.transfer import transfer

    with Ledger(_named(source), must_exist=True) as old, Ledger(_named(target)) as new:
        found = transfer(old, new, batch=batch, progress=None if quiet else _progress)
    if as_json:
        sys.stdout.write(f"{safe_json(found.to_json())}\n")
        return
    for table in found.tables:
        cost = table.sums.get("cost_pico (sum)")
        said = f"{table.table}: {table.rows:,} rows, {table.copied:,} of them now"
        sys.stdout.write(f"{said}{'' if cost is None else f'; {_dollars(cost)}'}\n")
    sys.stdout.write(f"{found.target} holds what {found.source} holds\n")


def _named(given: str) -> str:
    """A variable's value where one of that name is set; else what was given."""
    import os

    value = os.environ.get(given) if given.isupper() and given.isidentifier() else None
    return value or given


def _dollars(pico: int) -> str:
    from consensus.ballots import PICO

    return f"{pico / PICO:,.6f} US dollars"


def _progress(table: str, done: int, total: int) -> None:
    if sys.stderr.isatty() and total:
        sys.stderr.write(f"\r{table}: {done:,} of {total:,}\x1b[K")
        if done >= total:
            sys.stderr.write("\n")
        sys.stderr.flush()
