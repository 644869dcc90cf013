"""What was submitted, on disk before and after: which item is in which batch.

One append-only file of JSON lines. It holds ids and no text: what was asked is asked again in the
same words by whoever takes the job up, and what was answered is at the provider until it is on the
ledger. Only one process may write to it; whoever opens it holds the job's own lock.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from consensus.errors import DataError

__all__ = ["Journal", "Submission"]


@dataclass(slots=True)
class Submission:
    """One batch that was begun, or was about to be.

    Attributes:
        mark: our own name for it.
        provider: whose.
        at: when it was about to be begun, in seconds since the epoch.
        ids: its items.
        batch_id: the provider's; None where the process died before it heard of it.
        dead: nothing came of it: its items are to be asked again.
    """

    mark: str
    provider: str
    at: float
    ids: tuple[str, ...]
    batch_id: str | None = None
    dead: bool = False


class Journal:
    """The file, and what it says. It is made at the first line.

    Raises:
        DataError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._submissions: dict[str, Submission] = {}
        self._holder: dict[str, str] = {}
        self._failed: set[str] = set()
        self._whole: int | None = None
        if path.exists():
            self._read()

    def holder(self, custom_id: str) -> Submission | None:
        """The batch that an item is in, unless nothing came of it."""
        found = self._submissions.get(self._holder.get(custom_id, ""))
        return None if found is None or found.dead else found

    def has_failed(self, custom_id: str) -> bool:
        """Whether an item's batch has ended without an answer to it."""
        return custom_id in self._failed

    def batches(self) -> frozenset[str]:
        """The provider's ids of all batches that are known to be ours."""
        return frozenset(s.batch_id for s in self._submissions.values() if s.batch_id is not None)

    def intend(self, mark: str, provider: str, at: float, ids: Iterable[str]) -> Submission:
        """Say that a batch is about to be begun. On disk when this returns."""
        submission = Submission(mark, provider, at, tuple(ids))
        self._write(
            {"op": "intend", "mark": mark, "provider": provider, "at": at, "ids": submission.ids}
        )
        self._hold(submission)
        return submission

    def submitted(self, submission: Submission, batch_id: str) -> None:
        """Say that it has begun."""
        self._write({"op": "submitted", "mark": submission.mark, "batch": batch_id})
        submission.batch_id = batch_id

    def died(self, submission: Submission) -> None:
        """Say that nothing came of it."""
        self._write({"op": "died", "mark": submission.mark})
        submission.dead = True

    def failed(self, custom_id: str) -> None:
        """Say that an item has no answer."""
        self._write({"op": "failed", "id": custom_id})
        self._failed.add(custom_id)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _hold(self, submission: Submission) -> None:
        self._submissions[submission.mark] = submission
        self._holder.update(dict.fromkeys(submission.ids, submission.mark))

    def _write(self, line: Mapping[str, Any]) -> None:
        data = (json.dumps(line, separators=(",", ":")) + "\n").encode()
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
                self._file = os.open(self.path, flags, 0o600)
                if self._whole is not None:  # a kill tore the last line: nothing may join it
                    os.truncate(self._file, self._whole)
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
            os.fsync(self._file)
        except OSError as error:
            raise DataError(f"cannot be written: {error.strerror}", where=str(self.path)) from None

    def _read(self) -> None:
        try:
            data = self.path.read_bytes()
            whole = data.rfind(b"\n") + 1
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=str(self.path)) from None
        self._whole = whole
        for number, raw in enumerate(data[:whole].splitlines(), start=1):
            try:
                line = json.loads(raw)
                self._apply(line, line["op"])
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"is no line of a batch journal: {type(error).__name__}",
                    where=f"{self.path}:{number}",
                    fix="restore the file; without it batches under way would be paid twice",
                ) from None

    def _apply(
        self, line: Mapping[str, Any], op: Literal["intend", "submitted", "died", "failed"]
    ) -> None:
        if op == "failed":
            self._failed.add(str(line["id"]))
            return
        mark = str(line["mark"])
        if op == "intend":
            ids = tuple(map(str, line["ids"]))
            self._hold(Submission(mark, str(line["provider"]), float(line["at"]), ids))
        elif op == "submitted":
            self._submissions[mark].batch_id = str(line["batch"])
        elif op == "died":
            self._submissions[mark].dead = True
        else:
            raise ValueError(op)
