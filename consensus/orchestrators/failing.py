"""A sliding window over a hop's answers: when too many cannot be used, it is passed over.

The state is closed at first: every task asks the hop. Once the window holds enough tasks and the
share of seats without a usable answer passes the rate, the hop is passed over, but for every
``PROBE``-th task, which still asks it. It is asked by all again when the last ``LEAST`` of those
probes are within the rate. Counted in tasks and never in time, so that a run can be repeated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from consensus.ballots import Failure
from consensus.errors import FailureClass

__all__ = ["LEAST", "PROBE", "UNUSABLE", "FailureWindow"]

UNUSABLE: Final[frozenset[FailureClass]] = frozenset(
    {"empty", "refusal", "truncated", "unreadable", "off_list", "schema", "malformed_response"}
)
"""Failures of an answer. A provider that does not answer is the breaker's business."""

LEAST = 20
"""Tasks before a rate is believed: one failure in fewer would already be more than 5 %."""

PROBE = 10
"""While a hop is passed over, each so-manieth task asks it all the same."""


class FailureWindow:
    """One hop of one row, watched.

    Args:
        rate: share of seats whose answer cannot be used, above which the hop is passed over.
        window: tasks that are looked back on; at least :data:`LEAST`.
    """

    __slots__ = ("_counts", "_probes", "_skipped", "rate", "tripped", "window")

    def __init__(self, rate: float, window: int) -> None:
        self.rate, self.window = rate, max(window, LEAST)
        self.tripped = False
        self._counts: deque[tuple[int, int]] = deque(maxlen=self.window)
        self._probes: deque[tuple[int, int]] = deque(maxlen=LEAST)
        self._skipped = 0

    def note(self, asked: int, failures: Iterable[Failure]) -> None:
        """Count one task's seats: how many were asked, and which of them failed."""
        bad = sum(failure.failure in UNUSABLE for failure in failures)
        if not self.tripped:
            self._counts.append((bad, asked))
            if len(self._counts) >= LEAST and _share(self._counts) > self.rate:
                self.tripped, self._skipped = True, 0
                self._probes.clear()
            return
        self._probes.append((bad, asked))
        if len(self._probes) == LEAST and _share(self._probes) <= self.rate:
            self.tripped = False
            self._counts = deque(self._probes, maxlen=self.window)

    def passes_over(self) -> bool:
        """Whether the task that comes now is not to ask the hop; call it once a task."""
        if not self.tripped:
            return False
        self._skipped += 1
        return self._skipped % PROBE != 0

    def sentence(self) -> str:
        """Why it is passed over."""
        bad, asked = map(sum, zip(*self._counts, strict=True))
        return (
            f"{bad} of its last {asked} answers could not be used ({bad / asked:.1%}, more than "
            f"{self.rate:.1%}), so the next hop is asked directly"
        )


def _share(counts: Iterable[tuple[int, int]]) -> float:
    bad, asked = map(sum, zip(*counts, strict=True))
    return bad / asked if asked else 0.0
