"""``consensus ledger page``: what was decided, as one self-contained page for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consensus.cli.ledger._shared import Json, LedgerOption, opened, print_json

__all__ = ["page"]


def page(
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page to write; - is stdout.", show_default=False),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="From this moment on: 2026-11-22, 2026-11-22T08:30, or an age: 90m, 24h, 7d.",
            show_default=False,
        ),
    ] = None,
    newest: Annotated[
        int, typer.Option(min=1, max=2_000, help="How many of the latest decisions to list.")
    ] = 50,
    receipt: Annotated[
        list[str] | None,
        typer.Option(
            "--receipt",
            help="A further receipt to put in, by its id or how it begins; may be repeated.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        bool,
        typer.Option(
            "--text",
            help="Show judged text, rationales and rankings where the ledger keeps them: "
            "whoever gets the file can read them.",
        ),
    ] = False,
    frontier: Annotated[
        str | None,
        typer.Option(
            help="The model to compare costs with. Default: the first of the policy's tier "
            "frontier.",
            show_default=False,
        ),
    ] = None,
    ledger: LedgerOption = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            help="Folder or file whose rows, profiles and certificates are shown; strategies/ "
            "here, else the shipped defaults.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one page: decisions, cost, escalations against the profile, certificates, receipts.

    It needs no network and no server; a receipt is opened by #receipt=ID behind its address.

    Example:
      consensus ledger page --out decisions.html --since 7d
      consensus ledger page --out audit.html --text --receipt 01JD3X
    """
    from consensus.cli._files import write_text
    from consensus.cli._time import moment
    from consensus.cli.policy._shared import prompts_of
    from consensus.cli.policy.check import current_state
    from consensus.policy.load import find_policy, load_policy
    from consensus.server.page import render_page
    from consensus.server.page.reading import read_page

    if out is None and not as_json:
        raise typer.BadParameter("say where: --out FILE.html (or --json)")
    folder = find_policy(policy)
    table, prompts = load_policy(folder), prompts_of(folder)
    start = moment(since)
    with opened(ledger, policy) as book:
        for one in receipt or ():
            book.receipt(one)  # one that is not there is an error here, and no page
        data = read_page(
            book,
            table,
            since=start,
            text=text,
            newest=newest,
            receipts=receipt or (),
            current=current_state(table, folder, prompts),
            book=prompts,
            frontier=frontier,
        )
    if out is not None:
        write_text(out, render_page(data))
    if as_json:
        print_json(data)
