"""Tables of a study, with a target and whether it was met, by rule."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Claim", "Part", "spread", "table"]


@dataclass(frozen=True)
class Claim:
    """One claim held against its target.

    Attributes:
        what: the figure in words.
        value: as measured.
        target: the bound.
        least: the value must be at least the bound; else at most.
        form: how both are written.
    """

    what: str
    value: float
    target: float
    least: bool = False
    form: str = "{:.2f}"

    @property
    def met(self) -> bool:
        """By rule; a figure that could not be had is not met."""
        return self.value >= self.target if self.least else self.value <= self.target

    def row(self) -> list[str]:
        """For the table."""
        sign = "≥" if self.least else "≤"
        shown = "not measured" if self.value != self.value else self.form.format(self.value)
        bound = f"{sign} {self.form.format(self.target)}"
        return [self.what, shown, bound, "met" if self.met else "**not met**"]


@dataclass
class Part:
    """A heading, text, tables."""

    title: str
    claims: list[Claim] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)

    def text(self) -> str:
        """As Markdown."""
        lines = [f"### {self.title}", ""]
        if self.claims:
            head = ("claim", "measured", "target", "")
            lines += [table(head, [claim.row() for claim in self.claims]), ""]
        return "\n".join([*lines, "\n\n".join(self.blocks)]).strip()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    rule = "| --- |" + " ---: |" * (len(head) - 1)
    return "\n".join([f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(r)} |" for r in rows)])


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """The median, and the least and the greatest."""
    if not values:
        return "–"
    middle = form.format(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))}–{form.format(max(values))})"
