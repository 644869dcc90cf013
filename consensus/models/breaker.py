"""A circuit breaker for each (provider, model): what keeps failing is left alone for a while.

Closed, calls pass. It opens when there were so many failures in a row, or too large a share of the
latest calls failed, and that has lasted: a fan-out has a hundred calls in flight, so a hiccup of a
second is a hundred failures, which their retries mend better than a cool-down would. While it is
open every call is refused at once, so fallbacks are reached in microseconds instead of after a row
of timeouts. After the cool-down one call at a time is let through as a probe: its success closes
the breaker, its failure opens it again for another cool-down.

Only the server's failures count. A refused key, a bad request or a rate limit says nothing about
the model's health, and neither opens a breaker nor closes it.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from consensus.errors import FailureClass, PolicyError, ProviderError

__all__ = ["SERVER_FAILURES", "Breaker", "BreakerSettings", "BreakerState", "Pass"]

BreakerState = Literal["closed", "open", "half_open"]

SERVER_FAILURES: Final[frozenset[FailureClass]] = frozenset(
    {"timeout", "connection", "overloaded", "server_error", "malformed_response"}
)
"""The failure classes that count against a model's health."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens, and for how long.

    Attributes:
        consecutive: failures in a row that are too many …
        ratio: … or this share of failures among the latest ``window`` calls …
        window: … once so many calls have been seen.
        lasting_s: seconds for which it must have been too many before it opens.
        cooldown_s: seconds before a probe is let through.
    """

    consecutive: int = 5
    ratio: float = 0.5
    window: int = 20
    lasting_s: float = 2.0
    cooldown_s: float = 10.0

    def __post_init__(self) -> None:
        if self.consecutive < 1 or self.window < 1:
            raise PolicyError("a breaker's consecutive and window must be at least 1")
        if not 0 < self.ratio <= 1:
            raise PolicyError(f"a breaker's ratio must be over 0 and at most 1, not {self.ratio}")
        for name in ("cooldown_s", "lasting_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise PolicyError(f"{name} must be a number of seconds, not {value}")


Pass = int
"""Leave to make one call; names the period of the breaker in which it was given."""


class Breaker:
    """The breaker of one model at one provider.

    Every :meth:`admit` is answered by exactly one of :meth:`success`, :meth:`failure` and
    :meth:`abandon`. Answers of calls that were let through before the state last changed are
    ignored: they say how things were then.
    """

    __slots__ = (
        "_clock",
        "_failures",
        "_latest",
        "_opened_at",
        "_period",
        "_probing",
        "_state",
        "_too_many_since",
        "model",
        "settings",
    )

    def __init__(
        self,
        model: str,
        settings: BreakerSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self.settings = settings or BreakerSettings()
        self._clock = clock
        self._state: BreakerState = "closed"
        self._period: Pass = 0
        self._failures = 0
        self._latest: deque[bool] = deque(maxlen=self.settings.window)
        self._opened_at = 0.0
        self._probing = False
        self._too_many_since: float | None = None

    @property
    def state(self) -> BreakerState:
        """``closed``, ``open``, or ``half_open``: a probe is next, or under way."""
        if self._state == "open" and self._left() <= 0:
            return "half_open"
        return self._state

    def admit(self) -> Pass:
        """Let a call through.

        Raises:
            ProviderError: ``breaker_open``; ``retry_after_s`` is what is left of the cool-down.
        """
        if self._state == "closed":
            return self._period
        if self._state == "open":
            left = self._left()
            if left > 0:
                raise self._refusal(left, f"for another {left:.3g} s")
            self._enter("half_open")
        if self._probing:
            raise self._refusal(None, "until a probe has succeeded")
        self._probing = True
        return self._period

    def closed(self) -> Pass | None:
        """As :meth:`admit`, where it is closed; else None, and nothing is let through."""
        return self._period if self._state == "closed" else None

    def success(self, leave: Pass) -> None:
        """The model answered."""
        if leave != self._period:
            return
        if self._state == "half_open":
            self._enter("closed")
            return
        self._failures = 0
        self._latest.append(True)
        if self._too_many_since is not None and not self._too_many():
            self._too_many_since = None

    def failure(self, leave: Pass, failure: FailureClass) -> None:
        """The call failed; a class that is not the server's fault counts for nothing."""
        if failure not in SERVER_FAILURES:
            self.abandon(leave)
            return
        if leave != self._period:
            return
        if self._state == "half_open":
            self._open()
            return
        self._failures += 1
        self._latest.append(False)
        if self._too_many():
            now = self._clock()
            if self._too_many_since is None:
                self._too_many_since = now
            if now - self._too_many_since >= self.settings.lasting_s:
                self._open()

    def abandon(self, leave: Pass) -> None:
        """The call ended without saying anything about the model (cancelled, refused, unsent)."""
        if leave == self._period:
            self._probing = False

    def _too_many(self) -> bool:
        latest, settings = self._latest, self.settings
        return self._failures >= settings.consecutive or (
            len(latest) == settings.window
            and latest.count(False) >= settings.ratio * settings.window
        )

    def _left(self) -> float:
        return self._opened_at + self.settings.cooldown_s - self._clock()

    def _open(self) -> None:
        self._opened_at = self._clock()
        self._enter("open")

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._period += 1
        self._failures = 0
        self._latest.clear()
        self._too_many_since = None
        self._probing = False

    def _refusal(self, left: float | None, until: str) -> ProviderError:
        return ProviderError(
            f"{self.model}: not called {until}: it kept failing",
            failure="breaker_open",
            retry_after_s=left,
            model=self.model,
        )
