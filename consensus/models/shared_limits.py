"""One provider's limits, shared by every process that names the same store.

Inside a process calls stand in one first-in-first-out queue, as with :class:`ProviderLimits`; its
head asks the store for as many places as it wants, in one journey. The store counts by its own
clock, gives places only where every window has room, and lets processes that wait take turns.
A place at once is a lease: it is renewed while its call runs, and falls free by itself where the
process that held it was killed.

**While the store cannot be reached** each process keeps to a declared share of every limit
(``without_store``), and says so once.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

from consensus.errors import DeadlineError
from consensus.models.ids import new_id
from consensus.models.limit_store import Admission, LimitStore, Rates, Settlement, StoreAwayError
from consensus.models.limits import Permit, ProviderLimits

__all__ = ["SharedLimits", "SharedPermit"]

_log = logging.getLogger("consensus.limits")

CALLS_AT_ONCE = 64
"""Calls that one journey to the store asks for."""

ENDS_AT_ONCE = 1000
"""Ends of calls that one journey tells."""

HEARTBEAT_S = 0.5
"""A process that waits asks at least so often; the store forgets one that stays silent."""

POLL_S = 0.02
"""Seconds after which to ask again where the store cannot say when a place falls free."""

ASK_AGAIN_S = 2.0
"""Seconds for which a store that was away is left alone."""


class _Waiter:
    __slots__ = ("again", "future", "permit", "tokens", "until")

    def __init__(self, permit: str, tokens: int, until: float, again: bool) -> None:
        self.future: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()
        self.permit = permit
        self.tokens = tokens
        self.until = until
        self.again = again


class SharedPermit(Permit):
    """A place that the store gave; ``at`` is the store's clock, in seconds."""

    __slots__ = ("_shared", "at", "name")

    def __init__(self, shared: SharedLimits, name: str, at: float) -> None:
        super().__init__(shared, -math.inf, None)
        self._shared: SharedLimits | None = shared
        self.name = name
        self.at = at

    def done(self, tokens: int | None = None) -> None:
        """End the call. Doing it twice does nothing."""
        self._give_back(None if tokens is None else max(tokens, 0), unused=False)

    def unused(self) -> None:
        """Give it back as if it had never been granted."""
        self._give_back(0, unused=True)

    def _give_back(self, tokens: int | None, *, unused: bool) -> None:
        shared, self._shared = self._shared, None
        if shared is not None:
            shared._ended(Settlement(self.name, tokens, unused))


class SharedLimits(ProviderLimits):
    """One provider's limits, kept in a store.

    Args:
        store: where counts are kept.
        requests_per_minute, tokens_per_minute, concurrency, window_s, name: as with
            :class:`ProviderLimits`, for all processes together.
        without_store: the share of each limit that this process keeps to while the store is away.
        lease_s: how long the place of a killed process is kept.
    """

    def __init__(
        self,
        store: LimitStore,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        concurrency: int | None = 100,
        *,
        window_s: float = 60.0,
        name: str = "the provider",
        without_store: float = 0.25,
        lease_s: float = 30.0,
    ) -> None:
        share = without_store
        super().__init__(
            None if requests_per_minute is None else requests_per_minute * share,
            None if tokens_per_minute is None else tokens_per_minute * share,
            None if concurrency is None else max(1, math.floor(concurrency * share)),
            window_s=window_s,
            name=name,
        )
        self.rates = Rates.of(
            name,
            requests_per_minute,
            tokens_per_minute,
            concurrency,
            window_s=window_s,
            lease_s=lease_s,
        )
        self.process = new_id()
        self._store = store
        self._without_store = without_store
        self._retries: deque[_Waiter] = deque()
        self._newcomers: deque[_Waiter] = deque()
        self._ends: list[Settlement] = []
        self._running: set[str] = set()
        self._numbers = 0
        self._away_until = -math.inf
        self._away = False
        self._work: asyncio.Task[None] | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._change: asyncio.Event | None = None
        self._home: asyncio.AbstractEventLoop | None = None

    @property
    def active(self) -> int:
        """Calls of this process in flight."""
        return len(self._running) + super().active

    @property
    def waiting(self) -> int:
        """Calls of this process in the queue."""
        return len(self._retries) + len(self._newcomers) + super().waiting

    @property
    def degraded(self) -> bool:
        """Whether the store is away, and this process keeps to its own share."""
        return self._away

    def pause(self, seconds: float) -> None:
        """Admit nobody in any process for so long, as the provider asked."""
        super().pause(seconds)
        self._refuse_paused()
        self._spawn(self._tell_pause(seconds))

    def at_once(self, tokens: float = 0) -> None:
        """Nothing: the store is asked for every place."""

    async def admit(
        self, tokens: float = 0, *, within_s: float = math.inf, again: bool = False
    ) -> Permit:
        """Wait for a place.

        Raises:
            DeadlineError: no place fell free within ``within_s``.
            ProviderError: ``rate_limited``: the provider has asked for a pause that lasts longer.
        """
        began = self._clock()
        if began >= self._away_until:
            try:
                return await self._admit_shared(tokens, within_s, again=again)
            except StoreAwayError:
                within_s -= self._clock() - began
        return await super().admit(tokens, within_s=within_s, again=again)

    async def aclose(self) -> None:
        """Tell the store what has ended, and stop."""
        for task in (self._work, self._renewal):
            if task is not None and not task.done() and task.get_loop() is _running_loop():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._work = self._renewal = None
        try:
            if self._ends:
                ends, self._ends = self._ends, []
                await self._store.admit(self.rates, self.process, (), ends)
            await self._store.leave(self.rates, self.process)
        except StoreAwayError:
            return

    # -- the queue ---------------------------------------------------------------------------------

    async def _admit_shared(self, tokens: float, within_s: float, *, again: bool) -> Permit:
        now = self._clock()
        until = now + within_s
        if within_s <= 0:
            raise DeadlineError(f"{self.name}: no place is free, and no time is left to wait")
        if until < self._paused_until:
            raise self._refusal(within_s)
        self._be_at_home()
        self._numbers += 1
        name = f"{self.process}.{self._numbers}"
        waiter = _Waiter(name, math.ceil(max(tokens, 0)), until, again)
        queue = self._retries if again else self._newcomers
        queue.append(waiter)
        alarm = None
        if within_s < math.inf:
            loop = asyncio.get_running_loop()
            alarm = loop.call_later(within_s, self._expired, waiter, within_s)
        self._go_on()
        try:
            found = await waiter.future
        except asyncio.CancelledError:
            if not waiter.future.cancelled() and waiter.future.exception() is None:
                self._ended(Settlement(name, 0, unused=True))
            raise
        finally:
            if alarm is not None:
                alarm.cancel()
            if waiter in queue:
                queue.remove(waiter)
        return SharedPermit(self, name, found.at)

    def _expired(self, waiter: _Waiter, within_s: float) -> None:
        if not waiter.future.done():
            waiter.future.set_exception(
                DeadlineError(f"{self.name}: no place fell free within {within_s:.3g} s")
            )

    def _refuse_paused(self) -> None:
        now = self._clock()
        for waiter in (*self._retries, *self._newcomers):
            if waiter.until < self._paused_until and not waiter.future.done():
                waiter.future.set_exception(self._refusal(waiter.until - now))

    def _heads(self) -> list[_Waiter]:
        """From the head of the queue: retries first, they were in it before."""
        found: list[_Waiter] = []
        for queue in (self._retries, self._newcomers):
            while queue and queue[0].future.done():
                queue.popleft()
            for waiter in queue:
                if len(found) == CALLS_AT_ONCE:
                    return found
                if not waiter.future.done():
                    found.append(waiter)
        return found

    # -- the one who talks to the store ------------------------------------------------------------

    def _be_at_home(self) -> None:
        """Waiters and tasks of an earlier event loop died with it; its calls' leases run out."""
        loop = asyncio.get_running_loop()
        if loop is not self._home:
            self._home, self._change = loop, asyncio.Event()
            self._retries.clear()
            self._newcomers.clear()
            self._running.clear()
            self._work = self._renewal = None

    def _go_on(self) -> None:
        if self._change is not None:
            self._change.set()
        if self._work is None or self._work.done():
            self._work = asyncio.get_running_loop().create_task(self._talk())

    def _ended(self, end: Settlement) -> None:
        self._running.discard(end.permit)
        self._ends.append(end)
        if self._home is not None and self._home is _running_loop():
            self._go_on()

    async def _talk(self) -> None:
        """Ask and tell for as long as there is anything to ask or to tell."""
        assert self._change is not None  # noqa: S101 - set with the loop
        waited = False
        while True:
            self._change.clear()
            heads = self._heads()
            ends, self._ends = self._ends[:ENDS_AT_ONCE], self._ends[ENDS_AT_ONCE:]
            if not heads and not ends:
                if waited:
                    await self._leave()
                    if self._heads() or self._ends:
                        continue
                return
            try:
                found = await self._store.admit(
                    self.rates, self.process, [(w.permit, w.tokens) for w in heads], ends
                )
            except Exception as error:  # noqa: BLE001 - a store's bug must leave nobody waiting
                self._ends = ends + self._ends
                away = error if isinstance(error, StoreAwayError) else type(error).__name__
                self._lost(away)
                return
            self._found()
            waited = len(heads) > found.granted
            if found.paused_s > 0:
                self._paused_until = max(self._paused_until, self._clock() + found.paused_s)
                self._refuse_paused()
            self._hand_out(heads[: found.granted], found)
            if len(heads) > found.granted:
                delay = POLL_S if found.delay_s is None else found.delay_s
                await self._sleep(min(max(delay, found.paused_s), HEARTBEAT_S))

    def _hand_out(self, heads: Sequence[_Waiter], found: Admission) -> None:
        for waiter in heads:
            if waiter.future.done():
                self._ends.append(Settlement(waiter.permit, 0, unused=True))
            else:
                self._running.add(waiter.permit)
                waiter.future.set_result(found)
        if self._running and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.get_running_loop().create_task(self._renew())

    async def _sleep(self, seconds: float) -> None:
        """So long, or until a call has ended: its place may be the one that is wanted."""
        assert self._change is not None  # noqa: S101 - set with the loop
        try:
            async with asyncio.timeout(max(seconds, 0.001)):
                await self._change.wait()
        except TimeoutError:
            return

    async def _renew(self) -> None:
        """Say that calls are still running, three times a lease, while there are any."""
        while self._running:
            await asyncio.sleep(self.rates.lease_s / 3)
            names = list(self._running)
            try:
                for start in range(0, len(names), 1000):
                    await self._store.renew(self.rates, names[start : start + 1000])
            except StoreAwayError:
                continue

    async def _leave(self) -> None:
        try:
            await self._store.leave(self.rates, self.process)
        except StoreAwayError:
            return

    async def _tell_pause(self, seconds: float) -> None:
        try:
            await self._store.pause(self.rates, seconds)
        except StoreAwayError:
            return

    def _spawn(self, telling: Coroutine[Any, Any, None]) -> None:
        loop = _running_loop()
        if loop is None:
            telling.close()
            return
        task = loop.create_task(telling)
        _telling.add(task)
        task.add_done_callback(_telling.discard)

    def _lost(self, error: StoreAwayError | str) -> None:
        """From now on this process keeps to its own share; whoever waits goes to that queue."""
        self._away_until = self._clock() + ASK_AGAIN_S
        if not self._away:
            self._away = True
            _log.warning(
                "%s: the store of the shared limits cannot be used (%s); this process keeps to "
                "%.0f%% of each limit until it is back",
                self.name,
                error,
                100 * self._without_store,
            )
        for waiter in (*self._retries, *self._newcomers):
            if not waiter.future.done():
                waiter.future.set_exception(StoreAwayError())
        # Of a store that was away for long, old ends mean nothing: their leases ran out.
        del self._ends[:-10_000]

    def _found(self) -> None:
        if self._away:
            self._away = False
            _log.warning("%s: the shared limits hold again", self.name)


_telling: set[asyncio.Task[None]] = set()
"""Tasks that nobody waits for; the event loop itself would forget them."""


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
