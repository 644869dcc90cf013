"""From a model's name to the client that reaches it, made at its first use and then shared.

The part of a name before the first ``/`` is its provider. ``anthropic/…`` goes through the
``anthropic`` SDK, ``openai/…`` through the ``openai`` SDK, ``local/…`` runs on this machine,
``scripted/…`` is the fake, and everything else goes through ``litellm``, unless a package has
registered the provider under the entry point group ``consensus.clients`` (a callable of settings
and prices that returns a client). A name of one's own with a ``base_url`` is a server that speaks
OpenAI's chat completions.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

from consensus.errors import PolicyError
from consensus.models.limits import ProviderLimits
from consensus.models.protocol import ModelClient

if TYPE_CHECKING:
    from consensus.models.prices import PriceBook

__all__ = ["BUILDERS", "Builder", "ClientFactory", "ProviderSettings", "provider_of"]

ENTRY_POINTS: Final = "consensus.clients"


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """How one provider is reached and how hard it may be pressed: a policy's ``[providers.NAME]``.

    Attributes:
        base_url: another endpoint than the provider's own. For ``scripted``: a file of rules.
        api_key_env: the environment variable that holds the key; the standard one where None.
            Keys themselves are never kept in settings.
        requests_per_minute, tokens_per_minute: None for no limit of ours.
        concurrency: calls at once, and the size of the connection pool; None: 100, and 1 for
            ``local``, which works through its calls one by one (waiting in the queue here costs
            a call none of its own time).
        timeout_s: the longest one attempt may take; None: 120, and 600 for ``local``.
        max_attempts: attempts at one model, the first included; None leaves it to the gateway's
            retry policy.
        cooldown_s: how long a model that keeps failing is left alone.
        window_s: the sliding window of both rates; see :class:`ProviderLimits`.
    """

    base_url: str | None = None
    api_key_env: str | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    concurrency: int | None = None
    timeout_s: float | None = None
    max_attempts: int | None = None
    cooldown_s: float = 10.0
    window_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "timeout_s", "window_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise PolicyError(f"{name} must be a positive number, not {value}")
        if self.concurrency is not None and self.concurrency < 1:
            raise PolicyError(f"concurrency must be at least 1, not {self.concurrency}")
        if self.max_attempts is not None and self.max_attempts < 1:
            raise PolicyError(f"max_attempts must be at least 1, not {self.max_attempts}")
        if not (math.isfinite(self.cooldown_s) and self.cooldown_s >= 0):
            raise PolicyError(f"cooldown_s must be a number of seconds, not {self.cooldown_s}")

    def at_once(self, provider: str) -> int:
        """Calls at once."""
        if self.concurrency is not None:
            return self.concurrency
        return 1 if provider == "local" else 100

    def timeout(self, provider: str) -> float:
        """Seconds that one attempt may take."""
        if self.timeout_s is not None:
            return self.timeout_s
        return 600.0 if provider == "local" else 120.0

    def limits(self, provider: str) -> ProviderLimits:
        """Fresh limits with these figures."""
        return ProviderLimits(
            self.requests_per_minute,
            self.tokens_per_minute,
            self.at_once(provider),
            window_s=self.window_s,
            name=provider,
        )

    def api_key(self, provider: str) -> str | None:
        """The key from the environment; None leaves the SDK to its standard variable.

        Raises:
            PolicyError: ``api_key_env`` names a variable that is not set.
        """
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env)
        if not key:
            raise PolicyError(
                f"the environment variable {self.api_key_env} is not set",
                where=f"[providers.{provider}] api_key_env",
                fix=f"export {self.api_key_env}=…",
            )
        return key


def provider_of(model: str) -> str:
    """The provider in a model's name.

    Raises:
        PolicyError: the name has none.
    """
    provider, slash, rest = model.partition("/")
    if not (slash and provider and rest):
        raise PolicyError(
            f'the model name "{model}" has no provider',
            fix='write "provider/model", as LiteLLM does',
        )
    return provider


Builder: TypeAlias = "Callable[[str, ProviderSettings, PriceBook], ModelClient]"
"""Makes the client of a provider: its name, its settings, the prices."""


def _anthropic(name: str, settings: ProviderSettings, prices: PriceBook) -> ModelClient:
    from consensus.models.anthropic_client import AnthropicClient

    return AnthropicClient(
        api_key=settings.api_key(name),
        base_url=settings.base_url,
        concurrency=settings.at_once(name),
        prices=prices,
    )


def _openai(name: str, settings: ProviderSettings, prices: PriceBook) -> ModelClient:
    from consensus.models.openai_client import OpenAIClient

    return OpenAIClient(
        provider=name,
        api_key=settings.api_key(name),
        base_url=settings.base_url,
        concurrency=settings.at_once(name),
        prices=prices,
    )


def _litellm(name: str, settings: ProviderSettings, prices: PriceBook) -> ModelClient:
    from consensus.models.litellm_client import LiteLLMClient

    return LiteLLMClient(
        api_key=settings.api_key(name),
        base_url=settings.base_url,
        concurrency=settings.at_once(name),
        prices=prices,
    )


def _local(_name: str, _settings: ProviderSettings, _prices: PriceBook) -> ModelClient:
    from consensus.models.local import LocalClient

    return LocalClient()


def _scripted(_name: str, settings: ProviderSettings, _prices: PriceBook) -> ModelClient:
    from consensus.models.scripted import ScriptedClient

    if settings.base_url is not None:
        return ScriptedClient.from_file(settings.base_url.removeprefix("file:"))
    return ScriptedClient()


BUILDERS: Final[Mapping[str, Builder]] = MappingProxyType(
    {
        "anthropic": _anthropic,
        "local": _local,
        "openai": _openai,
        "openai_like": _openai,
        "scripted": _scripted,
    }
)
"""Providers with a client of their own; all others go through litellm, but for those that it does
not know and that have an endpoint: they are spoken to as OpenAI is."""


class ClientFactory:
    """The clients of all providers, each made once, when its first call needs it.

    Args:
        settings: by provider; a provider that is not named has the defaults.
        prices: handed to the clients.
        overrides: clients to use instead, by provider; they are closed with the others.
    """

    def __init__(
        self,
        settings: Mapping[str, ProviderSettings] | None = None,
        prices: PriceBook | None = None,
        overrides: Mapping[str, ModelClient] | None = None,
    ) -> None:
        self._settings = dict(settings or {})
        self._prices = prices
        self._clients: dict[str, ModelClient] = dict(overrides or {})
        self._given = frozenset(self._clients)
        self._holders = Counter(map(id, self._clients.values()))

    def successor(
        self, settings: Mapping[str, ProviderSettings], prices: PriceBook
    ) -> ClientFactory:
        """A factory for other settings that shares every client which they leave as it is.

        A shared client is closed with the last factory that holds it.
        """
        made = ClientFactory(settings, prices)
        made._given, made._holders = self._given, self._holders
        same = self._prices is not None and self._prices.same_abilities(prices)
        for provider, client in self._clients.items():
            unasked = provider in self._given or provider in _NOT_PRICED
            if (same or unasked) and self._kept(provider, made):
                made._clients[provider] = client
                made._holders[id(client)] += 1
        return made

    def _kept(self, provider: str, other: ClientFactory) -> bool:
        return provider in self._given or self.settings(provider) == other.settings(provider)

    def settings(self, provider: str) -> ProviderSettings:
        """A provider's settings, or the defaults."""
        return self._settings.get(provider) or _DEFAULTS

    def limits(self) -> dict[str, ProviderLimits]:
        """Fresh limits for every provider that has settings."""
        return {name: settings.limits(name) for name, settings in self._settings.items()}

    def client(self, model: str) -> ModelClient:
        """The client that reaches a model.

        Raises:
            PolicyError: the name has no provider, or a key's variable is not set.
            MissingExtraError: the provider needs a part that is not installed.
        """
        provider = provider_of(model)
        client = self._clients.get(provider)
        if client is None:
            client = self._clients[provider] = self._build(provider)
            self._holders[id(client)] += 1
        return client

    async def aclose(self) -> None:
        """Close every client that was made, all of them even if one of them fails to close.

        What a successor holds too is left to it.
        """
        errors: list[Exception] = []
        while self._clients:
            _, client = self._clients.popitem()
            self._holders[id(client)] -= 1
            if self._holders[id(client)] > 0:
                continue
            del self._holders[id(client)]
            try:
                await client.aclose()
            except Exception as error:  # noqa: BLE001 - the others must be closed all the same
                errors.append(error)
        if errors:
            raise errors[0]

    def _build(self, provider: str) -> ModelClient:
        build = BUILDERS.get(provider) or _registered(provider)
        if build is None:
            own = self.settings(provider).base_url is not None and not _litellm_knows(provider)
            build = _openai if own else _litellm
        if self._prices is None:
            from consensus.models.prices import PriceBook

            self._prices = PriceBook()
        return build(provider, self.settings(provider), self._prices)


_DEFAULTS: Final = ProviderSettings()

_NOT_PRICED: Final = frozenset({"local", "scripted"})
"""Providers whose clients take nothing from the price book."""


def _litellm_knows(provider: str) -> bool:
    """Whether litellm has a way of its own to a provider; read from its files, without importing
    it."""
    from consensus.models.price_map import litellm_providers

    return provider in litellm_providers()


def _registered(provider: str) -> Builder | None:
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS, name=provider):
        builder: Builder = point.load()
        return builder
    return None
