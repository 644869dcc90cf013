"""Incidents: one a cause, opened once, with its evidence, until somebody or a new certificate ends
it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from consensus.errors import LedgerError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from consensus.ledger.store import Ledger

__all__ = ["Incident", "acknowledge", "close", "incidents", "mark_told", "stamp"]


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that differs in production. It holds no judged text.

    Attributes:
        task_type: "" where it is of no one row.
        cause: the monitor, and what it is about: ``escalation``, ``served:openai/gpt-5.4-mini``.
        baseline: hash of the evidence that production was held against.
        opened_at: when it was first seen, in seconds since 1970.
        evidence: counts, rates, p-value, e-value, since when, what to run; plain data.
        told: channel → when it was told there.
        closed_at, closed_by: when it ended and how; None while it is open.
    """

    incident_id: str
    task_type: str
    cause: str
    baseline: str
    opened_at: float
    evidence: Mapping[str, Any]
    told: Mapping[str, float] = field(default_factory=dict)
    closed_at: float | None = None
    closed_by: str | None = None

    @property
    def monitor(self) -> str:
        """What found it."""
        return self.cause.partition(":")[0]

    @property
    def open(self) -> bool:
        """Whether it goes on."""
        return self.closed_at is None

    @property
    def part_of(self) -> str | None:
        """The incident of whose trouble this is a part (design/watching.md)."""
        return self.evidence.get("part_of")

    @property
    def says(self) -> str:
        """What was found, in a sentence."""
        return str(self.evidence.get("says", self.cause))

    def to_json(self) -> dict[str, Any]:
        """As alarms and ``--json`` have it; times in ISO 8601, UTC."""
        return {
            "incident_id": self.incident_id,
            "task_type": self.task_type or None,
            "monitor": self.monitor,
            "cause": self.cause,
            "open": self.open,
            "opened_at": stamp(self.opened_at),
            "closed_at": None if self.closed_at is None else stamp(self.closed_at),
            "closed_by": self.closed_by,
            "baseline": self.baseline,
            **self.evidence,
            "told": {channel: stamp(at) for channel, at in self.told.items()},
        }


def stamp(seconds: float) -> str:
    """Seconds since 1970 in ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def incidents(
    ledger: Ledger,
    *,
    task_type: str | None = None,
    only_open: bool = True,
    incident_id: str | None = None,
) -> tuple[Incident, ...]:
    """The ledger's incidents, the latest first.

    Args:
        task_type: only of this type.
        only_open: leave out those that have ended.
        incident_id: only the one with this id, or with ids that begin so.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    return ledger.read(lambda connection: read(connection, task_type, only_open, incident_id))


def read(
    connection: Connection,
    task_type: str | None = None,
    only_open: bool = False,
    incident_id: str | None = None,
) -> tuple[Incident, ...]:
    """:func:`incidents` within a transaction."""
    from sqlalchemy import select

    from consensus.ledger.schema import incidents as table

    query = select(table).order_by(table.c.opened_at.desc(), table.c.incident_id)
    if task_type is not None:
        query = query.where(table.c.task_type == task_type)
    if only_open:
        query = query.where(table.c.closed_at.is_(None))
    if incident_id is not None:
        query = query.where(table.c.incident_id.startswith(incident_id, autoescape=True))
    return tuple(
        Incident(
            **{**row, "evidence": json.loads(row["evidence"]), "told": json.loads(row["told"])}
        )
        for row in connection.execute(query).mappings()
    )


def insert(connection: Connection, incident: Incident) -> None:
    """Write a new one."""
    from consensus.ledger.schema import incidents as table

    connection.execute(
        table.insert().values(
            incident_id=incident.incident_id,
            task_type=incident.task_type,
            cause=incident.cause,
            baseline=incident.baseline,
            opened_at=incident.opened_at,
            evidence=json.dumps(incident.evidence, allow_nan=False),
            told=json.dumps(incident.told),
        )
    )


def close(connection: Connection, incident_id: str, *, at: float, by: str) -> None:
    """End one, if it is open."""
    from consensus.ledger.schema import incidents as table

    connection.execute(
        table.update()
        .where(table.c.incident_id == incident_id, table.c.closed_at.is_(None))
        .values(closed_at=at, closed_by=by[:256])
    )


def mark_told(ledger: Ledger, incident_id: str, channels: Mapping[str, float]) -> None:
    """Remember where it was told; blocks.

    Raises:
        LedgerError: it could not be written.
    """
    from sqlalchemy import select

    from consensus.ledger.schema import incidents as table

    def work(connection: Connection) -> None:
        which = table.c.incident_id == incident_id
        told = json.loads(connection.scalar(select(table.c.told).where(which)) or "{}")
        connection.execute(
            table.update().where(which).values(told=json.dumps({**told, **channels}))
        )

    ledger.work(work)


def acknowledge(
    ledger: Ledger, which: str, *, by: str = "acknowledged", now: float | None = None
) -> Incident:
    """End an incident and its parts: somebody has looked. What they count is counted anew.

    Args:
        which: its id, or how it begins.
        by: who, or why.

    Raises:
        LedgerError: there is none, several begin so, or it has ended already.
    """
    from consensus.ledger.watch.state import forget

    found = incidents(ledger, only_open=False, incident_id=which)
    if len(found) != 1:
        said = "no incident" if not found else "several incidents begin with"
        raise LedgerError(f"{ledger.where}: {said} {which!r} (consensus ledger incidents)")
    one = found[0]
    if not one.open:
        raise LedgerError(f"{ledger.where}: incident {one.incident_id} has ended ({one.closed_by})")
    at = time.time() if now is None else now

    def work(connection: Connection) -> Incident:
        parts = [p for p in read(connection, only_open=True) if p.part_of == one.incident_id]
        for ended in (one, *parts):
            close(connection, ended.incident_id, at=at, by=by)
            if ended.task_type:
                forget(connection, ended.task_type, ended.monitor)
        return read(connection, incident_id=one.incident_id)[0]

    return ledger.work(work)
