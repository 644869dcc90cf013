"""Where requests wait until they are a batch, and batches until they have ended."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from consensus.errors import PolicyError, ProviderError
from consensus.models.batch.journal import Journal, Submission
from consensus.models.batch.wire import BatchApi, BatchState, Item, Outcome
from consensus.models.ids import new_id
from consensus.models.protocol import Request

__all__ = ["BatchSettings", "Desk", "Event", "Listener"]

T = TypeVar("T")

EventKind: TypeAlias = Literal["submitted", "found", "polled", "ended", "failed"]


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How batches are made and waited for.

    Attributes:
        settle_s: a batch is submitted when nothing was added for so long …
        gather_s: … or when its first request has waited for so long.
        poll_s: the first and the longest wait between looks at a batch; it grows by half each time.
        in_batches: how often a request is put into a batch before it is sent by itself, at the
            standard price.
        alone_s: the timeout of a request that is sent by itself, in seconds.
        submits: how often a batch is submitted before its requests fail.
        most_items, most_bytes: of one batch; None for the provider's own limits.
    """

    settle_s: float = 2.0
    gather_s: float = 120.0
    poll_s: tuple[float, float] = (5.0, 300.0)
    in_batches: int = 2
    alone_s: float = 120.0
    submits: int = 6
    most_items: int | None = None
    most_bytes: int | None = None

    def __post_init__(self) -> None:
        first, longest = self.poll_s
        if not (self.settle_s >= 0 and self.gather_s >= 0 and 0 < first <= longest):
            raise PolicyError(
                "the waits of batches are seconds from 0 up, the first poll's shorter"
            )
        if self.in_batches < 1 or self.submits < 1:
            raise PolicyError("in_batches and submits are at least 1")


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell of a batch: ``done`` of ``total`` items have been worked on."""

    kind: EventKind
    provider: str
    batch_id: str
    total: int
    done: int = 0
    said: str = ""


Listener: TypeAlias = Callable[[Event], None]


class Desk:
    """One provider's batches.

    A request that is in a batch already, by the journal, waits for that batch; any other waits for
    the next one. Nothing is submitted before the journal holds it.

    Args:
        provider: the provider's name.
        api: its endpoint.
        journal: what was submitted, by this process and by those before it.
        settings: sizes and waits.
        tell: told of what happens; None for nobody.
    """

    def __init__(
        self,
        provider: str,
        api: BatchApi,
        journal: Journal,
        settings: BatchSettings,
        tell: Listener | None = None,
    ) -> None:
        self._provider = provider
        self._api = api
        self._journal = journal
        self._settings = settings
        self._tell = tell
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}
        self._requests: dict[str, Request] = {}
        self._ready: dict[str, Outcome] = {}
        self._queue: dict[str, Item] = {}
        self._added = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watched: set[str] = set()
        self._gathering = False

    async def outcome(self, custom_id: str, request: Request) -> Outcome:
        """What becomes of this request; it takes as long as its batch.

        Raises:
            ProviderError: its batch could not be submitted.
        """
        ready = self._ready.pop(custom_id, None)
        if ready is not None:
            return ready
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[custom_id] = waiting
        self._requests[custom_id] = request
        try:
            held = self._journal.holder(custom_id)
            if held is None:
                await self._enqueue(custom_id, request)
            else:
                self._watch(held)
            result: Outcome = await waiting
            return result
        finally:
            self._waiting.pop(custom_id, None)
            self._requests.pop(custom_id, None)
            self._queue.pop(custom_id, None)

    async def aclose(self) -> None:
        """Stop waiting. Batches go on at the provider; the journal knows them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._api.aclose()

    # -- gathering ---------------------------------------------------------------------------------

    async def _enqueue(self, custom_id: str, request: Request) -> None:
        item = await self._api.item(custom_id, request)
        self._queue[custom_id] = item
        self._added.set()
        if not self._gathering:
            self._gathering = True
            self._start(self._gather(), [])

    async def _gather(self) -> None:
        """Wait until nothing more comes, then submit what is there."""
        try:
            until = time.monotonic() + self._settings.gather_s
            while (left := until - time.monotonic()) > 0:
                self._added.clear()
                try:
                    async with asyncio.timeout(min(self._settings.settle_s, left)):
                        await self._added.wait()
                except TimeoutError:
                    break
        finally:
            self._gathering = False
        queue, self._queue = self._queue, {}
        for items in self._chunks(queue.values()):
            ids = [item.custom_id for item in items]
            self._start(self._submit(items), ids)

    def _chunks(self, items: Iterable[Item]) -> list[list[Item]]:
        """Batches within the provider's limits, in the order in which requests came."""
        settings, api = self._settings, self._api
        most_items = min(settings.most_items or api.most_items, api.most_items)
        most_bytes = min(settings.most_bytes or api.most_bytes, api.most_bytes)
        groups: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            groups[item.model if api.one_model else ""].append(item)
        chunks: list[list[Item]] = []
        for group in groups.values():
            size = most_bytes + 1
            for item in group:
                if size + item.size > most_bytes or len(chunks[-1]) >= most_items:
                    chunks.append([])
                    size = 0
                chunks[-1].append(item)
                size += item.size
        return chunks

    # -- submitting --------------------------------------------------------------------------------

    async def _submit(self, items: list[Item]) -> None:
        ids = [item.custom_id for item in items]
        submission = self._journal.intend(new_id(), self._provider, time.time(), ids)
        self._watched.add(submission.mark)
        wait = self._settings.poll_s[0]
        for attempt in range(1, self._settings.submits + 1):
            try:
                batch_id = await self._api.submit(items, submission.mark)
                break
            except ProviderError as error:
                refused = error
            if refused.retryable:
                # It may have begun all the same: who timed out has not been refused.
                await asyncio.sleep(max(wait, refused.retry_after_s or 0.0))
                wait = min(2 * wait, self._settings.poll_s[1])
                if await self._find(submission):
                    break
            if not refused.retryable or attempt == self._settings.submits:
                self._journal.died(submission)
                raise refused
        if submission.batch_id is None:
            self._journal.submitted(submission, batch_id)
            self._say("submitted", batch_id, len(ids))
        await self._follow(submission)

    async def _find(self, submission: Submission) -> bool:
        """Whether a batch that nobody heard of was begun after all; then it is ours."""
        known = self._journal.batches()
        found = await self._patiently(
            lambda: self._api.candidates(submission.mark, submission.at, len(submission.ids))
        )
        for batch_id in found:
            if batch_id in known or not await self._is_ours(submission, batch_id):
                continue
            self._journal.submitted(submission, batch_id)
            self._say("found", batch_id, len(submission.ids))
            return True
        return False

    async def _is_ours(self, submission: Submission, batch_id: str) -> bool:
        """An API that keeps no mark names a batch's items only when it has ended."""
        if self._api.tells_marks:
            return True
        state = await self._until_ended(batch_id)
        if state.failed is not None:
            return False
        results = await self._patiently(lambda: self._api.results(batch_id))
        return not results.keys().isdisjoint(submission.ids)

    # -- waiting -----------------------------------------------------------------------------------

    def _watch(self, submission: Submission) -> None:
        """See that somebody waits for a batch that an earlier process submitted."""
        if submission.mark in self._watched:
            return
        self._watched.add(submission.mark)
        self._start(self._take_up(submission), submission.ids)

    async def _take_up(self, submission: Submission) -> None:
        if submission.batch_id is None and not await self._find(submission):
            self._journal.died(submission)
            await self._again(submission.ids)
            return
        await self._follow(submission)

    async def _follow(self, submission: Submission) -> None:
        """Wait for a batch and hand out what became of its items."""
        batch_id = submission.batch_id
        assert batch_id is not None  # noqa: S101 - it was submitted or found
        try:
            state = await self._until_ended(batch_id)
        except ProviderError as error:
            if error.failure != "not_found":
                raise
            # A provider keeps results for a month only: what it has forgotten is asked again.
            self._say("failed", batch_id, len(submission.ids), said="no longer there")
            self._journal.died(submission)
            await self._again(submission.ids)
            return
        if state.failed is not None:
            self._say("failed", batch_id, state.total, said=state.failed)
            self._journal.died(submission)
            if state.again:
                await asyncio.sleep(self._settings.poll_s[1])
                await self._again(submission.ids)
                return
            raise ProviderError(
                f"{self._provider}: refused the batch ({state.failed})",
                failure="bad_request",
            )
        results = await self._patiently(lambda: self._api.results(batch_id))
        answered = sum(outcome.kind == "answered" for outcome in results.values())
        self._say("ended", batch_id, len(submission.ids), answered)
        for custom_id in submission.ids:
            outcome = results.get(custom_id) or Outcome("expired", batch_id)
            waiting = self._waiting.get(custom_id)
            if waiting is None:
                self._ready[custom_id] = outcome
            elif not waiting.done():
                waiting.set_result(outcome)

    async def _until_ended(self, batch_id: str) -> BatchState:
        wait, longest = self._settings.poll_s
        while True:
            state = await self._patiently(lambda: self._api.state(batch_id))
            if state.ended:
                return state
            self._say("polled", batch_id, state.total, state.done)
            await asyncio.sleep(wait)
            wait = min(1.5 * wait, longest)

    async def _again(self, ids: Iterable[str]) -> None:
        """Put into the next batch whoever still waits."""
        for custom_id in ids:
            request = self._requests.get(custom_id)
            if request is not None:
                await self._enqueue(custom_id, request)

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the provider about a batch until it answers: what is paid for is not given up."""
        wait, longest = self._settings.poll_s
        while True:
            try:
                return await ask()
            except ProviderError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(max(wait, error.retry_after_s or 0.0))
                wait = min(2 * wait, longest)

    # -- tasks -------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None], ids: Iterable[str]) -> None:
        task = asyncio.create_task(self._guarded(work, tuple(ids)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None], ids: tuple[str, ...]) -> None:
        """What goes wrong with a batch goes wrong with everybody who waits for it."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
            for custom_id in ids or tuple(self._queue):
                waiting = self._waiting.get(custom_id)
                if waiting is not None and not waiting.done():
                    waiting.set_exception(_copy(error))

    def _say(
        self, kind: EventKind, batch_id: str, total: int, done: int = 0, *, said: str = ""
    ) -> None:
        if self._tell is not None:
            self._tell(Event(kind, self._provider, batch_id, total, done, said))


def _copy(error: Exception) -> Exception:
    """An exception of one's own for everybody: each is given its call's records."""
    if not isinstance(error, ProviderError):
        return error
    return ProviderError(
        error.message,
        failure=error.failure,
        retryable=error.retryable,
        status=error.status,
        model=error.model,
    )
