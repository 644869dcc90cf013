"""What one provider lets us send: requests a minute, tokens a minute, calls at once.

One first-in-first-out queue stands in front of all three limits. asyncio-throttle's ``Throttler``
keeps the log of requests; its own waiters poll every 10 ms and overtake one another, so nobody
waits in it: the head of the queue sleeps to the exact moment at which its place falls free, and
everybody behind it sleeps on a future. Admission costs no task, no lock and no polling.

All windows slide: no stretch of ``window_s`` seconds ever sees more than its share, which a bucket
that refills does not promise (it admits up to twice its rate across a boundary).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from asyncio_throttle import Throttler

from consensus.errors import DeadlineError, PolicyError, ProviderError

__all__ = ["Permit", "ProviderLimits"]

_AFTER = 1e-6
"""Seconds past the end of a window at which its place is free."""


class _Held:
    """Tokens held in the window since a moment."""

    __slots__ = ("at", "live", "tokens")

    def __init__(self, at: float, tokens: float) -> None:
        self.at = at
        self.tokens = tokens
        self.live = True


class Permit:
    """Leave to make one call; give it back with :meth:`done` when the call has ended."""

    __slots__ = ("_entry", "_limits", "_stamp")

    def __init__(self, limits: ProviderLimits, stamp: float, entry: _Held | None) -> None:
        self._limits: ProviderLimits | None = limits
        self._stamp = stamp
        self._entry = entry

    def done(self, tokens: int | None = None) -> None:
        """End the call. ``tokens`` it really used replace the estimate; None leaves the estimate.

        Doing it twice does nothing.
        """
        limits, self._limits = self._limits, None
        if limits is not None:
            limits._end(self._entry, tokens)

    def unused(self) -> None:
        """Give it back as if it had never been granted: nothing was sent."""
        limits, self._limits = self._limits, None
        if limits is not None:
            limits._undo(self._stamp, self._entry)


class ProviderLimits:
    """The limits of one provider, shared by everything that calls it. An injected object.

    Args:
        requests_per_minute: None for no limit. Fractions are allowed (0.5: one every two minutes).
        tokens_per_minute: input and output together; None for no limit. A call is admitted with
            an estimate, which its real usage replaces. A call larger than the whole limit passes
            when the window is empty: only the provider can say what becomes of it.
        concurrency: calls at once; None for no limit.
        window_s: the sliding window over which both rates hold. 60 lets a whole minute's share go
            at once; 1 spreads it evenly, for providers that enforce their minute by the second.
        name: the provider's, for messages.
        clock: seconds, monotonic; the one that ``Throttler`` reads too.

    Raises:
        PolicyError: a limit that is not positive.
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        concurrency: int | None = 100,
        *,
        window_s: float = 60.0,
        name: str = "the provider",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for key, value in (
            ("requests_per_minute", requests_per_minute),
            ("tokens_per_minute", tokens_per_minute),
            ("concurrency", concurrency),
            ("window_s", window_s),
        ):
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise PolicyError(f"{key} must be a positive number, not {value}", where=name)
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self.concurrency = concurrency
        self.name = name
        self._clock = clock
        self._throttler: Throttler | None = None
        if requests_per_minute is not None:
            share = requests_per_minute * window_s / 60.0
            # Below one request a window the window grows instead, so that the rate holds exactly.
            period = window_s if share >= 1 else 60.0 / requests_per_minute
            self._throttler = Throttler(max(1, math.floor(share + 1e-9)), period)
        self._token_window_s = window_s
        self._token_share = (
            None if tokens_per_minute is None else tokens_per_minute * window_s / 60.0
        )
        self._tokens: deque[_Held] = deque()  # oldest first
        self._tokens_sum = 0.0
        self._active = 0
        self._paused_until = -math.inf
        # By waiter: its tokens, and the moment until which it waits. Retries stand before
        # newcomers: they were in the queue before them.
        self._again: OrderedDict[asyncio.Future[Permit], tuple[float, float]] = OrderedDict()
        self._queue: OrderedDict[asyncio.Future[Permit], tuple[float, float]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def active(self) -> int:
        """Calls in flight."""
        return self._active

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._queue) + len(self._again)

    def pause(self, seconds: float) -> None:
        """Admit nobody for so long, as the provider asked. A longer pause is never cut short."""
        now = self._clock()
        self._paused_until = max(self._paused_until, now + seconds)
        for queue in (self._again, self._queue):
            for future, (_, until) in queue.items():
                if until < self._paused_until and not future.done():
                    future.set_exception(self._refusal(until - now))

    def at_once(self, tokens: float = 0) -> Permit | None:
        """A place that is free now and that nobody waits for; else None."""
        if self._queue or self._again or self._delay(tokens) != 0:
            return None
        return self._take(tokens)

    async def admit(
        self, tokens: float = 0, *, within_s: float = math.inf, again: bool = False
    ) -> Permit:
        """Wait for a place.

        Args:
            tokens: estimated tokens of the call, input and output.
            within_s: seconds after which waiting is pointless.
            again: this call was admitted before and is being retried.

        Raises:
            DeadlineError: no place fell free within ``within_s``.
            ProviderError: ``rate_limited``: the provider has asked for a pause that lasts longer.
        """
        permit = ProviderLimits.at_once(self, tokens)
        if permit is not None:
            return permit
        until = self._clock() + within_s
        if within_s <= 0:
            raise DeadlineError(f"{self.name}: no place is free, and no time is left to wait")
        if until < self._paused_until:
            raise self._refusal(within_s)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._move_to(loop)
        future: asyncio.Future[Permit] = loop.create_future()
        queue = self._again if again else self._queue
        queue[future] = (tokens, until)
        alarm = None
        if within_s < math.inf:
            alarm = loop.call_later(within_s, self._too_late, future, within_s)
        if self._head() is future:
            self._pump()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().unused()
            raise
        finally:
            if alarm is not None:
                alarm.cancel()
            if future in queue:
                was_head = self._head() is future
                del queue[future]
                if was_head:
                    self._pump()

    # -- the three limits --------------------------------------------------------------------------

    def _delay(self, tokens: float) -> float:
        """Seconds until a call of this size may go; 0 for now, infinite for a freed slot."""
        if self.concurrency is not None and self._active >= self.concurrency:
            return math.inf
        now = self._clock()
        delay = self._paused_until - now
        if self._throttler is not None:
            delay = max(delay, self._request_delay(now))
        if self._token_share is not None:
            delay = max(delay, self._token_delay(now, tokens))
        return max(delay, 0.0)

    def _request_delay(self, now: float) -> float:
        throttler = self._throttler
        assert throttler is not None  # noqa: S101 - the caller has asked
        throttler.flush()
        log: deque[float] = throttler._task_logs
        if len(log) < throttler.rate_limit:
            return 0.0
        # The window is closed: a place is free only after its end, never at it.
        end: float = log[0] + throttler.period
        return max(end - now, 0.0) + _AFTER

    def _token_delay(self, now: float, tokens: float) -> float:
        assert self._token_share is not None  # noqa: S101 - the caller has asked
        log, edge = self._tokens, now - self._token_window_s
        while log and log[0].at < edge:
            gone = log.popleft()
            gone.live = False
            self._tokens_sum -= gone.tokens
        if not log:
            self._tokens_sum = 0.0
            return 0.0
        excess = self._tokens_sum + min(tokens, self._token_share) - self._token_share
        if excess <= 0:
            return 0.0
        last = log[-1].at
        for held in log:
            excess -= held.tokens
            if excess <= 0:
                last = held.at
                break
        return max(last + self._token_window_s - now, 0.0) + _AFTER

    def _take(self, tokens: float) -> Permit:
        self._active += 1
        stamp = -math.inf if self._throttler is None else _acquire_now(self._throttler)
        entry = None
        if self._token_share is not None:
            entry = _Held(self._clock(), min(tokens, self._token_share))
            self._tokens.append(entry)
            self._tokens_sum += entry.tokens
        return Permit(self, stamp, entry)

    def _correct(self, entry: _Held | None, tokens: float) -> None:
        """Put what was really used in the place of an estimate that is still in the window."""
        if entry is not None and entry.live:
            self._tokens_sum += tokens - entry.tokens
            entry.tokens = tokens

    def _end(self, entry: _Held | None, tokens: int | None) -> None:
        self._active -= 1
        if tokens is not None:
            self._correct(entry, max(tokens, 0))
        if self._queue or self._again:
            self._pump()

    def _undo(self, stamp: float, entry: _Held | None) -> None:
        self._active -= 1
        if self._throttler is not None and stamp in self._throttler._task_logs:
            self._throttler._task_logs.remove(stamp)
        self._correct(entry, 0)
        self._pump()

    # -- the queue ---------------------------------------------------------------------------------

    def _head(self) -> asyncio.Future[Permit] | None:
        return next(iter(self._again or self._queue), None)

    def _pump(self) -> None:
        """Admit from the head while there is room; then set one timer, for the head alone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while queue := self._again or self._queue:
            future, (tokens, _) = next(iter(queue.items()))
            if future.done():
                del queue[future]
                continue
            delay = self._delay(tokens)
            if delay == 0:
                del queue[future]
                future.set_result(self._take(tokens))
                continue
            if delay < math.inf and self._loop is not None:
                self._timer = self._loop.call_later(delay, self._wake)
            return

    def _wake(self) -> None:
        self._timer = None
        self._pump()

    def _refusal(self, left_s: float) -> ProviderError:
        pause = self._paused_until - self._clock()
        return ProviderError(
            f"{self.name} has asked for {pause:.3g} s without calls; {left_s:.3g} s are left",
            failure="rate_limited",
            retry_after_s=pause,
        )

    def _too_late(self, future: asyncio.Future[Permit], within_s: float) -> None:
        if not future.done():
            future.set_exception(
                DeadlineError(f"{self.name}: no place fell free within {within_s:.3g} s")
            )

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Waiters and the timer of an earlier loop died with it."""
        self._queue.clear()
        self._again.clear()
        self._timer = None
        self._loop = loop


def _acquire_now(throttler: Throttler) -> float:
    """Take a place that is known to be free; return its stamp in the throttler's log."""
    step = throttler.acquire()
    try:
        step.send(None)
    except StopIteration:
        stamp: float = throttler._task_logs[-1]
        return stamp
    step.close()
    raise RuntimeError("the throttler had no free place after all")
