"""How figures are written for people; what is not known is said to be unknown."""

from __future__ import annotations

import math

__all__ = ["UNKNOWN", "count", "points", "ratio", "seconds", "share", "span", "usd"]

UNKNOWN = "unknown"


def share(value: float | None, digits: int = 1) -> str:
    """``0.665`` as ``66.5 %``."""
    return UNKNOWN if value is None else f"{100 * value:.{digits}f} %"


def points(value: float | None) -> str:
    """A difference of shares, in points, with its sign."""
    if value is None:
        return UNKNOWN
    text = f"{100 * value:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text.replace("-", "−")


def span(ends: list[float | None] | None, *, signed: bool = False) -> str:
    """An interval of shares: ``63.2 to 69.1``."""
    if ends is None or None in ends:
        return UNKNOWN
    low, high = ends
    if signed:
        return f"{points(low)} to {points(high)}"
    return f"{100 * (low or 0):.1f} to {100 * (high or 0):.1f}"


def usd(value: float | None) -> str:
    """Dollars, to three digits where they are few."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "$0"
    if abs(value) >= 1:
        return f"${value:,.2f}"
    digits = min(12, 2 - math.floor(math.log10(abs(value))))
    return f"${value:.{digits}f}"


def ratio(value: float | None) -> str:
    """A factor, such as a share of the frontier's cost: ``0.35 ×``."""
    if value is None:
        return UNKNOWN
    return f"{value:.2f} ×" if value < 10 else f"{value:,.0f} ×"


def seconds(value: float | None) -> str:
    """A duration."""
    return UNKNOWN if value is None else f"{value:.2f} s"


def count(value: float | None) -> str:
    """A whole number with its thousands, or a mean with two places."""
    if value is None:
        return UNKNOWN
    whole = isinstance(value, int) or float(value).is_integer()
    return f"{int(value):,}" if whole else f"{value:,.2f}"
