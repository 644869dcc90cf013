"""``consensus ledger verify``: whether the ledger still adds up."""

from __future__ import annotations

import typer

from consensus.cli.ledger._shared import Json, LedgerOption, PolicyOption, opened, print_json, say

__all__ = ["verify"]


def verify(ledger: LedgerOption = None, policy: PolicyOption = None, as_json: Json = False) -> None:
    """Check the file, every receipt's hash, and that costs add up; exit 1 if anything is wrong."""
    from consensus.ledger.verify import verify as check

    with opened(ledger, policy) as book:
        result = check(book)
        where = book.where
    if as_json:
        print_json(
            {
                "ledger": where,
                "ok": result.ok,
                "decisions": result.decisions,
                "calls": result.calls,
                "unfinished": result.unfinished,
                "problems": list(result.problems),
            }
        )
    else:
        for problem in result.problems:
            say(problem)
        verdict = "sound" if result.ok else "NOT sound"
        say(
            f"{where}: {verdict}; {result.decisions:,} decisions, {result.calls:,} calls, "
            f"{result.unfinished:,} unfinished decisions"
        )
    if not result.ok:
        raise typer.Exit(1)
