"""What is told on stderr of batches under way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from consensus.batching import Batching, Event
from consensus.errors import DeclarationError

__all__ = ["BatchNotes", "batching", "not_under_way"]


class BatchNotes:
    """Listens to batches: a line when one begins and one when it has ended; and how far all are.

    Attributes:
        journal: the file that says what was submitted.
        tell: where lines go; None for nowhere.
        shown: told the line for how far all are, whenever it changes.
    """

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.tell: Callable[[str], None] | None = None
        self.shown: Callable[[str], None] | None = None
        self._under_way: dict[str, tuple[int, int]] = {}

    def __call__(self, event: Event) -> None:
        """Take notice of an event."""
        name = f"{event.provider} batch {event.batch_id}"
        if event.kind in {"submitted", "found", "polled"}:
            self._under_way[event.batch_id] = (event.done, event.total)
        else:
            self._under_way.pop(event.batch_id, None)
        if event.kind == "submitted":
            self._say(f"{name}: {event.total:,} calls submitted; it may take up to 24 hours")
        elif event.kind == "found":
            self._say(f"{name}: {event.total:,} calls had been submitted before")
        elif event.kind == "ended":
            self._say(f"{name}: ended, {event.done:,} of {event.total:,} calls answered")
        elif event.kind == "failed":
            self._say(f"{name}: refused by the provider ({event.said})")
        if self.shown is not None:
            self.shown(self.line())

    def line(self) -> str:
        """How far the batches under way are."""
        if not self._under_way:
            return ""
        done = sum(done for done, _ in self._under_way.values())
        total = sum(total for _, total in self._under_way.values())
        count = len(self._under_way)
        return f"{count} batch{'es' if count > 1 else ''}: {done:,} of {total:,} calls"

    def forget(self) -> None:
        """Remove the journal of a job that is done: nothing of it is under way."""
        self.journal.unlink(missing_ok=True)

    def _say(self, text: str) -> None:
        if self.tell is not None:
            self.tell(text)


def batching(journal: Path) -> tuple[Batching, BatchNotes]:
    """Batches with this journal, and their notes."""
    notes = BatchNotes(journal)
    return Batching(journal, tell=notes), notes


def not_under_way(journal: Path) -> None:
    """Refuse to ask live what is, or was, being asked in batches: it would be paid twice.

    Raises:
        DeclarationError: the journal is there.
    """
    if journal.exists():
        raise DeclarationError(
            "batches of this job are under way, and are paid",
            where=str(journal),
            fix="add --batch to take them up; or remove this file, and pay again",
        )
