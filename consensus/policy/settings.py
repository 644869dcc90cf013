"""What stands beside the rows: providers, prices, the ledger."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from consensus.models.environment import url_from
from consensus.policy._types import (
    Amount,
    Count,
    FileName,
    ModelName,
    Name,
    NotNegative,
    Share,
    Strict,
)

__all__ = ["ClassifierTable", "LedgerSettings", "LimitsTable", "Price", "ProviderSettings"]


class ProviderSettings(Strict):
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


class Price(Strict):
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


class ClassifierTable(Strict):
    """Who says what a task is about.

    ``tfidf`` and ``embedding`` are files of ``consensus policy classify train``; ``model`` is one
    cheap call, priced and on the receipt.
    """

    kind: Literal["tfidf", "embedding", "model"] = Field(
        description="tfidf: words and a logistic regression, no call. embedding: the same on a "
        "sentence embedding made on this machine. model: one call of a cheap model."
    )
    file: FileName | None = Field(
        default=None,
        description="tfidf, embedding: what consensus policy classify train wrote, in "
        "this file's folder.",
    )
    model: ModelName | None = Field(default=None, description="model: who is asked.")
    classes: dict[Name, Annotated[str, Field(max_length=2000)]] | None = Field(
        default=None,
        description="model: every class, a task type or a category, and what belongs to it.",
    )
    threshold: Share | None = Field(
        default=None,
        description="Probability below which no class is named and the default row holds; "
        "the file's own, or 0.5 for a model that gives probabilities.",
    )

    @model_validator(mode="after")
    def _complete(self) -> ClassifierTable:
        if self.kind == "model":
            if self.model is None or self.classes is None or len(self.classes) < 2:
                raise ValueError('of kind "model" needs model = … and at least two classes')
            if self.file is not None:
                raise ValueError('of kind "model" has no file')
        elif self.file is None:
            raise ValueError(
                f'of kind "{self.kind}" needs file = …; consensus policy classify train writes it'
            )
        elif self.model is not None or self.classes is not None:
            raise ValueError(f'of kind "{self.kind}" takes neither model nor classes')
        return self


class LimitsTable(Strict):
    """Limits and a budget that several processes or machines keep together."""

    shared: Literal["redis", "postgres"] = Field(description="Where they are kept.")
    url_env: str = Field(
        description="NAME of the environment variable that holds the store's URL, such as "
        "CONSENSUS_LIMITS_URL."
    )
    name: Name = Field(default="consensus", description="Who writes the same name shares.")
    without_store: Share = Field(
        default=0.25,
        description="Share of every limit that one process keeps to while the store is away.",
    )
    lease_s: Amount = Field(
        default=30.0, description="Seconds for which the place of a killed process is kept."
    )
    daily_usd: Amount | None = Field(
        default=None, description="$ that all of them may spend in a calendar day (UTC)."
    )
    monthly_usd: Amount | None = Field(
        default=None, description="$ that all of them may spend in a calendar month (UTC)."
    )

    @field_validator("url_env")
    @classmethod
    def _a_name(cls, value: str) -> str:
        return _variable(value, "CONSENSUS_LIMITS_URL")

    @model_validator(mode="after")
    def _some_share(self) -> LimitsTable:
        if self.without_store <= 0:
            raise ValueError("without_store must be more than 0")
        return self


def _variable(value: str, example: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,127}", value):
        raise ValueError(
            "must be the NAME of an environment variable (capitals, digits, _), "
            f"such as {example}, never the URL itself"
        )
    return value


class LedgerSettings(Strict):
    """Where decisions are kept, and how safely."""

    path: str | None = Field(default=None, description="File of the ledger's database.")
    url_env: str | None = Field(
        default=None,
        description="NAME of the environment variable that holds the ledger's URL, "
        "postgresql://USER:PASSWORD@HOST/DATABASE, for several processes or machines.",
    )
    durability: Literal["process", "power"] = Field(
        default="process",
        description="process: a paid answer survives kill -9. power: also a power cut.",
    )
    store_text: bool = Field(
        default=True, description="false: judged text is never written; replay still works."
    )

    @field_validator("path")
    @classmethod
    def _a_file(cls, value: str | None) -> str | None:
        if value is not None and "://" in value:
            raise ValueError('must be a file; a URL goes into the variable that url_env = "" names')
        return value

    @field_validator("url_env")
    @classmethod
    def _a_name(cls, value: str | None) -> str | None:
        return None if value is None else _variable(value, "CONSENSUS_LEDGER_URL")

    @model_validator(mode="after")
    def _one_place(self) -> LedgerSettings:
        if self.path is not None and self.url_env is not None:
            raise ValueError("takes path or url_env, not both")
        return self

    def place(self) -> str | None:
        """The URL or the path that is declared here; None where neither is.

        Raises:
            PolicyError: the variable that ``url_env`` names is not set.
        """
        if self.url_env is None:
            return self.path
        return url_from(
            self.url_env,
            where="[ledger] url_env",
            example="postgresql://USER:PASSWORD@HOST/DATABASE",
        )
