"""Whether a ledger still tells the truth: its file, its hashes, its sums.

What is checked: SQLite's own integrity check; every receipt's bytes against the hash kept beside
them; that every receipt can be read and has the id it is kept under; that every decision costs
exactly what its calls cost (the frontier's call beside it and the shadow's have their own sums).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consensus.errors import DataError
from consensus.ledger.receipts import Receipt, plain_bytes
from consensus.ledger.store import Ledger
from consensus.models.protocol import BESIDE

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Verification", "verify"]


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at, and what is wrong, a line each (``problems`` empty: nothing is).

    ``unfinished`` are decisions that have calls and no receipt: cut short, or still under way.
    """

    decisions: int
    calls: int
    unfinished: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.problems


def verify(ledger: Ledger, *, most: int = 100) -> Verification:
    """Check everything; at most ``most`` problems are named, the rest counted.

    Raises:
        LedgerError: it cannot be opened at all.
    """
    return ledger.read(lambda connection: _verify(connection, most))


def _verify(connection: Connection, most: int) -> Verification:
    from sqlalchemy import func, select

    from consensus.ledger.schema import calls, decisions

    problems: list[str] = []
    more = 0
    for problem in _problems(connection):
        if len(problems) < most:
            problems.append(problem)
        else:
            more += 1
    if more:
        problems.append(f"and {more} more")
    kept = select(decisions.c.receipt_id).where(decisions.c.receipt_id == calls.c.decision_id)
    unfinished = select(func.count(calls.c.decision_id.distinct())).where(~kept.exists())
    return Verification(
        decisions=connection.scalar(select(func.count()).select_from(decisions)) or 0,
        calls=connection.scalar(select(func.count()).select_from(calls)) or 0,
        unfinished=connection.scalar(unfinished) or 0,
        problems=tuple(problems),
    )


def _problems(connection: Connection) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        for (said,) in connection.exec_driver_sql("PRAGMA integrity_check"):
            if said != "ok":
                yield f"the file is damaged: {said}"
    yield from _wrong_receipts(connection)
    yield from _wrong_sums(connection)


def _wrong_receipts(connection: Connection) -> Iterator[str]:
    from sqlalchemy import select

    from consensus.ledger.schema import decisions as d

    query = select(
        d.c.receipt_id, d.c.sha256, d.c.receipt, d.c.cost_pico, d.c.frontier_cost_pico, d.c.action
    )
    for row in connection.execute(query.execution_options(yield_per=1000)).mappings():
        name = f"receipt {row['receipt_id']}"
        try:
            plain = plain_bytes(row["receipt"])
            receipt = Receipt.from_bytes(plain)
        except DataError as error:
            yield f"{name}: {error}"
            continue
        if hashlib.sha256(plain).hexdigest() != row["sha256"]:
            yield f"{name}: was changed after it was kept (its hash differs)"
        yield from (f"{name}: {what}" for what in _unlike(row, receipt))


def _unlike(row: Any, receipt: Receipt) -> Iterator[str]:
    """Where a row's columns say something else than its receipt."""
    frontier = receipt.frontier
    for column, says in (
        ("receipt_id", receipt.receipt_id),
        ("action", receipt.decision.action),
        ("cost_pico", receipt.decision.cost.pico_usd),
        ("frontier_cost_pico", None if frontier is None else frontier.cost.pico_usd),
    ):
        if row[column] != says:
            yield f'its row\'s "{column}" differs from the receipt'


def _wrong_sums(connection: Connection) -> Iterator[str]:
    from sqlalchemy import case, func, select

    from consensus.ledger.schema import calls as c
    from consensus.ledger.schema import decisions as d
    from consensus.ledger.schema import shadows as s

    def total(condition: Any) -> Any:
        return func.coalesce(func.sum(case((condition, c.c.cost_pico), else_=0)), 0)

    query = (
        select(
            d.c.receipt_id,
            d.c.cost_pico,
            func.coalesce(d.c.frontier_cost_pico, 0).label("frontier_cost_pico"),
            s.c.cost_pico.label("shadow_cost_pico"),
            total(c.c.purpose.not_in(BESIDE)).label("of_calls"),
            total(c.c.purpose == "frontier").label("of_frontier_calls"),
            total(c.c.purpose == "shadow").label("of_shadow_calls"),
        )
        .join_from(d, c, c.c.decision_id == d.c.receipt_id, isouter=True)
        .outerjoin(s, s.c.receipt_id == d.c.receipt_id)
        .group_by(d.c.receipt_id, d.c.cost_pico, d.c.frontier_cost_pico, s.c.cost_pico)
    )
    for row in connection.execute(query.execution_options(yield_per=1000)).mappings():
        name = f"receipt {row['receipt_id']}"
        if row["cost_pico"] != row["of_calls"]:
            yield (
                f"{name}: the decision cost {row['cost_pico']} pico-dollars, its calls "
                f"{row['of_calls']}"
            )
        if row["frontier_cost_pico"] != row["of_frontier_calls"]:
            yield (
                f"{name}: the frontier beside it cost {row['frontier_cost_pico']} pico-dollars, "
                f"its calls {row['of_frontier_calls']}"
            )
        # None: not asked, or cut short by a kill, with nothing that claims a sum.
        if row["shadow_cost_pico"] not in (None, row["of_shadow_calls"]):
            yield (
                f"{name}: its shadow cost {row['shadow_cost_pico']} pico-dollars, its calls "
                f"{row['of_shadow_calls']}"
            )
