"""A strategy, fully resolved: everything an orchestrator and the conclusion need, and no lookups.

It is a frozen pydantic model because it is written into every receipt and read back by replay.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from consensus.ballots import Ballot, Failure

__all__ = [
    "AGGREGATORS",
    "Aggregator",
    "ColdStart",
    "HopRecord",
    "Losses",
    "OrchestratorName",
    "Poll",
    "StrategySpec",
]

OrchestratorName = Literal["single", "vote", "debate", "cascade", "best_of_n"]
Aggregator = Literal["majority", "mean"]
AGGREGATORS: dict[Aggregator, str] = {
    "majority": "votes counted; posterior of one block of seats that err together",
    "mean": "the seats' probability distributions averaged (linear opinion pool)",
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Losses(_Frozen):
    """What a wrong approval and a wrong rejection cost, in any one unit."""

    false_approve: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    false_reject: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    def threshold(self, option: str) -> float:
        """The probability that ``approve`` or ``reject`` must pass (Bayes' rule for two losses)."""
        total = self.false_approve + self.false_reject
        return (self.false_approve if option == "approve" else self.false_reject) / total


class ColdStart(_Frozen):
    """What is assumed of seats that no profile describes (see design/engine.md)."""

    accuracy: float = Field(default=0.85, gt=0, lt=1)
    stronger_accuracy: float = Field(default=0.90, gt=0, lt=1)
    correlation: float = Field(default=0.44, gt=0, lt=1)


class StrategySpec(_Frozen):
    """One hop's strategy.

    ``quorum`` counts configured seats. ``min_agreement`` is a share of configured seats that the
    leader must *exceed* for a majority (0.5) or reach for anything above; see ``concluding``.
    """

    name: str
    orchestrator: OrchestratorName = "single"
    aggregator: Aggregator = "majority"
    models: tuple[str, ...] = Field(min_length=1)
    seats: int = Field(default=1, ge=1, le=1001)
    quorum: int = Field(default=1, ge=1)
    framings: tuple[str, ...] = ()
    ballot: Literal["structured", "token", "auto"] = "auto"
    temperature: float | None = None
    min_agreement: float = Field(default=0.5, ge=0, le=1)
    alpha: float | None = Field(default=None, gt=0, lt=1)
    losses: Losses | None = None
    veto: int | None = Field(default=None, ge=1)
    fallbacks: tuple[str, ...] = ()
    context_guard: float = Field(default=0.8, gt=0, le=1)
    max_output_tokens: int | None = Field(default=None, ge=1)
    cold_start: ColdStart = ColdStart()


class Poll(_Frozen):
    """What an orchestrator brings home: every seat is in one of the two."""

    ballots: tuple[Ballot, ...] = ()
    failures: tuple[Failure, ...] = ()


class HopRecord(_Frozen):
    """One hop as it was run: the input of the conclusion, and part of the receipt."""

    name: str
    spec: StrategySpec
    ballots: tuple[Ballot, ...] = ()
    failures: tuple[Failure, ...] = ()
