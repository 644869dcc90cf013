"""What the commands of ``consensus ledger`` share: options, the ledger, and how they print."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from consensus.ledger.store import Ledger

__all__ = [
    "Json",
    "LedgerOption",
    "PolicyOption",
    "ReceiptArgument",
    "Since",
    "console",
    "opened",
    "print_json",
    "say",
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
LedgerOption = Annotated[
    Path | None,
    typer.Option("--ledger", help="The ledger's file, or postgresql://….", show_default=False),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option("--policy", help="The policy whose ledger is meant.", show_default=False),
]
ReceiptArgument = Annotated[
    str, typer.Argument(metavar="RECEIPT", help="A receipt's id, or how it begins.")
]
Since = Annotated[
    str | None,
    typer.Option(help="From this day on: 2026-11-22, 2026-11-22T08:30, or an age: 90m, 24h, 7d."),
]


@contextmanager
def opened(option: Path | None, policy: Path | None) -> Iterator[Ledger]:
    """The ledger that is meant; it must be there."""
    from consensus.ledger.place import ledger_path
    from consensus.ledger.store import Ledger

    with Ledger(ledger_path(option, policy=policy), must_exist=True) as book:
        yield book


def console() -> Any:
    """Where pages go: nothing in them is markup."""
    from rich.console import Console

    return Console(
        file=sys.stdout, width=None if sys.stdout.isatty() else 200, highlight=False, markup=False
    )


def say(text: str) -> None:
    """One line on stdout, with every character that is not visible escaped."""
    from consensus.ledger.page import clean

    sys.stdout.write(f"{clean(text)}\n")


def print_json(data: Any) -> None:
    """One JSON document on stdout, with characters that are not visible escaped."""
    from consensus.ledger.page import safe_json

    sys.stdout.write(f"{safe_json(data)}\n")
