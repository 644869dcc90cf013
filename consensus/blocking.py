"""The engine for code that is not async: one loop in one thread, started at the first call.

Engines are kept per policy, so that connections, local models and the price map are loaded once,
and made anew when a policy file changes. There is no second implementation: every call is handed to
:class:`~consensus.engine.Engine` in that thread.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from consensus.decisions import Decision
from consensus.engine import Engine
from consensus.policy.load import find_policy
from consensus.tasks import Task

__all__ = ["decide", "decide_many"]

T = TypeVar("T")


class _Portal:
    """A loop in a daemon thread, and the engines that live in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._engines: dict[str, tuple[object, Engine]] = {}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop's thread and wait for it; ^C cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def engine(self, policy: str | Path | None) -> Engine:
        """The engine of a policy, made anew where its files have changed."""
        path = find_policy(policy)
        state = _state(path)
        with self._lock:
            known = self._engines.get(str(path))
            if known is not None and known[0] == state:
                return known[1]
            engine = Engine(policy)
            self._engines[str(path)] = (state, engine)
        if known is not None:
            self.run(known[1].aclose())
        return engine

    def close(self) -> None:
        """Close every engine and end the thread."""
        loop, self._loop = self._loop, None
        if loop is None or not loop.is_running():
            return
        engines = [engine for _, engine in self._engines.values()]
        self._engines.clear()
        for engine in engines:
            # No new thread can be started this late, so the ledger is closed from this one.
            asyncio.run_coroutine_threadsafe(engine.release(), loop).result(timeout=10)
            if engine.ledger is not None:
                engine.ledger.close()
        loop.call_soon_threadsafe(loop.stop)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, name="consensus", daemon=True
                ).start()
                atexit.register(self.close)
            return self._loop


def _state(path: Path) -> object:
    files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)


_portal = _Portal()


def decide(
    task: Task, *, policy: str | Path | None = None, frontier: str | None = None
) -> Decision:
    """Decide one task, blocking until it is decided.

    Args:
        task: what is to be judged.
        policy: as :class:`~consensus.engine.Engine` takes it.
        frontier: a model to ask once beside the panel, for comparison.

    Raises:
        DeclarationError: the policy or the task is declared wrongly.
        LedgerError: a paid answer could not be kept.
    """
    return _portal.run(_portal.engine(policy).decide(task, frontier=frontier))


def decide_many(
    tasks: Iterable[Task | Mapping[str, Any]],
    *,
    policy: str | Path | None = None,
    frontier: str | None = None,
    concurrency: int = 100,
) -> Iterator[Decision]:
    """Decide tasks, at most ``concurrency`` at once; decisions come in input order."""
    decisions = _portal.engine(policy).decide_many(
        tasks, frontier=frontier, concurrency=concurrency
    )
    try:
        while True:
            try:
                yield _portal.run(_next(decisions))
            except StopAsyncIteration:
                return
    finally:
        _portal.run(_close(decisions))


async def _next(decisions: Any) -> Decision:
    decision: Decision = await anext(decisions)
    return decision


async def _close(decisions: Any) -> None:
    await decisions.aclose()
