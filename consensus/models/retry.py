"""When a failed attempt may be made again, and how long to wait before it.

Waits are drawn from all of [0, base · 2ⁿ] ("full jitter"), which spreads a crowd of callers better
than a fixed or half-fixed wait, and are never shorter than the provider's own ``retry-after``.
A wait that does not fit into the time left is not begun.
"""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass, field

from consensus.errors import PolicyError, ProviderError

__all__ = ["RetryPolicy", "sleep"]


async def sleep(seconds: float) -> None:
    """Wait before the next attempt. Tests replace it, so that nothing waits in them."""
    await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and how patiently, a call is repeated.

    Attributes:
        max_attempts: attempts at one model, the first included.
        base_s: the longest wait before the second attempt; it doubles with each further one.
        cap_s: the longest wait of our own choosing.
        max_wait_s: the longest ``retry-after`` that is obeyed; a longer one ends the call, so that
            a provider that asks for an hour is reported instead of waited for.
        rng: where jitter comes from.
    """

    max_attempts: int = 4
    base_s: float = 0.5
    cap_s: float = 30.0
    max_wait_s: float = 120.0
    rng: random.Random = field(default_factory=random.Random, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise PolicyError(f"max_attempts must be at least 1, not {self.max_attempts}")
        for name in ("base_s", "cap_s", "max_wait_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise PolicyError(f"{name} must be a number of seconds, not {value}")

    def delay(
        self,
        error: ProviderError,
        attempt: int,
        *,
        left_s: float = math.inf,
        patient: bool = False,
    ) -> float | None:
        """Seconds to wait after ``attempt`` (from 1) failed; None if there shall be no other.

        Args:
            error: what went wrong; only a retryable one is repeated.
            attempt: how many attempts at this model have been made.
            left_s: seconds until the deadline.
            patient: wait for an open breaker too: nobody else can answer.
        """
        refused = patient and error.failure == "breaker_open"
        if not (error.retryable or refused) or attempt >= self.max_attempts:
            return None
        wait = self.rng.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 60)))
        wish = error.retry_after_s
        if wish is not None and wish > 0:
            if not wish <= self.max_wait_s:
                return None
            # Jitter on top: everybody who was turned away was told the same moment.
            wait = wish + min(wait, self.base_s)
        return wait if wait < left_s else None
