"""How the server is set up: where it listens, how much it takes at once, how long it waits."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from consensus.errors import DeclarationError

__all__ = ["ServerSettings", "is_loopback"]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything about the server that is not the policy's and not a key's.

    Attributes:
        host, port: where it listens; port 0 takes any free one.
        at_once: decisions that run at the same time.
        waiting: decisions that may wait for a place; beyond them the answer is 429.
        streams: requests to ``/v1/decide/stream`` at the same time.
        per_stream: tasks of one stream that run or wait at the same time.
        max_body_bytes, max_stream_bytes: of a request's body; of a stream's.
        max_tasks: of one stream.
        max_depth: nested objects and lists of a body.
        body_s: seconds in which a body must have arrived.
        grace_s: seconds that what is in flight has at shutdown.
        read_spending_s: seconds between two looks at what keys with budgets have spent.
        heartbeat_s: seconds of silence after which a stream says that it is alive.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    at_once: int = 64
    waiting: int = 256
    streams: int = 8
    per_stream: int = 16
    max_body_bytes: int = 8_000_000
    max_stream_bytes: int = 64_000_000
    max_tasks: int = 100_000
    max_depth: int = 64
    body_s: float = 30.0
    grace_s: float = 30.0
    read_spending_s: float = 2.0
    heartbeat_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("at_once", "streams", "per_stream", "max_body_bytes", "max_depth"):
            if getattr(self, name) < 1:
                raise DeclarationError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("waiting", "grace_s"):
            if getattr(self, name) < 0:
                raise DeclarationError(f"{name} must not be negative")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address: ``localhost``, 127.0.0.0/8, ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
