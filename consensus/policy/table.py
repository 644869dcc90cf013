"""The policy table: the merged TOML of one folder, typed and frozen, and nothing computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PrivateAttr

from consensus.oracles import Oracle, OracleDeclaration
from consensus.policy._lines import KeyPath
from consensus.policy._types import ModelName, Name, Names, Strict
from consensus.policy.consequences import CertificateSettings
from consensus.policy.demotion import Demotion
from consensus.policy.history import Earned
from consensus.policy.rows import DefaultsRow, StrategyTable, TaskRow
from consensus.policy.settings import (
    ClassifierTable,
    LedgerSettings,
    LimitsTable,
    Price,
    ProviderSettings,
)
from consensus.policy.watch_settings import AlarmSettings, WatchSettings

if TYPE_CHECKING:
    from consensus.models.factory import ProviderSettings as ClientSettings
    from consensus.models.sharing import Sharing

__all__ = ["Place", "PolicyTable"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key stands."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class PolicyTable(Strict):
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
    oracles: dict[Name, OracleDeclaration] = Field(
        default={}, description="Named definitions of an acceptable answer, for rows and gates."
    )
    tasks: dict[Name, TaskRow] = Field(default={}, description="One row a task type.")
    certificates: CertificateSettings = Field(
        default=CertificateSettings(),
        description="What each consequence asks of a route, and how long evidence lasts.",
    )
    watch: WatchSettings = Field(
        default=WatchSettings(), description="Production against each row's profile."
    )
    alarms: AlarmSettings = Field(
        default=AlarmSettings(), description="Who is told when production differs."
    )
    demoted: dict[Name, Demotion] = Field(
        default={},
        description="Rows that do not serve by their own choice; written by the watch.",
    )
    history: dict[Name, Annotated[tuple[Earned, ...], Field(strict=False)]] = Field(
        default={},
        description="What each row was certified as before, the oldest first; written by "
        "consensus policy accept.",
    )
    classifier: ClassifierTable | None = Field(
        default=None,
        description='Names the type of tasks of type "auto", and the category of when rules.',
    )
    ledger: LedgerSettings = Field(
        default=LedgerSettings(), description="Where decisions are kept."
    )

    limits: LimitsTable | None = Field(
        default=None, description="Limits and a budget shared with other processes."
    )

    _places: Mapping[KeyPath, Place] = PrivateAttr(default_factory=dict)
    _source: str = PrivateAttr(default="PolicyTable")
    _routes: dict[object, object] = PrivateAttr(default_factory=dict)
    _oracles: dict[str, Oracle] = PrivateAttr(default_factory=dict)
    _read: dict[object, object] = PrivateAttr(default_factory=dict)

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

    def sharing(self) -> Sharing | None:
        """``[limits]`` as the gateway takes it; None where nothing is shared.

        Raises:
            PolicyError: the variable with the store's URL is not set, or holds none.
            MissingExtraError: the store's package is not installed.
        """
        if self.limits is None:
            return None
        from consensus.models.sharing import Sharing, SharingSettings

        return Sharing(SharingSettings(**self.limits.model_dump()))

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
        table._oracles = {}
        table._read = {}
        return table
