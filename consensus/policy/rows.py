"""The rows of a policy and the strategies they name, as typed, frozen data.

A field that is None was not given; what then holds is said in its description and resolved in
:mod:`consensus.policy.resolve`.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from consensus.orchestrators.spec import (
    AGGREGATORS,
    Aggregator,
    ColdStart,
    LeadEvidence,
    OrchestratorName,
)
from consensus.policy._types import (
    Amount,
    Count,
    FileName,
    MaybeNames,
    ModelName,
    Name,
    Names,
    Share,
    Strict,
)
from consensus.policy.certificate import Certificate, Profile
from consensus.tasks import Kind

__all__ = [
    "BUILT_IN",
    "CONDITIONS",
    "Cascade",
    "ColdStartTable",
    "Consequence",
    "Debate",
    "DefaultsRow",
    "LatencyNeed",
    "LossTable",
    "Mixed",
    "PanelFields",
    "Shadow",
    "Stop",
    "StrategyTable",
    "TaskRow",
    "Triggers",
    "When",
]

Consequence = Literal["low", "medium", "high", "irreversible"]
BallotForm = Literal["structured", "token", "scores", "auto"]
TriggerFailure = Literal["off_list", "schema", "unreadable", "empty", "truncated", "refusal"]

BUILT_IN: dict[OrchestratorName, str] = {
    "single": "one model, one call",
    "vote": "a panel asked in parallel, its ballots combined",
    "debate": "a panel that sees its own arguments when it disagrees",
    "cascade": "the cheapest tier first, a stronger one where that is not enough",
    "best_of_n": "several candidates, the best one chosen",
    "pairs": "items ranked by comparing two at a time; seats is the most comparisons",
}
"""The orchestrators that a row may name as its strategy."""


class LossTable(Strict):
    """What errors cost, in any one unit: only their ratio counts."""

    false_approve: Amount = Field(default=1.0, description="Loss of a wrong approval.")
    false_reject: Amount = Field(default=1.0, description="Loss of a wrong rejection.")


class ColdStartTable(Strict):
    """What is assumed of seats that no profile describes."""

    accuracy: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=ColdStart().accuracy, description="Chance that one seat is right."
    )
    stronger_accuracy: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=ColdStart().stronger_accuracy,
        description="The same for a seat that was escalated to.",
    )
    correlation: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=ColdStart().correlation, description="Correlation of two seats' errors."
    )


class Stop(Strict):
    """When a panel stops asking: after each wave, whether more ballots are worth their price."""

    rule: Literal["margin", "ahead_by_k", "posterior", "adaptive", "value", "lead"] = Field(
        default="margin",
        description="margin: the rest cannot change the winner. ahead_by_k: first to lead by k. "
        "posterior: the leader's odds pass the confidence. adaptive: the panel's mode is settled. "
        "value: one more ballot costs more than it could save. lead: the rest can hardly turn the "
        "lead in evidence.",
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1)] | None = Field(
        default=None, description="Certainty at which to stop; 0.95 by default."
    )
    min_ballots: Count | None = Field(
        default=None, description="Ballots before any stop; never fewer than the row's quorum."
    )
    evidence: LeadEvidence = Field(
        default="votes",
        description='Of lead: what is added up. scores and both need ballot = "scores".',
    )
    spread: Amount | None = Field(
        default=None,
        description="Of lead: how much one ballot moves it (standard deviation), from consensus "
        "bench replay --strategy adaptive:votes (scores, both) --calibrate half.",
    )
    level: Amount | None = Field(
        default=None,
        description="Of lead: the lead at which to stop, in standard deviations of what the rest "
        "may move it, from the same replay; by default that of confidence.",
    )

    @model_validator(mode="after")
    def _of_one_rule(self) -> Stop:
        if self.rule == "lead" and self.spread is None:
            raise ValueError(
                "rule lead needs a spread: consensus bench replay --strategy "
                f"adaptive:{self.evidence} --calibrate half prints it"
            )
        strange = {"evidence", "spread", "level"} & self.model_fields_set
        if self.rule != "lead" and strange:
            raise ValueError(f"{min(strange)} belongs to rule lead, not to {self.rule}")
        return self


class Debate(Strict):
    """When a panel talks, and for how long."""

    max_rounds: Annotated[int, Field(ge=1, le=4)] = Field(
        default=2, description="Rounds after the blind ballots."
    )
    low: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.35, description="No debate where the leader's posterior is below this."
    )
    high: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.85, description="No debate where the leader's posterior is above this."
    )

    @model_validator(mode="after")
    def _a_band(self) -> Debate:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        return self


class Cascade(Strict):
    """Which steps a cascade takes, and what it accepts from each."""

    steps: Names | None = Field(
        default=None,
        description="Tiers or strategies, cheapest first; the row's tier, then escalate_to.",
    )
    accept: Literal["posterior", "agreement", "margin", "oracle"] = Field(
        default="posterior", description="What is compared with the thresholds."
    )
    thresholds: Annotated[tuple[Share, ...], Field(strict=False, min_length=1)] | None = Field(
        default=None,
        description="One for each step but the last; one number serves all. "
        "Of an oracle it is the score; without one, its own idea of acceptable.",
    )
    p95_s: Annotated[tuple[Amount, ...], Field(strict=False, min_length=1)] | None = Field(
        default=None,
        description="Measured 95th percentile of each step's latency, in seconds, escalations "
        "included; checked against latency_need.",
    )


class Shadow(Strict):
    """A share of tasks that a stronger route answers too, to watch the cheaper one."""

    share: Share = Field(description="Share of the tasks.")
    route: ModelName = Field(description="Tier, strategy or model that answers beside it.")


class Mixed(Strict):
    """One strategy of a mixture, and the share of the tasks that it gets."""

    share: Annotated[float, Field(gt=0, lt=1)] = Field(description="Share of the tasks.")
    strategy: Name = Field(description="As strategy.")


class Triggers(Strict):
    """What sends a task on to the next hop, besides the row's rule; off where it is not given."""

    on: Annotated[tuple[TriggerFailure, ...], Field(strict=False)] = Field(
        default=(),
        description="Failures of any one seat's answer that send the task on: off_list (a label "
        "outside the set), schema, unreadable, empty, truncated, refusal. Without it they only "
        "cost the seat its voice.",
    )
    failure_rate: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=0.05,
        description="Share of a hop's answers that cannot be used, in the window, above which the "
        "next hop is asked directly until it recovers.",
    )
    window: Annotated[int, Field(ge=20, le=100_000)] = Field(
        default=100, description="Tasks of the row that failure_rate looks back on."
    )
    quality: Share | None = Field(
        default=None,
        description="Score of the row's oracle below which an outcome is not acted upon.",
    )


class LatencyNeed(Strict):
    """How long a caller can wait."""

    p95_s: Amount = Field(description="Seconds within which 95 of 100 decisions must be there.")
    interactive: bool = Field(default=False, description="Whether a person waits for it.")


class PanelFields(Strict):
    """What a strategy needs; rows, named strategies and ``[defaults]`` all may say it."""

    tier: Name | None = Field(default=None, description="Tier whose models answer, in turn.")
    models: Names | None = Field(default=None, description="Models instead of a tier, in turn.")
    seats: Annotated[int, Field(ge=1, le=1001)] | None = Field(
        default=None, description="Places on the panel; single: 1, otherwise 5."
    )
    quorum: Count | None = Field(
        default=None,
        description="Valid ballots needed, of the configured seats; more than half by default.",
    )
    framings: Names | None = Field(
        default=None, description="Framings or framing sets, in seat order; the panel's otherwise."
    )
    ballot: BallotForm | None = Field(
        default=None,
        description="structured: an object. token: one token, read as a distribution. "
        "scores: a score from 1 to 10 for every option (the aggregator is then scores unless "
        "named). "
        "auto (default): token for local/ models, structured otherwise.",
    )
    aggregator: Aggregator | None = Field(
        default=None,
        description="How ballots are combined; the calibration's own where there is one, else "
        "majority. " + " ".join(f"{name}: {what}." for name, what in AGGREGATORS.items()),
    )
    calibration: FileName | None = Field(
        default=None,
        description="File of consensus bench fit, in this file's folder: what labelled cases "
        "say of these models on this task type.",
    )
    conformal: bool | None = Field(
        default=None,
        description="true: act only where the calibrated prediction set at alpha holds one option.",
    )
    confidence_temperature: Amount | None = Field(
        default=None,
        description="T of the aggregator cisc: the lower, the more the surest seats weigh; 1.",
    )
    min_agreement: Share | None = Field(
        default=None,
        description="Share of the configured seats that must agree; more than half by default.",
    )
    losses: LossTable | None = Field(
        default=None, description="What a wrong approval and a wrong rejection cost."
    )
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="Error allowed among acted decisions: act only at P ≥ 1 − α."
    )
    veto: Count | None = Field(
        default=None, description="Rejections that forbid an approval, whatever the majority."
    )
    escalate_to: MaybeNames | None = Field(
        default=None,
        description="Tiers, strategies or models to ask next, in order; [] for none.",
    )
    fallback: MaybeNames | None = Field(
        default=None,
        description="Models or tiers asked in the place of one that fails; [] for none.",
    )
    max_usd: Amount | None = Field(
        default=None, description="Hard cap on one decision, in US dollars, escalations included."
    )
    deadline_s: Amount | None = Field(
        default=None, description="Seconds for one decision, escalations included."
    )
    context_guard: Share | None = Field(
        default=None,
        description="Share of a model's window that input and reserved output may fill; 0.8.",
    )
    max_output_tokens: Count | None = Field(
        default=None, description="Tokens reserved for one answer."
    )
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None, description="Sampling temperature, for models that take one."
    )
    latency: Literal["normal", "fast"] | None = Field(
        default=None,
        description="fast: all seats are asked at once, whatever waves says, and those that the "
        "stopping rule (margin, where stop is not given) makes needless are cut off; their cost "
        "is estimated.",
    )
    hedge_after_s: Amount | None = Field(
        default=None,
        description="Seconds after which a call without an answer is made a second time beside "
        "the first; the first answer counts, and both are paid for.",
    )
    waves: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] | None = Field(
        default=None, description="Seats asked at a time; the last number repeats."
    )
    stop: Stop | None = Field(default=None, description="When no more ballots are asked for.")
    debate: Debate | None = Field(default=None, description="Settings of a debate.")
    cascade: Cascade | None = Field(default=None, description="Settings of a cascade.")
    cold_start: ColdStartTable | None = Field(
        default=None, description="What is assumed of seats that no profile describes."
    )

    @model_validator(mode="after")
    def _consistent(self) -> PanelFields:
        if self.tier is not None and self.models is not None:
            raise ValueError('gives both "tier" and "models": keep one')
        if self.seats is not None and self.quorum is not None and self.quorum > self.seats:
            raise ValueError(f"quorum {self.quorum} is more than its {self.seats} seats")
        return self


class StrategyTable(PanelFields):
    """A named strategy: an orchestrator with its settings."""

    orchestrator: OrchestratorName = Field(description="How ballots are obtained.")
    description: str | None = Field(default=None, description="What it is for.")


class When(PanelFields):
    """A rule on a task's length, structure and category; the first match changes the row."""

    min_input_tokens: Count | None = Field(
        default=None, description="Matches from this length on (estimated at 4 bytes a token)."
    )
    max_input_tokens: Count | None = Field(
        default=None, description="Matches up to this length (estimated at 4 bytes a token)."
    )
    min_expected_output_tokens: Count | None = Field(
        default=None, description="Matches rows that expect answers at least this long."
    )
    max_expected_output_tokens: Count | None = Field(
        default=None, description="Matches rows that expect answers at most this long."
    )
    structured: bool | None = Field(
        default=None,
        description="true: the answer is from a closed set, a number or has a schema. "
        "false: open text.",
    )
    min_options: Count | None = Field(
        default=None, description="Matches tasks with at least so many options or items."
    )
    max_options: Count | None = Field(
        default=None, description="Matches tasks with at most so many options or items."
    )
    multi_hop: bool | None = Field(
        default=None,
        description="true: the text asks for several things, or refers to other documents (a rule "
        "of thumb on English text: policy/hops.py). false: it does not.",
    )
    open_domain: bool | None = Field(
        default=None,
        description="true: a short question that brings no material. For rows whose subject is the "
        "question; a short question to be classified matches too.",
    )
    category: Name | None = Field(
        default=None, description="Matches tasks of which the [classifier] says so."
    )
    strategy: Name | None = Field(default=None, description="Strategy to use instead.")

    @property
    def conditions(self) -> dict[str, int | bool | str]:
        """What is asked of the task, by name."""
        return {
            name: value for name in CONDITIONS if (value := getattr(self, name, None)) is not None
        }

    @model_validator(mode="after")
    def _says_something(self) -> When:
        if not self.conditions:
            raise ValueError(f"asks nothing of the task; give one of {', '.join(CONDITIONS)}")
        if not (self.model_fields_set - set(CONDITIONS)):
            raise ValueError("changes nothing; give a tier, models or a strategy")
        return self


CONDITIONS: tuple[str, ...] = (
    "min_input_tokens",
    "max_input_tokens",
    "min_expected_output_tokens",
    "max_expected_output_tokens",
    "structured",
    "min_options",
    "max_options",
    "multi_hop",
    "open_domain",
    "category",
)


class DefaultsRow(PanelFields):
    """The row of a task type that has none, and the ground of every other row."""

    strategy: Name | None = Field(
        default=None,
        description=f"{', '.join(BUILT_IN)}, or the name of a [strategies.NAME] table; single.",
    )
    mix: Annotated[tuple[Mixed, ...], Field(strict=False, min_length=2)] | None = Field(
        default=None,
        description="Instead of strategy: several, each with its share of the tasks; which one a "
        "task gets is a hash of its id (of its content without one).",
    )
    consequence: Consequence | None = Field(
        default=None, description="How bad a wrong answer is, apart from how hard the task is."
    )
    expected_input_tokens: Count | None = Field(
        default=None, description="Tokens of a typical task; for estimates."
    )
    expected_output_tokens: Count | None = Field(
        default=None, description="Tokens of a typical answer; for estimates and rules."
    )
    triggers: Triggers | None = Field(
        default=None, description="What sends a task on to the next hop, besides the rule."
    )
    latency_need: LatencyNeed | None = Field(
        default=None, description="How long a caller can wait; checked, and never enforced."
    )
    when: Annotated[tuple[When, ...], Field(strict=False)] | None = Field(
        default=None, description="Rules on a task's length and structure; the first match wins."
    )

    @model_validator(mode="after")
    def _one_mixture(self) -> DefaultsRow:
        if self.mix is None:
            return self
        if self.strategy is not None:
            raise ValueError('gives both "strategy" and "mix": keep one')
        names = [part.strategy for part in self.mix]
        if len(set(names)) < len(names):
            raise ValueError("mix names a strategy twice")
        total = math.fsum(part.share for part in self.mix)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"the shares of mix sum to {total:g}, not to 1")
        return self


class TaskRow(DefaultsRow):
    """What the table knows of one task type."""

    kind: Kind | None = Field(
        default=None, description="Kind of its tasks; a task of another kind is refused."
    )
    owner: str | None = Field(default=None, description="Who answers for this row.")
    description: str | None = Field(default=None, description="What these tasks are.")
    criteria: str | None = Field(default=None, description="Criteria of tasks that bring none.")
    options: Annotated[tuple[str, ...], Field(strict=False, min_length=2)] | None = Field(
        default=None, description="Options of Choose tasks that bring none."
    )
    scale: Annotated[tuple[float, ...], Field(strict=False, min_length=2, max_length=2)] | None = (
        Field(default=None, description="Scale of Score tasks that bring none: lowest, highest.")
    )
    output_schema: dict[str, Any] | None = Field(
        default=None, alias="schema", description="JSON Schema of Generate tasks that bring none."
    )
    oracle: Name | None = Field(
        default=None,
        description="Name under [oracles]: the executable definition of an acceptable answer. It "
        "is the gate too, where it is code that needs no label.",
    )
    gate: Name | None = Field(
        default=None,
        description="Name under [oracles] of what an outcome must pass before it acts.",
    )
    floor: Share | None = Field(
        default=None, description="Quality below which no route may serve this type."
    )
    shadow: Shadow | None = Field(default=None, description="Share that a stronger route sees too.")
    demote: bool | None = Field(
        default=None,
        description="true: an alarm takes the row back to its last certificate that still holds, "
        "else to its last escalation, or to the tier frontier where it has none, until it is "
        "promoted or certified anew.",
    )
    certificate: Certificate | None = Field(
        default=None, description="What the row has earned; written by consensus policy accept."
    )
    profile: Profile | None = Field(
        default=None, description="What its run measured; production is watched against it."
    )

    @field_validator("options")
    @classmethod
    def _distinct(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        seen: set[str] = set()
        for option in value or ():
            key = " ".join(option.split()).casefold()
            if not key or key in seen:
                raise ValueError(f"holds {option!r} twice" if key else "holds a blank option")
            seen.add(key)
        return value

    @field_validator("scale")
    @classmethod
    def _ordered(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value and not (all(map(math.isfinite, value)) and value[0] < value[1]):
            raise ValueError("must be two finite numbers, low before high")
        return value

    def task_defaults(self) -> dict[str, Any]:
        """The constructor's fields that this row supplies to a task without them."""
        given = {
            "kind": self.kind,
            "criteria": self.criteria,
            "options": self.options,
            "scale": self.scale,
            "schema": self.output_schema,
        }
        return {name: value for name, value in given.items() if value is not None}
