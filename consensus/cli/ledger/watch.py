"""``consensus ledger watch``: production against the profiles."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from consensus.cli._console import note, print_json, stdout
from consensus.cli.ledger._shared import Json, LedgerOption, PolicyOption, opened
from consensus.cli.ledger.incidents import tell_all
from consensus.errors import ConsensusError

if TYPE_CHECKING:
    from consensus.ledger.watch.looking import Look, Watched
    from consensus.policy.table import PolicyTable

__all__ = ["watch"]


def watch(
    *,
    once: Annotated[bool, typer.Option("--once", help="Look once and end: for cron.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print nothing where nothing is open.")
    ] = False,
    demote: Annotated[
        bool,
        typer.Option(
            help="Demote rows that allow it (demote = true), to their last certificate that still "
            "holds, else to their strongest step: writes demoted.toml."
        ),
    ] = True,
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """Hold production against each row's profile; open incidents, tell of them, demote.

    Only what is new since the last look is read. An incident is told once, by every channel that
    the policy's alarms name. A rate alarms where it is more than 15 % over the profile's and a test
    that holds whenever one looks rejects; design/watching.md has its measured error and delay.

    Example:
      consensus ledger watch --once --quiet      (from cron, every ten minutes)
      consensus ledger watch --once --json | jq .open
    """
    from consensus.ledger.watch import Watcher
    from consensus.models.prices import PriceBook
    from consensus.policy.load import find_policy, load_policy

    folder = find_policy(policy)
    tables = [load_policy(folder)]

    async def again() -> None:
        tables[0] = load_policy(folder)

    with opened(ledger, policy) as book:
        watcher = Watcher(
            book,
            lambda: tables[0],
            prices=lambda: PriceBook(tables[0].price_overrides()),
            policy=folder if demote else None,
            reload=again,
        )

        async def look() -> None:
            found = await watcher.once()
            if as_json:
                print_json(found.to_json())
            elif found.open or not quiet:
                _show(found, demoted=_demoted(tables[0]))

        async def on_and_on() -> None:
            while True:
                try:
                    await look()
                    await asyncio.sleep(tables[0].watch.every_s)
                    await again()
                except ConsensusError as error:
                    # A lock, or a policy that is being edited: the next look may fare better.
                    note(f"error: {error}")
                    await asyncio.sleep(tables[0].watch.every_s)

        asyncio.run(look() if once else on_and_on())


def _demoted(table: PolicyTable) -> dict[str, str]:
    """By what each demoted row serves now."""
    from consensus.policy.demotion import serves_by

    found = {name: serves_by(table, name) for name in table.demoted}
    return {name: by for name, by in found.items() if by is not None}


def _show(found: Look, *, demoted: Mapping[str, str]) -> None:
    from rich.markup import escape
    from rich.table import Table

    out = stdout()
    if found.rows:
        grid = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("type", "monitor", "since", "decisions", "now", "profile", "ratio", "p"):
            grid.add_column(name, justify="left" if name in ("type", "monitor") else "right")
        for row in found.rows:
            for cells in _lines(row, demoted.get(row.task_type)):
                grid.add_row(*(escape(cell) for cell in cells))
        out.print(grid)
    for name in found.unwatched:
        out.print(f"[dim]{escape(name)}: no profile to hold it against (consensus policy propose)")
    if not found.rows and not found.unwatched:
        out.print("[dim]the policy has no rows")
    counted = f"{found.read:,} new decision{'' if found.read == 1 else 's'}"
    out.print(f"{counted}; {len(found.open)} open, {len(found.opened)} of them new")
    tell_all(found.open)


def _lines(row: Watched, demoted: str | None) -> Iterator[tuple[str, ...]]:
    name = row.task_type
    if demoted is not None:
        yield (name, f"demoted: serves by {demoted}", *[""] * 6)
        if row.earlier is None:
            return
        name = ""
    if not row.readings:
        yield (name, "nothing to compare yet", *[""] * 6)
    for reading in row.readings:
        found, share = reading.excess, reading.monitor not in ("cost", "output")
        dollars = "$" if reading.monitor == "cost" else ""
        rate, profile = (
            f"{value:.1%}" if share else f"{dollars}{value:.4g}"
            for value in (reading.rate, reading.profile)
        )
        since = _date(reading.since)
        p = f"{found.p_value:.2g}"
        yield name, reading.monitor, since, f"{found.n:,}", rate, profile, f"{found.ratio:.2f}", p
        name = ""


def _date(day: int) -> str:
    from datetime import date, timedelta

    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()
