"""The policy table as typed, frozen data: what a folder of TOML says, and nothing computed.

A field that is None was not given; what then holds is said in its description and resolved in
:mod:`consensus.policy.resolve`. Precedence: a ``when`` rule, the row, the strategy it names,
``[defaults]``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    field_validator,
    model_validator,
)

from consensus.orchestrators.spec import Aggregator, ColdStart, OrchestratorName
from consensus.policy._lines import KeyPath
from consensus.tasks import TYPE_PATTERN, Kind

if TYPE_CHECKING:
    from consensus.models.factory import ProviderSettings as ClientSettings

__all__ = [
    "BUILT_IN",
    "CONDITIONS",
    "Cascade",
    "ColdStartTable",
    "Consequence",
    "Debate",
    "DefaultsRow",
    "LedgerSettings",
    "LossTable",
    "PanelFields",
    "Place",
    "PolicyTable",
    "Price",
    "ProviderSettings",
    "Shadow",
    "Stop",
    "StrategyTable",
    "TaskRow",
    "When",
]

Consequence = Literal["low", "medium", "high", "irreversible"]
BallotForm = Literal["structured", "token", "auto"]

BUILT_IN: dict[OrchestratorName, str] = {
    "single": "one model, one call",
    "vote": "a panel asked in parallel, its ballots combined",
    "debate": "a panel that sees its own arguments when it disagrees",
    "cascade": "the cheapest tier first, a stronger one where that is not enough",
    "best_of_n": "several candidates, the best one chosen",
}
"""The orchestrators that a row may name as its strategy."""

Share: TypeAlias = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Amount: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
ModelName: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=256, pattern=r"^\S+$")
]
Name: TypeAlias = Annotated[str, StringConstraints(pattern=TYPE_PATTERN)]
# TOML gives lists, and pydantic's strict mode takes no list for a tuple: the outer shape is lax.
Names: TypeAlias = Annotated[tuple[ModelName, ...], Field(strict=False, min_length=1)]
# An empty list is how a row declines what [defaults] would give it.
MaybeNames: TypeAlias = Annotated[tuple[ModelName, ...], Field(strict=False)]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key stands."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class _Strict(BaseModel):
    """TOML has types, so nothing is converted: ``seats = "5"`` is a mistake."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, populate_by_name=True
    )


class ProviderSettings(_Strict):
    """How one provider is reached and how hard it may be pressed."""

    base_url: str | None = Field(
        default=None, description="Endpoint; the provider's standard variable or address otherwise."
    )
    api_key_env: str | None = Field(
        default=None,
        description="NAME of the environment variable that holds the key; never the key itself.",
    )
    requests_per_minute: Amount | None = Field(
        default=None, description="Requests started in any minute."
    )
    tokens_per_minute: Amount | None = Field(
        default=None, description="Input and reserved output tokens in any minute."
    )
    concurrency: Count | None = Field(default=None, description="Requests in flight at once.")
    timeout_s: Amount | None = Field(default=None, description="Seconds one attempt may take.")
    max_attempts: Count | None = Field(
        default=None, description="Attempts at one call, the first included."
    )
    cooldown_s: NotNegative | None = Field(
        default=None, description="Seconds without calls of a model that kept failing."
    )
    window_s: Amount | None = Field(
        default=None,
        description="Sliding window of both rates in seconds; 60, or 1 for providers that enforce "
        "their minute by the second.",
    )

    @field_validator("base_url")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        # whether it is an address at all depends on the provider, so that is for the check
        if value is not None and re.search(r"[@?]", value):
            raise ValueError("must hold no user, password or query: keys go into api_key_env")
        return value

    @field_validator("api_key_env")
    @classmethod
    def _a_name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,127}", value):
            raise ValueError(
                "must be the NAME of an environment variable (capitals, digits, _), "
                "such as OPENAI_API_KEY, never the key itself"
            )
        return value


_RATE = re.compile(
    r"(batch_)?(input|output|cache_read|cache_write|cache_write_1h|reasoning)(_above_\d{1,6}k)?"
)


class Price(_Strict):
    """What a model costs, in US dollars per million tokens; over the price map.

    Any rate may also be given for long prompts (``input_above_200k``: every token of a call whose
    input passes that) and any ability with ``supports_…``. A table with any rate replaces the
    map's price of this model whole; one without only adds to what the map knows of it.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, NotNegative | bool]

    input: NotNegative | None = Field(
        default=None, description="$ per million input tokens that no cache served."
    )
    output: NotNegative | None = Field(
        default=None, description="$ per million output tokens, reasoning included."
    )
    cache_read: NotNegative | None = Field(
        default=None, description="$ per million tokens read from a prompt cache."
    )
    cache_write: NotNegative | None = Field(
        default=None, description="$ per million tokens written to a prompt cache (5 minutes)."
    )
    cache_write_1h: NotNegative | None = Field(
        default=None, description="$ per million tokens written to a prompt cache for an hour."
    )
    reasoning: NotNegative | None = Field(
        default=None, description="$ per million reasoning tokens, where not priced as output."
    )
    batch_input: NotNegative | None = Field(
        default=None, description="$ per million input tokens in a batch."
    )
    batch_output: NotNegative | None = Field(
        default=None, description="$ per million output tokens in a batch."
    )
    per_request: NotNegative | None = Field(default=None, description="$ for each request.")
    max_input_tokens: Count | None = Field(default=None, description="The model's input window.")
    max_output_tokens: Count | None = Field(default=None, description="The longest output.")
    prompt_cache_min_tokens: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Shortest prefix that the provider caches."
    )
    thinking_room: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Output tokens kept free for thinking, beside the answer."
    )

    @model_validator(mode="after")
    def _complete(self) -> Price:
        extra = self.__pydantic_extra__
        for name, value in extra.items():
            ability = name.startswith("supports_")
            if not ability and not _RATE.fullmatch(name):
                raise ValueError(f'"{name}" is not a key of this table')
            if isinstance(value, bool) != ability:
                raise ValueError(f'"{name}" is {"true or false" if ability else "a number"}')
        priced = "per_request" in self.model_fields_set or any(
            _RATE.fullmatch(name) for name in (*self.model_fields_set, *extra)
        )
        if priced and (self.input is None or self.output is None):
            raise ValueError('needs both "input" and "output", in $ per million tokens')
        return self


class LossTable(_Strict):
    """What errors cost, in any one unit: only their ratio counts."""

    false_approve: Amount = Field(default=1.0, description="Loss of a wrong approval.")
    false_reject: Amount = Field(default=1.0, description="Loss of a wrong rejection.")


class ColdStartTable(_Strict):
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


class Stop(_Strict):
    """When a panel stops asking: after each wave, whether more ballots are worth their price."""

    rule: Literal["margin", "ahead_by_k", "posterior", "adaptive", "value"] = Field(
        default="margin",
        description="margin: the rest cannot change the winner. ahead_by_k: first to lead by k. "
        "posterior: the leader's odds pass the confidence. adaptive: the panel's mode is settled. "
        "value: one more ballot costs more than it could save.",
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1)] | None = Field(
        default=None, description="Certainty at which to stop; 0.95 by default."
    )
    min_ballots: Count | None = Field(default=None, description="Ballots before any stop.")


class Debate(_Strict):
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


class Cascade(_Strict):
    """Which steps a cascade takes, and what it accepts from each."""

    steps: Names | None = Field(
        default=None,
        description="Tiers or strategies, cheapest first; the row's tier, then escalate_to.",
    )
    accept: Literal["posterior", "agreement", "margin", "oracle"] = Field(
        default="posterior", description="What is compared with the thresholds."
    )
    thresholds: Annotated[tuple[Share, ...], Field(strict=False, min_length=1)] | None = Field(
        default=None, description="One for each step but the last; one number serves all."
    )


class Shadow(_Strict):
    """A share of tasks that a stronger route answers too, to watch the cheaper one."""

    share: Share = Field(description="Share of the tasks.")
    route: ModelName = Field(description="Tier, strategy or model that answers beside it.")


class PanelFields(_Strict):
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
        "auto (default): token for local/ models, structured otherwise.",
    )
    aggregator: Aggregator | None = Field(
        default=None, description="How ballots are combined; majority by default."
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
        default=None, description="fast: all seats at once, whatever waves says."
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
    """A rule on a task's length and structure; the first that matches changes the row."""

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
    strategy: Name | None = Field(default=None, description="Strategy to use instead.")

    @property
    def conditions(self) -> dict[str, int | bool]:
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
)


class DefaultsRow(PanelFields):
    """The row of a task type that has none, and the ground of every other row."""

    strategy: Name | None = Field(
        default=None,
        description=f"{', '.join(BUILT_IN)}, or the name of a [strategies.NAME] table; single.",
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
    when: Annotated[tuple[When, ...], Field(strict=False)] | None = Field(
        default=None, description="Rules on a task's length and structure; the first match wins."
    )


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
    oracle: str | None = Field(
        default=None, description="Oracle: the executable definition of an acceptable answer."
    )
    gate: str | None = Field(
        default=None, description="Oracle that must pass before the decision acts."
    )
    floor: Share | None = Field(
        default=None, description="Quality below which no route may serve this type."
    )
    shadow: Shadow | None = Field(default=None, description="Share that a stronger route sees too.")

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


class LedgerSettings(_Strict):
    """Where decisions are kept, and how safely."""

    path: str | None = Field(default=None, description="File of the ledger's database.")
    durability: Literal["process", "power"] = Field(
        default="process",
        description="process: a paid answer survives kill -9. power: also a power cut.",
    )
    store_text: bool = Field(
        default=True, description="false: judged text is never written; replay still works."
    )


class PolicyTable(_Strict):
    """Task type → strategy, with all that this needs: the merged TOML of one folder."""

    version: Literal[1] = Field(default=1, description="Version of this format.")
    providers: dict[Name, ProviderSettings] = Field(
        default={}, description="Endpoints and limits, by LiteLLM's provider name."
    )
    prices: dict[ModelName, Price] = Field(
        default={}, description="Prices over the price map, by model."
    )
    tiers: dict[Name, Annotated[tuple[ModelName, ...], Field(strict=False)]] = Field(
        default={}, description="Named groups of models, such as small, mid, frontier."
    )
    framing_sets: dict[Name, Names] = Field(default={}, description="Named lists of framings.")
    strategies: dict[Name, StrategyTable] = Field(default={}, description="Named strategies.")
    defaults: DefaultsRow = Field(
        default=DefaultsRow(), description="The row of a task type that has none."
    )
    tasks: dict[Name, TaskRow] = Field(default={}, description="One row a task type.")
    ledger: LedgerSettings = Field(
        default=LedgerSettings(), description="Where decisions are kept."
    )

    _places: Mapping[KeyPath, Place] = PrivateAttr(default_factory=dict)
    _source: str = PrivateAttr(default="PolicyTable")
    _routes: dict[object, object] = PrivateAttr(default_factory=dict)

    @cached_property
    def version_hash(self) -> str:
        """Content hash: the same table in other files, another order or with comments is the same.

        The first 16 hex digits of SHA-256 over the canonical JSON of everything that is set.
        """
        data = self.model_dump(mode="json", exclude_none=True, by_alias=True)
        text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PolicyTable) and self.version_hash == other.version_hash

    def __hash__(self) -> int:
        return hash(self.version_hash)

    def provider_settings(self) -> dict[str, ClientSettings]:
        """``[providers]`` as the clients and limits take them, by provider name."""
        from consensus.models.factory import ProviderSettings as Settings

        return {
            name: Settings(**provider.model_dump(exclude_none=True))
            for name, provider in self.providers.items()
        }

    def price_overrides(self) -> dict[str, dict[str, float | int]]:
        """``[prices]`` as plain data: $ per million tokens, and windows in tokens, by model."""
        return {model: price.model_dump(exclude_none=True) for model, price in self.prices.items()}

    @property
    def source(self) -> str:
        """Where the table was read from."""
        return self._source

    def place(self, *path: str | int) -> Place | None:
        """Where a key stands, or the nearest key around it; None for a table made in Python."""
        for end in range(len(path), 0, -1):
            found = self._places.get(path[:end])
            if found is not None:
                return found
        return None

    def cite(self, *path: str | int) -> str:
        """A key with its place, for people: ``tasks.refund_approval (strategies/x.toml:12)``."""
        place = self.place(*path)
        key = ".".join(str(part) for part in path)
        return f"{key} ({place})" if place else key

    def located(self, places: Mapping[KeyPath, Place], source: str) -> PolicyTable:
        """This table, knowing where its keys stand."""
        table = self.model_copy()
        table._places = dict(places)
        table._source = source
        table._routes = {}
        return table
