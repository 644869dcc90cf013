"""Tasks and decisions as Parquet: row group by row group, so a file's length costs no memory.

What Parquet's columns have no type for is JSON text: a generate task's ``messages`` and ``schema``
may come so, and an ``outcome`` that is no word goes so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from consensus.errors import DataError, MissingExtraError, TaskError
from consensus.strangers import parse_json

__all__ = ["ParquetOutput", "count_rows", "is_parquet", "read_rows"]

GROUP = 1024
"""Rows that are read, and written, at once."""

MAX_BATCH_BYTES = 2_000_000_000


def is_parquet(path: Path) -> bool:
    """Whether a file's name says that it is Parquet."""
    return path.suffix.lower() in (".parquet", ".pq")


def count_rows(path: Path) -> int:
    """How many rows a file has; reads its footer alone."""
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def read_rows(path: Path) -> Iterator[tuple[int, object]]:
    """Row numbers from 1, and each row's fields; an error where a field cannot be read.

    A null is a field that is not there.

    Raises:
        DataError: the file cannot be read, or is no Parquet.
        MissingExtraError: pyarrow is not installed.
    """
    number = 0
    with _opened(path) as file:
        groups = file.iter_batches(batch_size=_at_once(file.metadata))
        while True:
            try:
                batch = next(groups, None)
                rows = [] if batch is None else batch.to_pylist()
            except (OSError, ValueError, OverflowError, NotImplementedError) as error:
                raise DataError(
                    f"is damaged after row {number}: {error}", where=str(path)
                ) from None
            if batch is None:
                return
            for row in rows:
                number += 1
                yield number, _fields(row, f"{path.name}:{number}")


def _at_once(metadata: Any) -> int:
    """Rows of a batch. A value that is stored once may stand in every row."""
    largest = 1
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for column in range(row_group.num_columns):
            largest = max(largest, row_group.column(column).total_uncompressed_size)
    return max(1, min(GROUP, MAX_BATCH_BYTES // largest))


def _fields(row: dict[str, Any], where: str) -> object:
    fields = {name: value for name, value in row.items() if value is not None}
    for name in ("messages", "schema"):
        if isinstance(fields.get(name), str):
            try:
                fields[name] = parse_json(fields[name])
            except ValueError as error:
                return TaskError(f'"{name}" is not JSON: {error}', where=where)
    return fields


def _opened(path: Path) -> Any:
    parquet = _pyarrow_parquet()
    try:
        return parquet.ParquetFile(path)
    except OSError as error:
        why = error.strerror or "it is no Parquet file"
        raise DataError(f"cannot be read: {why}", where=str(path)) from None
    except ValueError:
        raise DataError("cannot be read: it is no Parquet file", where=str(path)) from None


def _pyarrow_parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(
            "Parquet needs pyarrow", fix='pip install "consensus-engine[ray]"'
        ) from None
    return pyarrow.parquet


class ParquetOutput:
    """A Parquet file of decisions that replaces the old one only when it is whole.

    The columns are the keys of a row of JSONL. ``outcome`` is a word as it is, anything else as
    JSON text; ``ballots``, ``failures`` and ``frontier`` are JSON text; ``posterior`` is a map.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> ParquetOutput:
        parquet = _pyarrow_parquet()
        self._schema = _schema()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = parquet.ParquetWriter(self.partial, self._schema)
        except OSError as error:
            raise self._unwritten(error) from None
        return self

    def write(self, row: dict[str, Any]) -> None:
        """Take one row; rows go to the disk a group at a time."""
        self._rows.append(_columns(row))
        if len(self._rows) >= GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        try:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        except OSError as error:
            raise self._unwritten(error) from None
        self._rows.clear()

    def _unwritten(self, error: OSError) -> DataError:
        return DataError(f"cannot be written: {error.strerror or error}", where=str(self.path))

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            try:
                if kind is None and self._rows:
                    self._flush()
            finally:
                self._writer.close()
            if kind is None:
                self.partial.replace(self.path)
        except OSError as error:
            if kind is None:
                raise self._unwritten(error) from None


def _schema() -> Any:
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    return pa.schema(
        [
            ("id", text),
            ("index", pa.int64()),
            ("action", text),
            ("outcome", text),
            ("probability", number),
            ("posterior", pa.map_(text, number)),
            ("agreement", number),
            ("cost", pa.struct([("usd", number)])),
            ("ballots", text),
            ("failures", text),
            ("reasons", pa.list_(text)),
            ("receipt_id", text),
            ("error", text),
            ("frontier", text),
        ]
    )


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    outcome = row["outcome"]
    return {
        **row,
        "outcome": outcome if outcome is None or isinstance(outcome, str) else _json(outcome),
        "posterior": None if row["posterior"] is None else list(row["posterior"].items()),
        "ballots": _json(row["ballots"]),
        "failures": _json(row["failures"]),
        "frontier": None if row.get("frontier") is None else _json(row["frontier"]),
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
