"""One process that serves: an engine, its service and its server, from start to drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from consensus.engine import Engine
from consensus.server.board import SERVING, Board
from consensus.server.gathered import Gathered
from consensus.server.keys import KeyRing
from consensus.server.running import DrainingServer, make_server
from consensus.server.service import Service
from consensus.server.settings import ServerSettings
from consensus.telemetry import Metrics, Telemetry

__all__ = ["ServeOptions", "Worker", "log_to_stderr", "serving"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What ``consensus serve`` was told, as it is handed to each process.

    Attributes:
        policy, ledger, keys: paths; None as with the engine, and for a server without keys.
        reload, watch: as with the engine.
        access_log: whether requests are logged.
        workers: processes on the port.
    """

    settings: ServerSettings
    policy: str | None = None
    ledger: str | None = None
    keys: str | None = None
    reload: bool = False
    watch: bool = False
    access_log: bool = True
    workers: int = 1

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Of :meth:`to_json`."""
        return cls(**{**data, "settings": ServerSettings(**data["settings"])})

    def ring(self) -> KeyRing | None:
        """The keys; None: whoever reaches the server may call."""
        return None if self.keys is None else KeyRing(Path(self.keys))


@dataclass(frozen=True, slots=True)
class Worker:
    """One of several processes on a port.

    Attributes:
        slot: its place on the board. The one in place 0 does what only one may do.
        metrics: the folder in which the workers show one another their metrics.
    """

    slot: int
    board: Board
    metrics: Path

    def serving(self) -> None:
        """Say that it serves."""
        self.board.put(self.slot, os.getpid(), SERVING)


@asynccontextmanager
async def serving(
    options: ServeOptions, worker: Worker | None = None
) -> AsyncIterator[DrainingServer]:
    """A server that is ready to run; at the end its engine is closed.

    Raises:
        DeclarationError: the policy, the keys or the ledger do not allow it.
    """
    watch, reload = options.watch, options.reload
    if worker is not None:
        # A demotion is a change of the policy's files, and has to reach the other workers too.
        watch, reload = watch and worker.slot == 0, reload or watch
    telemetry = Telemetry(metrics=Metrics())
    async with Engine(
        options.policy,
        ledger=options.ledger,
        reload=reload,
        telemetry=telemetry,
        watch=watch,
        processes=options.workers,
        dedicated=True,
    ) as engine:
        service = Service(engine, options.settings, keys=options.ring())
        beside: list[asyncio.Task[None]] = []
        if worker is not None and worker.board.live:
            await service.warm()  # before it takes a connection that another could serve at once
        else:
            service.warming = True  # from the first request on
            beside.append(asyncio.create_task(service.warm()))
        if worker is not None:
            service.board = worker.board
            gathered = Gathered(worker.metrics, service.metrics.registry, worker.board)
            service.metrics.gathered = gathered
            beside.append(asyncio.create_task(gathered.run()))
        try:
            yield make_server(service, several=worker is not None)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await service.aclose()


async def serve_worker(options: ServeOptions, worker: Worker, listening: socket.socket) -> None:
    """Serve until a signal, or until the supervisor is gone."""
    async with serving(options, worker) as server:
        loop = asyncio.get_running_loop()

        def look() -> None:
            # Nothing more is ever sent: its end is all that can be read.
            with contextlib.suppress(BlockingIOError):
                if not os.read(sys.stdin.fileno(), 1024):
                    loop.remove_reader(sys.stdin.fileno())
                    logging.getLogger("consensus.server").error("the supervisor is gone")
                    server.drain()

        os.set_blocking(sys.stdin.fileno(), False)
        loop.add_reader(sys.stdin.fileno(), look)
        server.at_start = worker.serving
        try:
            await server.serve(sockets=[listening])
        finally:
            loop.remove_reader(sys.stdin.fileno())


def log_to_stderr(*, access: bool, several: bool = False) -> None:
    """Send the logs of a server to standard error; of several processes each line names its own."""
    handler = logging.StreamHandler(sys.stderr)
    which = " [%(process)d]" if several else ""
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s{which} %(levelname)s %(name)s: %(message)s")
    )
    for name in ("consensus", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if name == "consensus" else logging.WARNING)
    logging.getLogger("consensus.server.access").disabled = not access
