"""A policy's ``[limits]``: which limits and budgets several processes keep together, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

from consensus.ballots import PICO
from consensus.errors import PolicyError
from consensus.models.environment import url_from
from consensus.models.limit_store import Caps, LimitStore
from consensus.models.purse import Purse
from consensus.models.shared_limits import SharedLimits

if TYPE_CHECKING:
    from consensus.models.factory import ProviderSettings
    from consensus.models.limits import ProviderLimits

__all__ = ["Divided", "Sharing", "SharingSettings", "StoreKind"]

StoreKind = Literal["redis", "postgres"]

_EXAMPLES = {
    "redis": "redis://:PASSWORD@HOST:6379/0",
    "postgres": "postgresql://USER:PASSWORD@HOST/DATABASE",
}

MACHINE_PROVIDERS = frozenset({"local", "scripted"})
"""What runs on the machine itself: other machines have their own."""


@dataclass(frozen=True, slots=True)
class SharingSettings:
    """What a policy's ``[limits]`` says.

    Attributes:
        shared: the kind of store.
        url_env: the variable that holds its URL.
        name: those who write the same one share.
        without_store: the share of each limit that a process keeps to while the store is away.
        lease_s: how long the place of a killed process is kept.
        daily_usd, monthly_usd: caps on what all of them spend together; None: none.
    """

    shared: StoreKind
    url_env: str
    name: str = "consensus"
    without_store: float = 0.25
    lease_s: float = 30.0
    daily_usd: float | None = None
    monthly_usd: float | None = None


class Sharing:
    """The limits and the budget that this process shares with others.

    Args:
        settings: the policy's.
        store: in place of the one that the settings name.

    Raises:
        PolicyError: the variable with the URL is not set, or holds none.
        MissingExtraError: the store's package is not installed.
    """

    _own: frozenset[str] = MACHINE_PROVIDERS

    def __init__(self, settings: SharingSettings, *, store: LimitStore | None = None) -> None:
        self.settings = settings
        self.store = store or _store(settings)
        self._limits: dict[str, list[SharedLimits]] = {}
        caps = Caps(_pico(settings.daily_usd), _pico(settings.monthly_usd))
        capped = caps.day is not None or caps.month is not None
        self.purse = Purse(self.store, caps) if capped else None

    def limits(self, provider: str, settings: ProviderSettings) -> ProviderLimits:
        """A provider's limits; those of models on this machine are its own."""
        if provider in self._own:
            return settings.limits(provider)
        made = SharedLimits(
            self.store,
            settings.requests_per_minute,
            settings.tokens_per_minute,
            settings.at_once(provider),
            window_s=settings.window_s,
            name=provider,
            without_store=self.settings.without_store,
            lease_s=self.settings.lease_s,
        )
        self._limits.setdefault(provider, []).append(made)
        return made

    def limits_of(self, settings: ProviderSettings) -> Callable[[str], ProviderLimits]:
        """:meth:`limits` for these settings."""
        return partial(self.limits, settings=settings)

    def but_own(self, providers: Iterable[str]) -> Self:
        """The same budget, and the same limits but for these providers, whose are its own.

        It is closed with what it was made of.
        """
        made = copy(self)
        made._own = self._own.union(providers)
        return made

    async def aclose(self) -> None:
        """Tell the store what has ended, book what is owed, and close. It may be used again."""
        for made in self._limits.values():
            for limits in made:
                await limits.aclose()
        if self.purse is not None:
            await self.purse.aclose()
        await self.store.aclose()


class Divided(Sharing):
    """What several processes keep to that share no store: each its part of every limit.

    Together they never pass a limit; one that is idle leaves its part unused.

    Args:
        processes: how many there are, two at least.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self.purse = None

    @staticmethod
    def among(processes: int) -> Divided | None:
        """The parts of so many processes; None where there is one, which has it all."""
        return Divided(processes) if processes > 1 else None

    def limits(self, provider: str, settings: ProviderSettings) -> ProviderLimits:
        """This process's part of a provider's limits; those of models on this machine are its own.

        Raises:
            PolicyError: fewer calls at once than processes: there is no part for each.
        """
        if provider in self._own:
            return settings.limits(provider)
        each, at_once = self.processes, settings.at_once(provider)
        if at_once < each:
            raise PolicyError(
                f"concurrency = {at_once} cannot be divided among {each} processes",
                where=f"[providers.{provider}]",
                fix="name a store that they share: [limits] shared",
            )
        return replace(
            settings,
            concurrency=at_once // each,
            requests_per_minute=_part(settings.requests_per_minute, each),
            tokens_per_minute=_part(settings.tokens_per_minute, each),
        ).limits(provider)

    async def aclose(self) -> None:
        """There is nothing to close."""


def _part(limit: float | None, processes: int) -> float | None:
    return None if limit is None else limit / processes


def _store(settings: SharingSettings) -> LimitStore:
    url = url_from(settings.url_env, where="[limits] url_env", example=_EXAMPLES[settings.shared])
    if settings.shared == "redis":
        from consensus.models.redis_store import RedisStore

        return RedisStore(url, space=settings.name)
    from consensus.models.postgres_store import PostgresStore

    return PostgresStore(url, space=settings.name)


def _pico(usd: float | None) -> int | None:
    return None if usd is None else round(usd * PICO)
