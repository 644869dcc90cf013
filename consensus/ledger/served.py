"""Which model really answered last, for each model that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consensus.ledger.store import Ledger

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["newest_served"]


def newest_served(ledger: Ledger) -> dict[str, str]:
    """Model asked for → the model that served its newest answered call; tapes do not count.

    Raises:
        LedgerError: the database cannot be read.
    """

    def query(connection: Connection) -> dict[str, str]:
        from sqlalchemy import func, select

        from consensus.ledger.schema import calls as c

        newest = (
            select(c.c.requested_model, c.c.served_model, func.max(c.c.started_at).label("last"))
            .where(c.c.served_model.is_not(None), c.c.replayed.is_(False))
            .group_by(c.c.requested_model, c.c.served_model)
        )
        rows = connection.execute(newest).mappings().all()
        found: dict[str, str] = {}
        for row in sorted(rows, key=lambda r: (r["last"], r["served_model"])):
            found[row["requested_model"]] = row["served_model"]
        return found

    return ledger.read(query)
