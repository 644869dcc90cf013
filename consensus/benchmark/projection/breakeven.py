"""When a classifier or a cascade pays for itself, and what ten cheap calls cost against one.

All of it is arithmetic on the projection's own dollars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from consensus.benchmark.projection.tariff import Tariff, Tokens

__all__ = [
    "CascadeBreakEven",
    "Classifier",
    "ClassifierBreakEven",
    "ManyCalls",
    "cascade_break_even",
    "classifier_break_even",
    "many_calls",
]

Ruling: TypeAlias = Literal["pays", "does not pay", "open"]

TYPICAL_QUERIES = 10_000
"""Queries a month that are often named as the volume from which a classifier pays."""


@dataclass(frozen=True, slots=True)
class Classifier:
    """What a router that reads the question costs: dollars a query, and a month whatever comes."""

    usd_per_query: float = 0.002
    usd_per_month: float = 0.0


@dataclass(frozen=True, slots=True)
class ClassifierBreakEven:
    """When a content classifier pays, if it made all the difference between before and after.

    Attributes:
        saving_per_query: dollars that routing saves on a query, the classifier's own left out.
        volume: queries a month from which it pays; None: never, since it costs more than it saves.
        fixed_at_10k: dollars a month that 10,000 queries would carry; negative: they carry none.
    """

    classifier: Classifier
    saving_per_query: float
    volume: float | None
    fixed_at_10k: float

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CascadeBreakEven:
    """Up to which escalation rate a cascade is cheaper than its stronger step alone.

    A cascade costs ``first + check + rate × second`` a decision, the stronger step alone
    ``second``: it pays while the rate is below ``1 − (first + check) / second``.

    Attributes:
        first, check, second: dollars of the first step, of what checks it, of the stronger step.
        rate, low, high: the observed escalation rate with its 95 % interval; None where it was not
            observed.
    """

    first: float
    check: float
    second: float
    rate: float | None
    low: float | None
    high: float | None

    @property
    def break_even(self) -> float | None:
        """The rate; 0 or less: it never pays. None where the stronger step is free."""
        return 1 - (self.first + self.check) / self.second if self.second else None

    @property
    def ruling(self) -> Ruling:
        """Whether the whole interval of the observed rate lies on one side."""
        limit = self.break_even
        if limit is None or limit <= 0:
            return "does not pay"
        if self.low is None or self.high is None:
            return "open"
        if self.high < limit:
            return "pays"
        return "does not pay" if self.low > limit else "open"

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {**asdict(self), "break_even": self.break_even, "ruling": self.ruling}


@dataclass(frozen=True, slots=True)
class ManyCalls:
    """What so many calls of one model cost, as a multiple of one call of another."""

    count: int
    model: str
    other: str
    usd: float
    other_usd: float

    @property
    def ratio(self) -> float | None:
        """None where the other is free."""
        return self.usd / self.other_usd if self.other_usd else None

    def words(self) -> str:
        """One sentence."""
        if self.ratio is None:
            return f"{self.count} calls of {self.model}: no ratio, since {self.other} is free"
        verdict = "cheaper" if self.ratio < 1 else "dearer" if self.ratio > 1 else "as dear"
        return (
            f"{self.count} calls of {self.model} cost {self.ratio:.2f} × one call of {self.other} "
            f"at today's prices: {verdict}"
        )

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {**asdict(self), "ratio": self.ratio}


def cascade_break_even(
    first: float,
    second: float,
    *,
    check: float = 0.0,
    rate: float | None = None,
    interval: tuple[float, float] | None = None,
) -> CascadeBreakEven:
    """The rate up to which trying the cheaper step first is worth its price; all in dollars."""
    low, high = interval if interval is not None else (None, None)
    return CascadeBreakEven(first, check, second, rate, low, high)


def classifier_break_even(
    before: float, after: float, queries: float, classifier: Classifier
) -> ClassifierBreakEven | None:
    """From how many queries a month a classifier pays; None without any traffic.

    Args:
        before: dollars a month without routing.
        after: dollars a month with it, the classifier's own left out.
        queries: a month.
        classifier: what it costs.
    """
    if not queries:
        return None
    saving = (before - after) / queries
    net = saving - classifier.usd_per_query
    volume = classifier.usd_per_month / net if net > 0 else None
    return ClassifierBreakEven(classifier, saving, volume, TYPICAL_QUERIES * net)


def many_calls(
    tariff: Tariff, models: Sequence[str], other: str, tokens: Tokens, *, count: int = 10
) -> ManyCalls | None:
    """So many calls of the first model against one of the other; None where there is none."""
    if not models or models[0] == other:
        return None
    mine = tariff.call(models[0], tokens).total * count
    return ManyCalls(count, models[0], other, mine, tariff.call(other, tokens).total)
