"""Several processes on one port, kept alive.

They share one listening socket, which the supervisor holds as well: a connection that no worker has
taken yet waits for the next one, whichever of them dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path

from consensus.server.board import DOWN, SERVING, STARTING, Board
from consensus.server.gathered import bury
from consensus.server.process import ServeOptions
from consensus.server.running import LAST_WORDS_S
from consensus.server.worker import DECLARED_WRONGLY

__all__ = ["Backoff", "Supervisor"]

COMMAND = (sys.executable, "-m", "consensus.server.worker")

KILL_AFTER_S = 5.0
"""Beyond the grace and the last words: a worker that still runs is killed."""

log = logging.getLogger("consensus.server")


class Backoff:
    """How long to wait before a worker is started again: longer each time, until it has held.

    Args:
        first_s, longest_s: the wait doubles from the one to the other.
        held_s: a worker that lived so long is taken for sound again.
    """

    def __init__(
        self, first_s: float = 0.25, longest_s: float = 30.0, held_s: float = 60.0
    ) -> None:
        self._first_s, self._longest_s, self._held_s = first_s, longest_s, held_s
        self._next_s = first_s

    def after(self, lived_s: float) -> float:
        """Seconds to wait after a worker that lived so long."""
        if lived_s >= self._held_s:
            self._next_s = self._first_s
        wait, self._next_s = self._next_s, min(2 * self._next_s, self._longest_s)
        return wait


class Supervisor:
    """Starts the workers, starts again those that die, and ends them all together.

    Args:
        options: for every worker; ``options.workers`` of them.
        listening: bound, and closed by the supervisor.
        command: what starts a worker.
    """

    def __init__(
        self,
        options: ServeOptions,
        listening: socket.socket,
        *,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._options, self._listening, self._command = options, listening, tuple(command)
        self.board = Board.make(options.workers)
        self._metrics = Path(tempfile.mkdtemp(prefix="consensus-serve-"))
        self._running: dict[int, Process] = {}
        self._ending = asyncio.Event()
        self._signals = 0
        self._served = False
        self._interrupted = False
        self._failed = False

    async def run(self) -> int:
        """Serve until a signal.

        Returns:
            the exit status: 0; 130 after an interrupt; 1 where no worker could be started.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        try:
            async with asyncio.TaskGroup() as group:
                for slot in range(self._options.workers):
                    group.create_task(self._keep(slot))
                group.create_task(self._end())
        finally:
            for process in self._running.values():
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            self._listening.close()
            self.board.close()
            shutil.rmtree(self._metrics, ignore_errors=True)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        if self._failed:
            return 1
        return 130 if self._interrupted else 0

    def _signalled(self, number: signal.Signals) -> None:
        self._interrupted = self._interrupted or number == signal.SIGINT
        self._signals += 1
        if self._signals == 1:
            log.info("going down with %d workers", self.board.live)
        self._stop()

    def _stop(self) -> None:
        """Tell every worker; told twice, it ends at once."""
        self._ending.set()
        self._listening.close()
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    async def _end(self) -> None:
        """Kill what outlasts its grace."""
        await self._ending.wait()
        until = self._options.settings.grace_s + LAST_WORDS_S + KILL_AFTER_S
        waiting = [asyncio.create_task(one.wait()) for one in self._running.values()]
        if not waiting:
            return
        await asyncio.wait(waiting, timeout=until)
        for slot, process in list(self._running.items()):
            log.error("worker %d outlasted its grace and was killed", slot + 1)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*waiting)

    async def _keep(self, slot: int) -> None:
        """One place: a worker, and the next one when it has died."""
        backoff = Backoff()
        while not self._ending.is_set():
            began = time.monotonic()
            process = await self._start(slot)
            status = await process.wait()
            self._served = self._served or self.board[slot].state == SERVING
            del self._running[slot]
            self.board.put(slot, 0, DOWN)
            bury(self._metrics, process.pid)
            if self._ending.is_set():
                return
            if status == DECLARED_WRONGLY and not self._served:
                self._failed = True
                self._stop()
                return
            wait_s = backoff.after(time.monotonic() - began)
            log.error(
                "worker %d (process %d) ended with status %d; %d of %d live; another in %.3g s",
                *(slot + 1, process.pid, status, self.board.live, self.board.places, wait_s),
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), wait_s)

    async def _start(self, slot: int) -> Process:
        fds = self._listening.fileno(), self.board.fd
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            pass_fds=fds,
            # Of a terminal's ^C only the supervisor hears: told twice, a worker ends at once.
            start_new_session=True,
        )
        self.board.put(slot, process.pid, STARTING)
        self._running[slot] = process
        told = {
            "slot": slot,
            "listening": fds[0],
            "board": fds[1],
            "metrics": str(self._metrics),
            "options": self._options.to_json(),
        }
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        process.stdin.write(json.dumps(told).encode() + b"\n")
        with contextlib.suppress(ConnectionError):  # it died at once: the wait for it says so
            await process.stdin.drain()
        if self._ending.is_set():  # a signal came while it was being made
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        return process
