"""What is known of a model between calls, and of a request on its way to one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from consensus.models.breaker import Breaker, BreakerSettings
from consensus.models.factory import ClientFactory, provider_of
from consensus.models.limits import ProviderLimits
from consensus.models.protocol import Request
from consensus.models.retry import RetryPolicy

if TYPE_CHECKING:
    from consensus.models.prices import ModelPrice, PriceBook
    from consensus.models.sharing import Sharing
    from consensus.models.windows import Window

__all__ = ["Hop", "Lane", "Lanes"]


class Lane:
    """Everything about one model that does not change from call to call."""

    __slots__ = (
        "_answers",
        "_outputs",
        "_rates",
        "_room",
        "_room_for",
        "_unit_costs",
        "breaker",
        "limits",
        "retry",
        "timeout_s",
    )

    def __init__(
        self, limits: ProviderLimits, breaker: Breaker, retry: RetryPolicy, timeout_s: float
    ) -> None:
        self.limits = limits
        self.breaker = breaker
        self.retry = retry
        self.timeout_s = timeout_s
        self._answers = self._outputs = 0
        self._rates: object = None
        self._unit_costs = (0, 0, 0)
        self._room_for: tuple[ModelPrice, int] | None = None
        self._room: tuple[Window, int]

    def room(self, prices: PriceBook, hop: Hop) -> tuple[Window, int]:
        """The model's window, and the output tokens to reserve for this request's answer."""
        asked = hop.request.max_output_tokens
        known = self._room_for
        # A price book gives out a new price object whenever a model's facts have changed.
        if known is None or known[0] is not hop.price or known[1] != asked:
            model = hop.request.model
            self._room = (prices.window(model), prices.output_room(model, asked))
            self._room_for = (hop.price, asked)
        return self._room

    def note_output(self, tokens: int) -> None:
        """An answer had so many tokens."""
        self._answers += 1
        self._outputs += tokens

    def usual_output(self, reserved: int) -> int:
        """Tokens of a usual answer, their mean rounded up; ``reserved`` before there was one."""
        if not self._answers:
            return reserved
        return min(reserved, -(-self._outputs // self._answers))

    def worst_pico(self, price: ModelPrice, tokens: int, output: int) -> int:
        """The most that a call of this size can cost, from whole pico-dollars a token, rounded up.

        One-hour cache writes are left out: no client here asks for them.
        """
        rates = price.rates(tokens)
        if rates is not self._rates:
            self._rates = rates
            self._unit_costs = (
                math.ceil(max(rates.input, rates.cache_read, rates.cache_write)),
                math.ceil(max(rates.output, rates.reasoning)),
                price.worst_pico(0, 0),
            )
        a, b, c = self._unit_costs
        return a * tokens + b * output + c


class Hop:
    """One model being asked.

    Attributes:
        request: as this model gets it.
        key: its content hash.
        bound: its input tokens, at most.
        counted: whether ``bound`` is the model's own count.
        output: tokens reserved for its answer.
        price: the model's.
    """

    __slots__ = ("bound", "counted", "key", "lane", "output", "price", "request")

    def __init__(
        self, request: Request, key: str, bound: int, lane: Lane, price: ModelPrice
    ) -> None:
        self.request = request
        self.key = key
        self.lane = lane
        self.bound = bound
        self.counted = False
        self.output = request.max_output_tokens
        self.price = price


class Lanes:
    """One lane a model; limits are shared by all models of a provider."""

    def __init__(
        self,
        clients: ClientFactory,
        limits: Mapping[str, ProviderLimits],
        retry: RetryPolicy,
        breaker: BreakerSettings,
        sharing: Sharing | None = None,
    ) -> None:
        self._sharing = sharing
        self._clients = clients
        self._limits = dict(limits)
        self._retry = retry
        self._breaker = breaker
        self._lanes: dict[str, Lane] = {}

    def __getitem__(self, model: str) -> Lane:
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._lanes[model] = self._new(model)
        return lane

    def successor(self, clients: ClientFactory) -> Lanes:
        """Lanes for other settings; a provider that they leave as it is keeps limits and breakers.

        Its queue and its minute go on: a new table is no second allowance.
        """
        made = Lanes(clients, {}, self._retry, self._breaker, self._sharing)

        def kept(provider: str) -> bool:
            return self._clients.settings(provider) == clients.settings(provider)

        made._limits = {name: limits for name, limits in self._limits.items() if kept(name)}
        made._lanes = {m: lane for m, lane in self._lanes.items() if kept(provider_of(m))}
        return made

    def breaker_states(self) -> dict[str, str]:
        """The state of every model's breaker so far."""
        return {model: lane.breaker.state for model, lane in self._lanes.items()}

    def _new(self, model: str) -> Lane:
        provider = provider_of(model)
        settings = self._clients.settings(provider)
        limits = self._limits.get(provider)
        if limits is None:
            make = settings.limits if self._sharing is None else self._sharing.limits_of(settings)
            limits = self._limits[provider] = make(provider)
        retry = self._retry
        if settings.max_attempts is not None:
            retry = replace(retry, max_attempts=settings.max_attempts)
        breaker = Breaker(model, replace(self._breaker, cooldown_s=settings.cooldown_s))
        return Lane(limits, breaker, retry, settings.timeout(provider))
