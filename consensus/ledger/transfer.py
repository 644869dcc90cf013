"""One ledger's records into another, of either kind: resumable, and checked when it is done.

Tables go one after another, rows in the order of their key, each batch in a transaction of the
target's that also notes how far it came: a transfer that is cut short goes on from there. A row
that is in the target already is replaced by the source's, so nothing is ever there twice.

The source may be written to meanwhile, but then the two differ at the end: run it once more after
the last writer has stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from consensus.errors import LedgerError
from consensus.ledger.store import Ledger

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection, Table

__all__ = ["TableTransfer", "Transfer", "merge", "transfer"]

_MARK = "transfer "
"""In front of a table's name in ``meta``: the key of the last row that was taken over."""


@dataclass(frozen=True, slots=True)
class TableTransfer:
    """One table: rows taken over in this run, rows in the target now, and its sums.

    ``sums`` is the number of values that are there, and the sum of whole numbers, by column.
    """

    table: str
    copied: int
    rows: int
    sums: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer that is complete: both ledgers hold the same number of rows and the same sums."""

    source: str
    target: str
    tables: tuple[TableTransfer, ...]

    @property
    def copied(self) -> int:
        """Rows taken over in this run."""
        return sum(table.copied for table in self.tables)

    def to_json(self) -> dict[str, Any]:
        """As a published document."""
        return {"source": self.source, "target": self.target} | {
            "tables": [asdict(table) for table in self.tables]
        }


def transfer(
    source: Ledger,
    target: Ledger,
    *,
    batch: int = 500,
    progress: Callable[[str, int, int], None] | None = None,
) -> Transfer:
    """Take every record of one ledger over into another.

    Args:
        source: only read.
        target: may hold records of its own, as long as their ids are others'.
        batch: rows a transaction.
        progress: told the table, the rows that have been dealt with, and the rows there are.

    Raises:
        LedgerError: a record could not be read or kept; or the two differ at the end, because one
            was written to meanwhile or the target held records of its own that the source lacks.
    """
    if source.where == target.where:
        raise LedgerError(f"{source.where}: is the source and the target at once")
    tables = []
    for table in _tables():
        copied = _copy(source, target, table, batch, progress)
        tables.append((table, copied))
    return Transfer(
        source.where,
        target.where,
        tuple(_checked(source, target, table, copied) for table, copied in tables),
    )


def merge(source: Ledger, target: Ledger, *, batch: int = 500) -> int:
    """Take one ledger's records into another that has records of its own; the rows taken over.

    Their ids must be others' or the same records. Cut short, it is simply done again: a row that is
    in the target already is replaced by the same row.

    Args:
        source: only read, and no longer written to.
        target: may be written to meanwhile.
        batch: rows a transaction.

    Raises:
        LedgerError: a record could not be read or kept.
    """
    copied = 0
    for table in _tables():
        _forget(target, table)  # a mark of another source would pass rows over
        copied += _copy(source, target, table, batch, None)
        _forget(target, table)
    return copied


def _tables() -> Iterator[Table]:
    from consensus.ledger import schema

    for table in schema.metadata.sorted_tables:
        if table.name != "meta":
            yield table


def _copy(
    source: Ledger,
    target: Ledger,
    table: Table,
    batch: int,
    progress: Callable[[str, int, int], None] | None,
) -> int:
    from sqlalchemy import func, select

    total = source.read(lambda c: c.scalar(select(func.count()).select_from(table))) or 0
    last = target.read(lambda c: _how_far(c, table))
    done = source.read(lambda c, last=last: _count_up_to(c, table, last))  # type: ignore[misc]
    copied = 0
    while True:
        rows = source.read(lambda c, last=last: _after(c, table, last, batch))  # type: ignore[misc]
        if progress is not None:
            progress(table.name, done + copied, total)
        if not rows:
            return copied
        last = [rows[-1][column.name] for column in _key(table)]
        target.work(lambda c, rows=rows, last=last: _put(c, table, rows, last))  # type: ignore[misc]
        copied += len(rows)


def _key(table: Table) -> list[Column[Any]]:
    return list(table.primary_key.columns)


def _after(
    connection: Connection, table: Table, last: Sequence[Any] | None, batch: int
) -> list[dict[str, Any]]:
    from sqlalchemy import literal, select, tuple_

    key = _key(table)
    query = select(table).order_by(*key).limit(batch)
    if last is not None:
        marks = (literal(value, column.type) for value, column in zip(last, key, strict=True))
        query = query.where(tuple_(*key) > tuple_(*marks))
    return [dict(row) for row in connection.execute(query).mappings()]


def _count_up_to(connection: Connection, table: Table, last: Sequence[Any] | None) -> int:
    from sqlalchemy import func, literal, select, tuple_

    if last is None:
        return 0
    key = _key(table)
    marks = (literal(value, column.type) for value, column in zip(last, key, strict=True))
    query = select(func.count()).select_from(table).where(tuple_(*key) <= tuple_(*marks))
    return connection.scalar(query) or 0


def _put(
    connection: Connection, table: Table, rows: Sequence[dict[str, Any]], last: Sequence[Any]
) -> None:
    from consensus.ledger.schema import meta

    key = [column.name for column in _key(table)]
    statement = _insert(connection, table)
    others = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=others), rows)
    note = _insert(connection, meta)
    connection.execute(
        note.on_conflict_do_update(index_elements=["key"], set_={"value": note.excluded.value}),
        {"key": _MARK + table.name, "value": json.dumps(list(last))},
    )


def _insert(connection: Connection, table: Table) -> Any:
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as on_postgres

        return on_postgres(table)
    from sqlalchemy.dialects.sqlite import insert as on_sqlite

    return on_sqlite(table)


def _how_far(connection: Connection, table: Table) -> list[Any] | None:
    from sqlalchemy import select

    from consensus.ledger.schema import meta

    found = connection.scalar(select(meta.c.value).where(meta.c.key == _MARK + table.name))
    return None if found is None else list(json.loads(found))


def _forget(target: Ledger, table: Table) -> None:
    """Take away the mark of how far a transfer of this table came."""
    from sqlalchemy import delete

    from consensus.ledger.schema import meta

    target.work(lambda c: c.execute(delete(meta).where(meta.c.key == _MARK + table.name)))


def _checked(source: Ledger, target: Ledger, table: Table, copied: int) -> TableTransfer:
    """The table's figures, which are the same in both.

    The mark is taken away in any case: the next run looks at every row again.
    """
    theirs = source.read(lambda c: _figures(c, table))
    ours = target.read(lambda c: _figures(c, table))
    _forget(target, table)
    if ours != theirs:
        different = next(name for name in theirs if theirs[name] != ours[name])
        raise LedgerError(
            f"{target.where}: {table.name} differs from {source.where} in {different} "
            f"({ours[different]:,} here, {theirs[different]:,} there): one of them was written to "
            "meanwhile, or the target held other records (stop whoever writes and run it again)"
        )
    rows = ours.pop("rows")
    return TableTransfer(table.name, copied, rows, ours)


def _figures(connection: Connection, table: Table) -> dict[str, int]:
    """Rows, and of each column how many values there are, and the sum of whole numbers."""
    from sqlalchemy import BigInteger, Integer, cast, func, select

    asked = [func.count().label("rows")]
    for column in table.columns:
        asked.append(func.count(column).label(f"{column.name} (values)"))
        if isinstance(column.type, BigInteger | Integer):
            # In halves: a few numbers of 63 bits, as name a job's rows, are more than SQLite adds.
            whole = cast(column, BigInteger)
            for half, part in ((_HIGH, whole // _HALF), (_SUM, whole % _HALF)):
                asked.append(func.coalesce(func.sum(part), 0).label(f"{column.name}{half}"))
    row = connection.execute(select(*asked).select_from(table)).mappings().one()
    found = {name: int(value) for name, value in row.items()}
    for name in [name for name in found if name.endswith(_HIGH)]:
        found[name.removesuffix(_HIGH) + _SUM] += found.pop(name) * _HALF
    return found


_HALF = 1 << 32
_HIGH, _SUM = " (high halves)", " (sum)"
