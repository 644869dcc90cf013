"""How far the watch has read and what it has counted, kept in the ledger: a few kilobytes a row.

Every change goes with a new ``turn`` of the cursor. A look that worked from an older turn is thrown
away whole, so several processes may watch one ledger, and nothing is counted or told twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from consensus.ledger.watch.counts import Counts
from consensus.ledger.watch.observe import Cursor

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["forget", "load", "save"]

_CURSOR = "cursor"
_ROW = "row:"


def load(connection: Connection) -> tuple[Cursor, dict[str, Counts]]:
    """The cursor, and the counts by task type."""
    from sqlalchemy import select

    from consensus.ledger.schema import watch_state as table

    cursor, counts = Cursor(), {}
    for name, value in connection.execute(select(table.c.name, table.c.value)):
        data = json.loads(value)
        if name == _CURSOR:
            cursor = Cursor(**data)
        elif name.startswith(_ROW):
            counts[name.removeprefix(_ROW)] = Counts.from_json(data)
    return cursor, counts


def save(
    connection: Connection, before: Cursor, after: Cursor, counts: Mapping[str, Counts]
) -> bool:
    """Write a look's outcome; False, and nothing written, where another came first."""
    if _cursor(connection).turn != before.turn:
        return False
    _put(connection, _CURSOR, replace(after, turn=before.turn + 1).to_json())
    for name, count in counts.items():
        _put(connection, f"{_ROW}{name}", count.to_json())
    return True


def forget(connection: Connection, task_type: str, monitor: str | None = None) -> None:
    """Count a row, or one monitor of it, anew."""
    cursor = _cursor(connection)
    _, counts = load(connection)
    found = counts.get(task_type)
    if found is not None:
        if monitor is None:
            found = Counts(found.baseline)
        else:
            found.forget(monitor)
        _put(connection, f"{_ROW}{task_type}", found.to_json())
    _put(connection, _CURSOR, replace(cursor, turn=cursor.turn + 1).to_json())


def _cursor(connection: Connection) -> Cursor:
    from sqlalchemy import select

    from consensus.ledger.schema import watch_state as table

    # SQLite has one writer at a time anyway, and leaves the lock out.
    query = select(table.c.value).where(table.c.name == _CURSOR).with_for_update()
    found = connection.scalar(query)
    return Cursor() if found is None else Cursor(**json.loads(found))


def _put(connection: Connection, name: str, value: Mapping[str, Any]) -> None:
    from consensus.ledger.schema import watch_state as table

    text = json.dumps(value, separators=(",", ":"))
    changed = connection.execute(
        table.update().where(table.c.name == name).values(value=text)
    ).rowcount
    if not changed:
        connection.execute(table.insert().values(name=name, value=text))
