"""Which incidents are one trouble: a symptom goes with its cause, and is told with it.

A symptom stays an incident of its own, with its evidence; it demotes, is shown and ends as ever. It
is only not told beside its cause. Where arithmetic can say how large a symptom a cause can have, a
larger one is another trouble, and is told; so is one that began before its cause, or comes long
after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from consensus.ledger.rows import SECONDS_A_DAY
from consensus.ledger.watch.incident import Incident

__all__ = ["lead_of", "rank"]

WITHIN_S = 30 * SECONDS_A_DAY
"""So long after its cause a symptom may be found: the tests take up to a month."""

SLACK_DAYS: Mapping[str, int] = {"served": 1, "price": 1}
"""How exactly it is known when a cause began; others have a week, since both days are estimates."""

_ORDER = (
    "served", "price", "deprecation", "gate", "escalation", "undecided", "disagreement", "output",
    "cost",
)  # fmt: skip
_COUNTED = frozenset({"gate", "escalation", "undecided", "disagreement", "output", "cost"})


def rank(cause: str) -> int:
    """Causes before symptoms."""
    monitor = cause.partition(":")[0]
    return _ORDER.index(monitor) if monitor in _ORDER else len(_ORDER)


def lead_of(one: Incident, going: Iterable[Incident], ratio: float) -> Incident | None:
    """The open incident of whose trouble this new one is a part; None: a trouble of its own.

    Args:
        one: about to be opened.
        going: those that are open.
        ratio: how far production may exceed what is expected.
    """
    open_ = {other.incident_id: other for other in going}
    found = [other for other in open_.values() if _explains(other, one, ratio)]
    if not found:
        return None
    first = min(found, key=lambda other: (rank(other.cause), other.opened_at, other.incident_id))
    while first.part_of in open_:
        first = open_[first.part_of]
    return first


def _explains(cause: Incident, one: Incident, ratio: float) -> bool:
    if not 0 <= one.opened_at - cause.opened_at <= WITHIN_S:
        return False
    mine, theirs = one.evidence, cause.evidence
    if one.monitor in ("served", "price"):  # the same change, at another row
        value = mine.get("value")
        return value is not None and (cause.cause, theirs.get("value")) == (one.cause, value)
    if (cause.task_type, cause.baseline) != (one.task_type, one.baseline):
        return False
    if one.monitor not in _COUNTED or not _after(cause, one):
        return False
    match cause.monitor, one.monitor:
        case "served", _:
            return True
        case "price", "cost":
            return _at_most(mine.get("ratio"), theirs.get("times"), ratio)
        case "gate", "escalation":  # an outcome that is refused is asked for again
            return _at_most(_excess(mine), _excess(theirs), ratio)
        case ("escalation", "output" | "cost") | ("output", "cost"):
            # Were the first hop free, a mean would grow with the share that goes on; no faster.
            return _at_most(mine.get("ratio"), theirs.get("ratio"), ratio)
    return False


def _after(cause: Incident, one: Incident) -> bool:
    """Whether it began with its cause or later, as far as one knows."""
    began, since = _day(cause.evidence), _day(one.evidence)
    if began is None or since is None:
        return False
    return (since - began).days >= -SLACK_DAYS.get(cause.monitor, 7)


def _at_most(value: float | None, bound: float | None, ratio: float) -> bool:
    return value is not None and bound is not None and value <= ratio * bound


def _excess(evidence: Mapping[str, Any]) -> float | None:
    rate, profile = evidence.get("rate"), evidence.get("profile")
    return None if rate is None or profile is None else rate - profile


def _day(evidence: Mapping[str, Any]) -> date | None:
    since = evidence.get("since")
    return None if since is None else date.fromisoformat(since)
