"""What labels say of a task type: how often its callers got an acceptable answer, at the least.

A case that was left to a person is no pass, as in a certificate: nobody need label it for that.
Of those that were acted upon, only such count as had a known chance to be looked at. There are two
designs:

- *a draw* (``share``): the decisions that the audit's hash draws, all of one chance. What was drawn
  and has no label yet counts as wrong in the bound. The drawn are a plain sample: it is exact.
- *chances*: every label with its own, as it was given. The bound is by betting on errors over
  chances; the smallest chance that any decision had is a fact of the design, and asked for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from consensus.errors import DataError
from consensus.models.coins import drawn

if TYPE_CHECKING:
    from consensus.ledger.store import Ledger

__all__ = ["LabelEvidence", "label_evidence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelEvidence:
    """Quality as labels prove it.

    Attributes:
        decisions: of the type, in the stretch of time; ``acted`` of them were acted upon.
        looked_at: acted decisions that count and have a label.
        missing: acted decisions that were drawn and have none; they count as wrong in the bound,
            and in the estimate as the labelled ones do.
        unweighted: labelled decisions that do not count: nobody knows their chance, or they were
            not drawn.
        mean: estimated share of the decisions whose caller got an acceptable answer.
        standard_error: of ``mean``.
        right_when_acted: the same of the acted alone; None without any label that counts.
        bound: the true share lies below it with a chance of at most ``delta``.
        least: the smallest chance that an acted decision had to be looked at.
        known: decisions that the bound looks at one by one: those labelled and those that nobody
            need label; of a draw all that were drawn.
        effective: as many cases of equal weight would say as much (Kish): (Σw)²/Σw², a weight
            being one over the chance.
    """

    task_type: str
    design: Literal["draw", "chances"]
    decisions: int
    acted: int
    looked_at: int
    missing: int
    unweighted: int
    mean: float | None
    standard_error: float | None
    right_when_acted: float | None
    bound: float
    delta: float
    least: float | None
    known: int = 0
    effective: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As a published row."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def label_evidence(
    ledger: Ledger,
    task_type: str,
    *,
    share: float | None = None,
    least: float | None = None,
    since: float | None = None,
    until: float | None = None,
    delta: float = 0.05,
    policies: Collection[str] | None = None,
) -> LabelEvidence:
    """What the labels that hold prove of a task type.

    Args:
        share: of the audit by which decisions were drawn (``queue(audit=…)``); None: every label
            counts by its own chance.
        least: the smallest chance that any acted decision had, where labels bring their own; the
            smallest one seen, where it is not given.
        since, until: decisions of this time on, and before that; seconds since 1970.
        delta: chance allowed that the true share lies below the bound.
        policies: only decisions made under these versions of the policy; None: under any.

    Raises:
        DataError: an argument is no share, or ``least`` is above a chance that a label has.
    """
    for name, value in (("share", share), ("least", least), ("delta", delta)):
        if value is not None and not 0 < value <= (1 if name != "delta" else 0.5):
            raise DataError(f"{name} = {value:g} is none", fix="a number above 0 and not above 1")
    rows = _rows(ledger, task_type, since, until, policies)
    if share is not None:
        return _by_draw(task_type, rows, share, delta)
    return _by_chances(task_type, rows, least, delta)


class _Row(NamedTuple):
    """A decision: whether it was acted upon, whether that was right (None: not known)."""

    receipt_id: str
    acted: bool
    right: bool | None
    chance: float | None


def _by_draw(task_type: str, rows: Sequence[_Row], share: float, delta: float) -> LabelEvidence:
    from consensus.statistics.bounds import rate_bound

    chosen = [row for row in rows if drawn(row.receipt_id, share)]
    acted = [row for row in chosen if row.acted]
    known = [row.right for row in acted if row.right is not None]
    credits_ = [float(row.acted and row.right is True) for row in chosen]
    mean = error = right = None
    if known:
        share_acted, right = len(acted) / len(chosen), sum(known) / len(known)
        mean = share_acted * right
        error = math.sqrt(
            share_acted**2 * right * (1 - right) / len(known)
            + right**2 * share_acted * (1 - share_acted) / len(chosen)
        )
    return LabelEvidence(
        task_type=task_type,
        design="draw",
        decisions=len(rows),
        acted=sum(row.acted for row in rows),
        looked_at=len(known),
        missing=len(acted) - len(known),
        unweighted=sum(row.acted and row.right is not None for row in rows) - len(known),
        mean=mean,
        standard_error=error,
        right_when_acted=right,
        bound=rate_bound(credits_, delta=delta).bound,
        delta=delta,
        least=share,
        known=len(chosen),
        effective=float(len(chosen)),
    )


def _by_chances(
    task_type: str, rows: Sequence[_Row], least: float | None, delta: float
) -> LabelEvidence:
    from consensus.statistics.weighted import effective_cases, weighted_lcb, weighted_mean

    acted = [row for row in rows if row.acted]
    labelled = [row for row in acted if row.right is not None]
    looked = [(float(row.right is True), row.chance) for row in labelled if row.chance is not None]
    smallest = min((chance for _, chance in looked), default=None)
    if least is None:
        least = smallest
    elif smallest is not None and least > smallest:
        raise DataError(
            f"least = {least:g}, and a label says that its decision had a chance of {smallest:g}",
            fix=f"least = {smallest:g} or less",
        )
    # What was left to a person is known to be no pass, without anybody's label.
    credits_ = [0.0] * (len(rows) - len(acted)) + [credit for credit, _ in looked]
    chances = [1.0] * (len(rows) - len(acted)) + [chance for _, chance in looked]
    weight = sum(1 / chance for _, chance in looked)
    estimate = weighted_mean(credits_, chances, cases=len(rows)) if looked else None
    bound = (
        weighted_lcb(credits_, chances, cases=len(rows), least=least, delta=delta)
        if least is not None and rows
        else 0.0
    )
    return LabelEvidence(
        task_type=task_type,
        design="chances",
        decisions=len(rows),
        acted=len(acted),
        looked_at=len(looked),
        missing=0,
        unweighted=len(labelled) - len(looked),
        mean=None if estimate is None else estimate.mean,
        standard_error=None if estimate is None else estimate.standard_error,
        right_when_acted=(
            sum(credit / chance for credit, chance in looked) / weight if looked else None
        ),
        bound=bound,
        delta=delta,
        least=least,
        known=len(chances),
        effective=effective_cases([1 / chance for chance in chances]),
    )


def _rows(
    ledger: Ledger,
    task_type: str,
    since: float | None,
    until: float | None,
    policies: Collection[str] | None,
) -> Sequence[_Row]:
    from sqlalchemy import and_, select

    from consensus.ledger.schema import decisions as d
    from consensus.ledger.schema import labels as b

    query = (
        select(d.c.receipt_id, d.c.action, b.c.agrees, b.c.inclusion)
        .join_from(
            d,
            b,
            and_(b.c.receipt_id == d.c.receipt_id, b.c.superseded_at.is_(None)),
            isouter=True,
        )
        .where(d.c.task_type == task_type)
    )
    if since is not None:
        query = query.where(d.c.created_at >= since)
    if until is not None:
        query = query.where(d.c.created_at < until)
    if policies is not None:
        query = query.where(d.c.policy_version.in_(sorted(policies)))
    query = query.order_by(d.c.created_at, d.c.receipt_id)
    found = ledger.read(lambda connection: connection.execute(query).all())
    return [
        _Row(row[0], row[1] == "act", None if row[2] is None else bool(row[2]), row[3])
        for row in found
    ]
