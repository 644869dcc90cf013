"""What a ledger shows of served models and of attribution."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from consensus.ballots import PICO
from consensus.ledger import Ledger
from consensus.ledger.place import LedgerServer
from consensus.ledger.queries import type_stats
from consensus.ledger.served import newest_served

__all__ = ["Seen", "look"]


@dataclass(frozen=True, slots=True)
class Seen:
    """Counts over a whole ledger.

    Attributes:
        answered: calls that were answered; ``unserved`` of them do not name the served model.
        unattributed: calls without a task type.
        types: task type → decisions, and their cost in US dollars.
        served: model asked for → the model that served its newest answered call.
    """

    answered: int = 0
    unserved: int = 0
    unattributed: int = 0
    types: dict[str, tuple[int, float]] = field(default_factory=dict)
    served: dict[str, str] = field(default_factory=dict)


def look(path: Path | LedgerServer) -> Seen | None:
    """Read a ledger; None where there is none.

    Raises:
        LedgerError: the file is no ledger.
    """
    if not path.exists():
        return None
    from sqlalchemy import case, func, select

    from consensus.ledger.schema import calls as c

    answered = c.c.failure.is_(None)
    nobody = answered & (c.c.served_model.is_(None) | (c.c.served_model == ""))
    query = select(
        func.sum(case((answered, 1), else_=0)),
        func.sum(case((nobody, 1), else_=0)),
        func.sum(case((c.c.task_type == "", 1), else_=0)),
    )
    with Ledger(path, must_exist=True) as ledger:
        counts = ledger.read(lambda connection: connection.execute(query).one())
        types = {
            each.task_type: (each.decisions, each.cost_pico / PICO)
            for each in type_stats(ledger)
            if each.decisions
        }
        served = newest_served(ledger)
    total, unserved, unattributed = (int(count or 0) for count in counts)
    return Seen(total, unserved, unattributed, types, served)
