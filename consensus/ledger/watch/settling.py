"""A look's outcome in the ledger: incidents that are over are ended, new ones opened, each once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from consensus.ledger.watch import incident as kept
from consensus.ledger.watch.baseline import Baseline
from consensus.ledger.watch.causes import Cause
from consensus.ledger.watch.grouping import lead_of, rank
from consensus.ledger.watch.incident import Incident
from consensus.models.ids import new_id

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["settle"]


def settle(
    connection: Connection,
    rows: Mapping[str, Baseline],
    found: list[Cause],
    at: float,
    *,
    priced: bool,
    ratio: float,
) -> tuple[list[Incident], list[Incident]]:
    """End what no longer holds, open what is new; within the transaction of the counts.

    Args:
        priced: whether prices were looked up.
        ratio: how far production may exceed what is expected.
    """
    history = kept.read(connection)
    causes = {(one.task_type, one.cause) for one in found}
    closed, going = [], {}
    for old in history:
        if not old.open:
            continue
        why = _over(old, rows, causes if priced else None)
        if why is None:
            going[old.task_type, old.cause] = old
        else:
            kept.close(connection, old.incident_id, at=at, by=why)
            closed.append(replace(old, closed_at=at, closed_by=why))
    ended = {
        (one.task_type, one.cause, one.baseline, one.evidence.get("value"))
        for one in history
        if not one.open
    }
    opened: list[Incident] = []
    for one in sorted(found, key=lambda cause: rank(cause.cause)):
        again = one.value is not None and (
            (one.task_type, one.cause, one.baseline, one.value) in ended
        )
        same = going.get((one.task_type, one.cause))
        if again or (same is not None and same.baseline == one.baseline):
            continue
        if same is not None:
            why = "it goes on under the certificate that the row went back to"
            kept.close(connection, same.incident_id, at=at, by=why)
            closed.append(replace(same, closed_at=at, closed_by=why))
            del going[one.task_type, one.cause]
        evidence = dict(one.evidence)
        if one.value is not None:
            evidence["value"] = one.value
        incident = Incident(new_id(), one.task_type, one.cause, one.baseline, at, evidence)
        lead = lead_of(incident, [*going.values(), *opened], ratio)
        if lead is not None:
            incident = replace(incident, evidence={**evidence, "part_of": lead.incident_id})
        kept.insert(connection, incident)
        opened.append(incident)
    return opened, closed


def _over(
    old: Incident, rows: Mapping[str, Baseline], causes: set[tuple[str, str]] | None
) -> str | None:
    """Why an incident has ended by itself; None where it goes on."""
    if old.task_type:
        row = rows.get(old.task_type)
        if row is None:
            return "the row has no evidence any more"
        if old.baseline not in {row.key, *row.own}:
            return "the row has a new certificate or profile"
    looked_up = old.monitor in ("price", "deprecation") and causes is not None
    if looked_up and (old.task_type, old.cause) not in (causes or ()):
        return "it is no longer so"
    return None
