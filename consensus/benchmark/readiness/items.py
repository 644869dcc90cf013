"""The ten items of the pre-launch checklist, as they are asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["ITEMS", "Item"]

ITEMS: tuple[str, ...] = (
    "task types are enumerated in the audit",
    "every task type has an oracle that runs",
    "profiling is complete, and every row's threshold is measured",
    "the cost projection is of this policy",
    "the served model is logged on every request",
    "cost is attributed per task type",
    "routing thresholds are configuration",
    "the context guard stands before every model",
    "quality is watched in production, per task type",
    "an alarm is set on escalations over the profile",
)
"""In the order of the checklist; an item's number is its place, from 1."""


@dataclass(slots=True)
class Item:
    """One item: closed by evidence, or open with what is missing and what closes it.

    Attributes:
        number: from 1.
        evidence: what on disk proves it, as far as there is any: files, lines, hashes, counts.
        missing: what is not proved; empty where the item is closed.
        close: commands or keys that close it.
    """

    number: int
    evidence: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    close: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What is asked."""
        return ITEMS[self.number - 1]

    @property
    def closed(self) -> bool:
        """Whether it is proved."""
        return bool(self.evidence) and not self.missing

    def lacks(self, what: str, close: str) -> None:
        """Something is not proved."""
        self.missing.append(what)
        if close not in self.close:
            self.close.append(close)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "number": self.number,
            "title": self.title,
            "closed": self.closed,
            "evidence": self.evidence,
            "missing": self.missing,
            "close": self.close,
        }
