"""The page's data with all that the ledger knows beside its decisions: the queue and the watch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from consensus.ledger.feedback import queue
from consensus.ledger.store import Ledger
from consensus.ledger.watch.incident import incidents
from consensus.panel.book import PromptBook
from consensus.policy.staleness import Current
from consensus.policy.table import PolicyTable
from consensus.server.page.data import page_data, review_data

if TYPE_CHECKING:
    from consensus.models.prices import PriceBook
    from consensus.models.rates import ModelPrice

__all__ = ["current_of", "read_page", "read_review"]

QUEUE = 1_000
"""Decisions that wait, of which no more are counted: nobody settles a thousand by hand."""


def read_page(
    ledger: Ledger,
    table: PolicyTable,
    *,
    since: float | None = None,
    text: bool = False,
    newest: int = 50,
    receipts: Sequence[str] = (),
    current: Current | None = None,
    book: PromptBook | None = None,
    frontier: str | None = None,
    prices: PriceBook | None = None,
    now: float | None = None,
) -> dict[str, Any]:
    """:func:`~consensus.server.page.data.page_data` with the ledger's queue and open incidents.

    Args:
        frontier: the model of the all-frontier arithmetic; None: the first of the policy's tier
            ``frontier``, if there is one.
        prices: today's; None: the price map with the policy's own over it.
        now: seconds since 1970; None: the clock.

    Raises:
        LedgerError: the ledger cannot be read.
        PriceError: the frontier's price is not known.
    """
    return page_data(
        ledger,
        table,
        since=since,
        text=text,
        newest=newest,
        receipts=receipts,
        incidents=incidents(ledger),
        waiting=queue(ledger, limit=QUEUE),
        current=current,
        book=book,
        frontier=_frontier(table, frontier, prices),
        now=now,
    )


def read_review(
    ledger: Ledger,
    table: PolicyTable,
    types: Sequence[str] | None,
    *,
    since: float | None = None,
    book: PromptBook | None = None,
) -> dict[str, Any]:
    """What those see who settle decisions of these types: what waits, what was decided lately.

    Args:
        types: None: all of them.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    waiting = queue(ledger, task_type=types, limit=QUEUE)
    return review_data(ledger, table, types, since=since, waiting=waiting, book=book)


def current_of(table: PolicyTable, ledger: Ledger, prices: PriceBook) -> Current:
    """What holds today of what certificates rest on, as far as a running service knows it.

    Prompts and suites are files of the project: ``consensus policy check`` compares those too.
    """
    from consensus.ledger.served import newest_served
    from consensus.policy.oracles import oracle_of

    oracles = {
        name: oracle_of(table, row.oracle).sha256
        for name, row in table.tasks.items()
        if row.certificate is not None and row.oracle in table.oracles
    }
    return Current(
        today=datetime.now(UTC).date(),
        oracles=oracles,
        served=newest_served(ledger),
        prices=prices,
    )


def _frontier(
    table: PolicyTable, named: str | None, prices: PriceBook | None
) -> tuple[str, ModelPrice] | None:
    from consensus.models.prices import PriceBook
    from consensus.policy.estimate import frontier_model

    model = named or frontier_model(table)
    if model is None:
        return None
    book = PriceBook(table.price_overrides()) if prices is None else prices
    return model, book.price(model)
