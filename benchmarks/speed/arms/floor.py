"""aiohttp by hand: bytes out, JSON in, nothing else: ``floor anthropic|openai``."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from benchmarks.speed import arm

PROVIDER = sys.argv[1]
WORK = arm.workload()


@asynccontextmanager
async def opened() -> AsyncIterator[arm.Decide]:
    claude = PROVIDER == "anthropic"
    url = URL(WORK.url + ("/v1/messages" if claude else "/v1/chat/completions"))
    headers = {"content-type": "application/json", "authorization": "Bearer sk-loopback"}
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )

    def body(text: str) -> dict[str, Any]:
        user = {"role": "user", "content": text}
        if claude:
            shape = {"format": {"type": "json_schema", "schema": WORK.schema}}
            own = {"system": WORK.system, "messages": [user], "output_config": shape}
            return {"model": WORK.anthropic_model, "max_tokens": 1024, **own}
        answer = {"name": "answer", "schema": WORK.schema, "strict": True}
        return {
            "model": WORK.openai_model,
            "max_completion_tokens": 1024,
            "messages": [{"role": "system", "content": WORK.system}, user],
            "response_format": {"type": "json_schema", "json_schema": answer},
        }

    async def ask(text: str) -> str:
        data = json.dumps(body(text)).encode()
        async with session.post(url, data=data, headers=headers) as response:
            said = json.loads(await response.read())
        found = said["content"][0]["text"] if claude else said["choices"][0]["message"]["content"]
        return str(json.loads(found)["answer"])

    async def decide(case: int) -> str:
        return arm.majority(await asyncio.gather(*map(ask, WORK.texts(case))))

    yield decide
    await session.close()


arm.serve(opened)
