"""What is asked of a store in which several processes keep their limits together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

__all__ = [
    "GRACE_S",
    "Admission",
    "Booked",
    "Caps",
    "Left",
    "LimitStore",
    "Rates",
    "Settlement",
    "StoreAwayError",
]

GRACE_S = 2.0
"""A process that waits and has not asked for so long is taken for gone."""


class StoreAwayError(Exception):
    """The store cannot be reached, or does not do as it is told."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What all processes together may do to one provider. None: no limit.

    Attributes:
        provider: its name.
        requests, requests_window_s: calls begun in any such stretch.
        tokens, tokens_window_s: input and output tokens in any such stretch.
        concurrency: calls at once.
        lease_s: how long a place is kept for a process that no longer says that it is there.
    """

    provider: str
    requests: int | None
    requests_window_s: float
    tokens: int | None
    tokens_window_s: float
    concurrency: int | None
    lease_s: float

    @classmethod
    def of(
        cls,
        provider: str,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        concurrency: int | None,
        *,
        window_s: float,
        lease_s: float,
    ) -> Rates:
        """From figures a minute; below one request a window the window grows instead."""
        requests, span = None, window_s
        if requests_per_minute is not None:
            share = requests_per_minute * window_s / 60.0
            requests = max(1, math.floor(share + 1e-9))
            span = window_s if share >= 1 else 60.0 / requests_per_minute
        tokens = None
        if tokens_per_minute is not None:
            tokens = max(1, math.floor(tokens_per_minute * window_s / 60.0 + 1e-9))
        return cls(provider, requests, span, tokens, window_s, concurrency, lease_s)


class Settlement(NamedTuple):
    """The end of a call: the tokens it used, None where the estimate stands.

    ``unused``: nothing was sent, and its place is given back whole.
    """

    permit: str
    tokens: int | None
    unused: bool


class Admission(NamedTuple):
    """What the store says to a process that asks.

    Attributes:
        granted: so many calls may go, from the head.
        at: the store's clock, in seconds.
        delay_s: earliest the next one may go; None where that is not known (a place at once, or
            another process's turn).
        paused_s: for so long the provider has asked for no calls at all.
    """

    granted: int
    at: float
    delay_s: float | None
    paused_s: float


class Caps(NamedTuple):
    """A budget's caps, in pico-dollars a calendar day and month (UTC); None: none."""

    day: int | None
    month: int | None


class Booked(NamedTuple):
    """Where money was booked: the names of its day and its month (``2026-11-22``, ``2026-11``)."""

    day: str
    month: str


class Left(NamedTuple):
    """What is left of each cap, in pico-dollars, where a call asked for more; None: no cap."""

    day: int | None
    month: int | None


class LimitStore(Protocol):
    """Where counts are kept. Every method raises :class:`StoreAwayError` where it cannot."""

    async def admit(
        self,
        rates: Rates,
        process: str,
        calls: Sequence[tuple[str, int]],
        ended: Sequence[Settlement],
    ) -> Admission:
        """End some calls and begin others: (permit, estimated tokens), from the queue's head."""
        ...

    async def renew(self, rates: Rates, permits: Sequence[str]) -> None:
        """These calls are still running."""
        ...

    async def leave(self, rates: Rates, process: str) -> None:
        """This process waits no longer."""
        ...

    async def pause(self, rates: Rates, seconds: float) -> None:
        """Admit nobody for so long; a longer pause is never cut short."""
        ...

    async def reserve(self, budget: str, caps: Caps, pico: int) -> Booked | Left:
        """Book money in this day and month; where a cap would be passed, nothing is booked."""
        ...

    async def settle(self, budget: str, booked: Booked, difference: int, *, once: str) -> None:
        """Correct what was booked by what it really was; with one name ``once``, once only."""
        ...

    async def spent(self, budget: str) -> tuple[int, int]:
        """What is booked today and this month, reservations included, in pico-dollars."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...
