"""``consensus ledger watch``, ``incidents``, ``acknowledge``: production against the profiles."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.cli._console import note, print_json, stdout
from consensus.cli._ledger import Json, LedgerOption, PolicyOption, opened
from consensus.errors import ConsensusError

if TYPE_CHECKING:
    from consensus.ledger.watch.incident import Incident
    from consensus.ledger.watch.looking import Look, Watched

__all__ = ["acknowledge", "incidents", "watch"]


def watch(
    *,
    once: Annotated[bool, typer.Option("--once", help="Look once and end: for cron.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print nothing where nothing is open.")
    ] = False,
    demote: Annotated[
        bool,
        typer.Option(help="Demote rows that allow it (demote = true): writes demoted.toml."),
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


def incidents(
    *,
    task_type: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Those that have ended too.")] = False,
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """List incidents, the latest first: what differs from the profile, since when, and what to run.

    Example:
      consensus ledger incidents --type refund_approval --all
    """
    from consensus.ledger.watch import incidents as find

    with opened(ledger, policy) as book:
        found = find(book, task_type=task_type, only_open=not every)
    if as_json:
        print_json([one.to_json() for one in found])
    elif not found:
        note("no incident" if every else "nothing is open")
    for one in () if as_json else found:
        _tell(one)


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
        _tell(ended)


def _demoted(table: Any) -> frozenset[str]:
    from consensus.policy.demotion import demotion_of

    return frozenset(name for name in table.demoted if demotion_of(table, name) is not None)


def _show(found: Look, *, demoted: frozenset[str]) -> None:
    from rich.markup import escape
    from rich.table import Table

    out = stdout()
    if found.rows:
        grid = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("type", "monitor", "since", "decisions", "now", "profile", "ratio", "p"):
            grid.add_column(name, justify="left" if name in ("type", "monitor") else "right")
        for row in found.rows:
            for cells in _lines(row, demoted=row.task_type in demoted):
                grid.add_row(*(escape(cell) for cell in cells))
        out.print(grid)
    for name in found.unwatched:
        out.print(f"[dim]{escape(name)}: no profile to hold it against (consensus policy propose)")
    if not found.rows and not found.unwatched:
        out.print("[dim]the policy has no rows")
    counted = f"{found.read:,} new decision{'' if found.read == 1 else 's'}"
    out.print(f"{counted}; {len(found.open)} open, {len(found.opened)} of them new")
    for one in found.open:
        _tell(one)


def _lines(row: Watched, *, demoted: bool) -> Iterator[tuple[str, ...]]:
    name = row.task_type
    if demoted:
        yield (name, "demoted: serves by its strongest step", *[""] * 6)
        return
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


def _tell(one: Incident) -> None:
    from rich.markup import escape

    from consensus.ledger.watch.incident import stamp

    out = stdout()
    state = "[bold red]open[/]" if one.open else f"[dim]ended: {escape(one.closed_by or '')}[/]"
    out.print(f"{state} {one.incident_id} since {stamp(one.opened_at)}")
    out.print(f"  {escape(one.says)}", soft_wrap=True)
    if one.open and one.evidence.get("command"):
        out.print(f"  to measure it again: {escape(str(one.evidence['command']))}", soft_wrap=True)
