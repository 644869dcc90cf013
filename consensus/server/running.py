"""The server as a process: bind, serve, drain, stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType

from consensus.errors import DeclarationError, MissingExtraError
from consensus.server.keys import KeyRing
from consensus.server.service import Service
from consensus.server.settings import ServerSettings, is_loopback

try:
    import starlette  # noqa: F401 - the application needs it
    import uvicorn
except ImportError as error:
    raise MissingExtraError(
        f"{error.name} is not installed", fix='pip install "consensus-engine[serve]"'
    ) from None

__all__ = ["DrainingServer", "bind", "check_exposure", "make_server"]

LAST_WORDS_S = 2.0
"""After the grace: for those who were cut off to be told so."""

BACKLOG = 2048

log = logging.getLogger("consensus.server")


def check_exposure(settings: ServerSettings, keys: KeyRing | None) -> None:
    """Refuse to be reachable from elsewhere without keys.

    Raises:
        DeclarationError: naming the command that makes a key.
    """
    if keys is None and not is_loopback(settings.host):
        raise DeclarationError(
            f"{settings.host} can be reached from other machines, and there are no keys",
            fix="consensus serve keys new --types TYPE, or --host 127.0.0.1",
        )


def bind(settings: ServerSettings) -> socket.socket:
    """The socket that the server listens on; who connects from now on is answered.

    Raises:
        DeclarationError: the address is taken, or not this machine's.
    """
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise DeclarationError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}",
            fix="--port with another number, or 0 for a free one",
        ) from None
    listening.set_inheritable(True)
    return listening


class DrainingServer(uvicorn.Server):
    """uvicorn, which tells the service when it goes down, and whom it cuts off."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service
        self.interrupted = False
        self.at_start: Callable[[], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so to :attr:`at_start`."""
        await super().startup(sockets)
        for listening in sockets or []:
            listening.listen(BACKLOG)  # uvicorn has set it to how many it accepts at a time
        if self.at_start is not None:
            self.at_start()

    def drain(self) -> None:
        """Take nothing new, finish what is in flight, and end."""
        self.service.draining = True
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, end at once at the second; never die of either."""
        self.interrupted = self.interrupted or sig == signal.SIGINT
        if self.should_exit:
            self.force_exit = True
            self.service.cut()
        self.drain()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let what is in flight finish within the grace; then cut it off, and say so."""
        self.service.draining = True
        log.info("going down; %d decisions are in flight", self.service.in_flight)
        grace = asyncio.create_task(self._cut_after(self.service.settings.grace_s))
        try:
            await super().shutdown(sockets)
        finally:
            grace.cancel()
            await asyncio.gather(grace, return_exceptions=True)

    async def _cut_after(self, grace_s: float) -> None:
        await asyncio.sleep(grace_s)
        self.service.cut()


def make_server(service: Service, *, several: bool = False) -> DrainingServer:
    """A server for a service; ``await server.serve(sockets=[bind(settings)])`` runs it.

    With ``several``, other processes accept from the same socket: it takes one connection at a
    time, so that a burst of them is spread over all.
    """
    from consensus.server.app import build_app

    settings = service.settings
    check_exposure(settings, service.keys)
    config = uvicorn.Config(
        build_app(service),
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=1 if several else BACKLOG,
        timeout_graceful_shutdown=int(settings.grace_s + LAST_WORDS_S + 1),
    )
    return DrainingServer(config, service)
