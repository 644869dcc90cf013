"""What reading a run found, counted and named."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ImportReport"]


@dataclass
class ImportReport:
    """What reading found: nothing is dropped without being counted and named here.

    Attributes:
        rows: answer rows read, good or bad.
        kept: answer rows that became answers (failures included).
        broken: reason → rows (or cases) that could not be used.
        failures: class → answers kept as failures (no readable answer).
        filtered: reason → cases left out on purpose.
        messages: the first ``limit`` broken rows, each ``file:line: what``.
        notes: what a reader of the figures must know.
    """

    rows: int = 0
    kept: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    filtered: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    limit: int = 20

    def complain(self, where: str, reason: str, detail: str = "") -> None:
        """Count one broken row, and name it while there is room."""
        self.broken[reason] += 1
        if len(self.messages) < self.limit:
            self.messages.append(f"{where}: {reason}{': ' + detail if detail else ''}")

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "rows": self.rows,
            "kept": self.kept,
            "broken": dict(sorted(self.broken.items())),
            "failures": dict(sorted(self.failures.items())),
            "filtered": dict(sorted(self.filtered.items())),
            "messages": list(self.messages),
            "notes": list(self.notes),
        }

    def summary(self) -> str:
        """One line."""
        parts = [f"{self.rows:,} rows, {self.kept:,} answers"]
        parts += [f"{n:,} failed ({why})" for why, n in sorted(self.failures.items())]
        parts += [f"{n:,} cases left out ({why})" for why, n in sorted(self.filtered.items())]
        parts += [f"{n:,} broken ({why})" for why, n in sorted(self.broken.items())]
        return "; ".join(parts)
