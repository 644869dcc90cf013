"""What a consequence asks of a route: the floor, the error allowed, and whether a gate must stand.

Thresholds are configuration, in ``[certificates]`` of the policy: they are set from what a wrong
answer costs, and change with prices and models.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import Field, model_validator

from consensus.policy._types import NotNegative, Share, Strict
from consensus.policy.rows import Consequence, TaskRow

__all__ = ["Bar", "Bars", "CertificateSettings", "bar_for", "bar_of"]

Delta = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


class Bar(Strict):
    """What a route must clear to serve task types of one consequence."""

    floor: Share = Field(description="Lower bound of the pass rate that certifies a route (tau).")
    delta: Delta = Field(description="Chance allowed that a certificate is false.")
    provisional: Share | None = Field(
        default=None,
        description="Lower bound from which a cheaper route may serve with a shadow share; "
        "without it no route serves provisionally.",
    )

    @model_validator(mode="after")
    def _below(self) -> Bar:
        if self.floor >= 1:
            raise ValueError("floor must be below 1: no number of cases proves perfection")
        if self.provisional is not None and self.provisional >= self.floor:
            raise ValueError(
                f"provisional ({self.provisional}) must be below the floor ({self.floor})"
            )
        return self


class CertificateSettings(Strict):
    """``[certificates]``: the bars, how long evidence lasts, and what parity means."""

    low: Bar = Field(
        default=Bar(floor=0.90, delta=0.10, provisional=0.80), description="Consequence low."
    )
    medium: Bar = Field(
        default=Bar(floor=0.95, delta=0.05, provisional=0.85), description="Consequence medium."
    )
    high: Bar = Field(
        default=Bar(floor=0.99, delta=0.01),
        description="Consequence high; irreversible asks the same, and a gate.",
    )
    max_age_days: Annotated[int, Field(ge=1)] = Field(
        default=90, description="Days after which a certificate no longer holds."
    )
    shadow_share: Share = Field(
        default=0.10,
        description="Share of a provisional row's tasks that the frontier answers too.",
    )
    parity_margin: NotNegative = Field(
        default=0.02, description="Loss against the frontier that still counts as parity, a share."
    )


class Bars(NamedTuple):
    """The bar of one row.

    Attributes:
        floor, delta, provisional: as in :class:`Bar`.
        gate: whether an oracle must stand before the action, whatever is certified.
    """

    floor: float
    delta: float
    provisional: float | None
    gate: bool


def bar_for(
    settings: CertificateSettings,
    consequence: Consequence | None,
    *,
    floor: float | None = None,
    delta: float | None = None,
) -> Bars:
    """The bar of a consequence (medium where none is said), with a row's or an audit's own figures.

    An own floor keeps the provisional threshold where that lies below it.
    """
    named = "high" if consequence == "irreversible" else consequence or "medium"
    bar: Bar = getattr(settings, named)
    wanted = bar.floor if floor is None else floor
    provisional = bar.provisional
    if provisional is not None and provisional >= wanted:
        provisional = None
    return Bars(
        wanted,
        bar.delta if delta is None else delta,
        provisional,
        consequence in ("high", "irreversible"),
    )


def bar_of(
    settings: CertificateSettings,
    row: TaskRow,
    *,
    floor: float | None = None,
    delta: float | None = None,
) -> Bars:
    """The bar of a row: its own ``floor``, else the audit's, else its consequence's."""
    own = row.floor if row.floor is not None else floor
    return bar_for(settings, row.consequence, floor=own, delta=delta)
