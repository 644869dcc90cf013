"""The real server on loopback, for tests of what its callers see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from consensus.engine import Engine
from consensus.models.scripted import Behaviour, ScriptedClient
from consensus.server.keys import KeyRing, new_key
from consensus.server.running import DrainingServer, bind, make_server
from consensus.server.service import Service
from consensus.server.settings import ServerSettings
from tests.engine_fixtures import engine_of

ROWS = """
[prices."scripted/a"]
input = 1.0
output = 10.0
[prices."scripted/b"]
input = 1.0
output = 10.0
[prices."scripted/f"]
input = 15.0
output = 75.0
[tasks.refund]
kind = "approve"
criteria = "Unused, within 30 days."
owner = "payments"
strategy = "vote"
tier = "small"
seats = 3
quorum = 2
[tasks.split]
kind = "approve"
strategy = "vote"
tier = "small"
seats = 2
[tasks.triage]
kind = "choose"
options = ["billing", "bug"]
strategy = "single"
tier = "small"
[tasks.rating]
kind = "score"
scale = [0, 10]
strategy = "single"
tier = "small"
[tasks.queue]
kind = "rank"
strategy = "single"
tier = "small"
[tasks.duel]
kind = "compare"
strategy = "single"
tier = "small"
[tasks.reply]
kind = "generate"
strategy = "single"
tier = "small"
"""
TASK = {"type": "refund", "subject": "Unused, 12 days old."}


@dataclass
class Served:
    """One running server, its parts, and a client."""

    url: str
    server: DrainingServer
    service: Service
    engine: Engine
    models: ScriptedClient
    http: httpx.AsyncClient
    running: asyncio.Task[None]
    keys: Path

    def key(self, *types: str, **options: Any) -> str:
        """Another key, in force at once."""
        _, token = new_key(self.keys, types=types, **options)
        ring = self.service.keys
        assert ring is not None
        ring._look_at = 0.0
        return token

    async def decide(self, task: Mapping[str, Any] = TASK, **options: Any) -> httpx.Response:
        return await self.http.post("/v1/decide", json=dict(task), **options)


@asynccontextmanager
async def serving(
    folder: Path,
    behaviour: Behaviour | Mapping[str, Any] | None = None,
    *,
    keys: bool = False,
    rows: str = ROWS,
    engine_options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Served]:
    """Serve scripted models on a free port; with ``keys``, nobody may call without one."""
    engine, models = engine_of(folder, rows, behaviour, **(engine_options or {}))
    place = folder / "keys.toml"
    if keys and not place.exists():
        place.write_text("[keys]\n")
    chosen = ServerSettings(**{"port": 0, "grace_s": 5.0, **settings})
    async with engine:
        service = Service(engine, chosen, keys=KeyRing(place) if keys else None)
        server = make_server(service)
        listening = bind(chosen)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        running = asyncio.create_task(server.serve(sockets=[listening]))
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            await until(lambda: server.started)
            try:
                yield Served(url, server, service, engine, models, http, running, place)
            finally:
                server.should_exit = True
                await http.aclose()
                await running


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def said(response: httpx.Response) -> Any:
    """The code of an error's body."""
    return response.json()["error"]["code"]


def rows_of(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.text.splitlines() if line.strip()]


async def until(condition: Any, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
