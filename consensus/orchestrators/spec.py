"""A strategy, fully resolved: everything an orchestrator and the conclusion need, and no lookups.

It is a frozen pydantic model because it is written into every receipt and read back by replay.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from consensus.ballots import Ballot, Failure
from consensus.errors import FailureClass
from consensus.orchestrators.calibration import Calibration
from consensus.orchestrators.checks import Check, Judgement

__all__ = [
    "AGGREGATORS",
    "LEARNING",
    "Acceptance",
    "Aggregator",
    "ColdStart",
    "Debating",
    "HopRecord",
    "LeadEvidence",
    "Losses",
    "OrchestratorName",
    "Poll",
    "Stopping",
    "StrategySpec",
]

OrchestratorName = Literal["single", "vote", "debate", "cascade", "best_of_n", "pairs"]
Aggregator = Literal["majority", "mean", "cisc", "weighted", "blocks", "stacked", "scores"]
AGGREGATORS: dict[Aggregator, str] = {
    "majority": "votes counted; posterior of one block of seats that err together",
    "mean": "the seats' probability distributions averaged (linear opinion pool)",
    "cisc": "votes weighted by stated confidence within the question, softmax(c/T); no labels",
    "weighted": "votes weighted by measured accuracy and calibrated confidence",
    "blocks": "each model a block that errs together, with its measured confusions",
    "stacked": "a logit learned on votes, distributions and confidence by model",
    "scores": "whole scores: of each option, or of the subject in the light of its judges",
}
"""Every way to combine ballots. All but ``majority`` and ``cisc`` take a calibration."""

LEARNING: frozenset[Aggregator] = frozenset({"weighted", "blocks", "stacked", "scores"})
"""Aggregators that are a cold start until they are given a calibration."""

# As aggregation.stop_scores has it, whose import would bring numpy into every reading of a policy.
LeadEvidence = Literal["votes", "scores", "both"]


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


class Stopping(_Frozen):
    """When a panel stops asking; ``orchestrators.stopping`` says what each rule means."""

    rule: Literal["margin", "ahead_by_k", "posterior", "adaptive", "value", "lead"] = "margin"
    confidence: float | None = Field(default=None, gt=0.5, lt=1)
    min_ballots: int | None = Field(default=None, ge=1)
    evidence: LeadEvidence = "votes"
    spread: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    level: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _measured(self) -> Stopping:
        if self.rule == "lead" and self.spread is None:
            raise ValueError("the rule lead needs the spread of whole panels")
        return self


class Debating(_Frozen):
    """When a panel talks, and for how long: only with its leader's posterior in this band."""

    max_rounds: int = Field(default=2, ge=1, le=4)
    low: float = Field(default=0.35, ge=0, le=1)
    high: float = Field(default=0.85, ge=0, le=1)


class Acceptance(_Frozen):
    """What a cascade asks of a step before it stops there."""

    by: Literal["posterior", "agreement", "margin", "oracle"] = "posterior"
    threshold: float = Field(default=0.9, ge=0, le=1)


class StrategySpec(_Frozen):
    """One hop's strategy.

    ``quorum`` counts configured seats. ``min_agreement`` is a share of configured seats that the
    leader must *exceed* for a majority (0.5) or reach for anything above; see ``concluding``.
    ``calibration`` is whole, so that a receipt replays from itself alone. With ``conformal`` the
    leader acts only where its calibrated prediction set at ``alpha`` holds nothing else.
    A seat that fails in one of the ways of ``escalate_on`` sends the task on to the next hop.
    ``confidence_temperature`` is T of the aggregator ``cisc``: the lower, the more the surest seats
    weigh; large values are a plain vote. With ``latency`` fast, all seats are asked at once and
    those that a stopping rule makes needless are cut off. ``hedge_after_s``: seconds after which a
    call without an answer is made a second time beside the first.
    """

    name: str
    orchestrator: OrchestratorName = "single"
    aggregator: Aggregator = "majority"
    models: tuple[str, ...] = Field(min_length=1)
    seats: int = Field(default=1, ge=1, le=1001)
    quorum: int = Field(default=1, ge=1)
    framings: tuple[str, ...] = ()
    ballot: Literal["structured", "token", "scores", "auto"] = "auto"
    temperature: float | None = None
    min_agreement: float = Field(default=0.5, ge=0, le=1)
    alpha: float | None = Field(default=None, gt=0, lt=1)
    losses: Losses | None = None
    veto: int | None = Field(default=None, ge=1)
    fallbacks: tuple[str, ...] = ()
    context_guard: float = Field(default=0.8, gt=0, le=1)
    max_output_tokens: int | None = Field(default=None, ge=1)
    cold_start: ColdStart = ColdStart()
    waves: tuple[int, ...] = ()
    stop: Stopping | None = None
    debate: Debating = Debating()
    accept: Acceptance | None = None
    calibration: Calibration | None = None
    conformal: bool = False
    escalate_on: tuple[FailureClass, ...] = ()
    confidence_temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    latency: Literal["normal", "fast"] = "normal"
    hedge_after_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Poll(_Frozen):
    """What an orchestrator brings home: every seat that was asked is in one of the two.

    ``notes`` are reasons worth telling: why it stopped early, what a debate changed.
    ``judgements`` are an oracle's, of candidates.
    """

    ballots: tuple[Ballot, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    judgements: tuple[Judgement, ...] = ()


class HopRecord(_Frozen):
    """One hop as it was run: the input of the conclusion, and part of the receipt.

    ``checks`` must each be met by a judgement of the outcome before it acts; ``judgements`` are all
    that oracles said while the hop was run.
    """

    name: str
    spec: StrategySpec
    ballots: tuple[Ballot, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    judgements: tuple[Judgement, ...] = ()

    @property
    def unasked(self) -> int:
        """Configured seats that a stopping rule left unasked, or cut off; they are no failures."""
        failed = sum(not failure.not_needed for failure in self.failures)
        return max(self.spec.seats - len(self.ballots) - failed, 0)

    @property
    def counted(self) -> int:
        """The seats that a share is of: all configured ones, but those a rule left unasked.

        The rule ``margin`` changes no outcome, so there shares are of all.
        """
        stop = self.spec.stop
        if stop is None or stop.rule == "margin":
            return self.spec.seats
        return self.spec.seats - self.unasked
