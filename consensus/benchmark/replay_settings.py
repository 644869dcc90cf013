"""What a replay is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from consensus.benchmark.acting import Acting
from consensus.errors import DataError

__all__ = ["Objective", "ReplaySettings", "check_settings"]

_ROW = "--row TYPE (a policy row, as the engine would serve it)"
_ACT_INSTEAD: Mapping[str, str] = {
    "auto": f"stacked or live:blocks on the models that it chooses, or {_ROW}",
    "stack": "stacked",
    "scores": "softmax",
    "adaptive": f"vote with as many seats, or {_ROW}",
    "cascade": f"stacked on its models, or {_ROW}",
    "debate": "vote with as many seats",
}
"""What can act, where a strategy gives no probability of its decision to act by."""

Objective = Literal["accuracy", "balanced"]


@dataclass(frozen=True)
class ReplaySettings:
    """What to replay.

    Attributes:
        frontier: the model that the strategy is compared with, one pass of it.
        panel: the models that have seats.
        strategy: its name.
        seats: all seats, members in turn, samples in turn; None: one a member (for ``auto``: as
            many as it finds worth asking).
        variant: prompt or method; None: the one that the models share (see ``resolve_members``).
        complete: only cases that every model named has answered in full.
        sample: only this sample of every model.
        goal: for ``auto`` and ``cascade:STEPS``: ``parity``, ``quality`` or ``budget:RATIO``.
        against: another strategy on the same seats, cases and splits (and to the same goal):
            compared in pairs.
        acting: when a decision is acted upon; None: always, and nothing is said of it.
        calibrate: learn on a half of the cases and report on the other.
        splits: how many such halves; figures are means over them.
        split_seed: the first split's seed.
        draws: random sample orders where not all samples are used.
        seed: of sample orders and intervals.
        objective: for ``auto``: accuracy, or the mean over the labels of the accuracy on each;
            None: balanced for approvals, where the labels are what matters and not how common
            they are here.
        epsilon: the loss that still counts as parity in the verdict, as a share.
    """

    frontier: str
    panel: tuple[str, ...]
    strategy: str = "vote"
    seats: int | None = None
    variant: str | None = None
    complete: bool = False
    sample: int | None = None
    goal: str | None = None
    calibrate: bool = False
    splits: int = 1
    split_seed: int = 0
    draws: int = 64
    seed: int = 0
    objective: Objective | None = None
    epsilon: float = 0.01
    against: str | None = None
    acting: Acting | None = None


def check_settings(settings: ReplaySettings) -> None:
    """Refuse what contradicts itself.

    Raises:
        DataError: naming the option.
    """
    if not settings.panel:
        raise DataError("names no model", where="--panel")
    if len(set(settings.panel)) < len(settings.panel):
        raise DataError("names a model twice", where="--panel", fix="use --seats for more samples")
    if settings.acting is not None:
        settings.acting.check()
        _check_acting(settings.strategy, settings.acting)
    if settings.splits < 1:
        raise DataError("must be at least 1", where="--splits")
    if settings.splits > 1 and not settings.calibrate:
        raise DataError("several splits need a half to split off", where="--splits",
                        fix="add --calibrate half")  # fmt: skip
    if settings.strategy == "auto" and not settings.calibrate:
        raise DataError("auto chooses on labelled cases", where="--strategy",
                        fix="add --calibrate half")  # fmt: skip
    if settings.goal is not None and not (
        settings.strategy == "auto" or settings.strategy.startswith("cascade:")
    ):
        raise DataError(
            "only auto and cascade:STEPS have a goal", where="--goal", fix="--strategy auto"
        )


def _check_acting(strategy: str, acting: Acting) -> None:
    instead = _ACT_INSTEAD.get(strategy.partition(":")[0])
    if instead is not None:
        flags = [flag for flag in acting.flags() if flag.startswith("--")]
        raise DataError(
            f'"{strategy}" gives no probability of its decision, by which one could act',
            where=flags[0] if flags else "--strategy",
            fix=f"--strategy {instead}",
        )
