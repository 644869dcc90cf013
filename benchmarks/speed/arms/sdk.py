"""A provider's SDK and ``asyncio.gather``: ``sdk anthropic|openai as-it-comes|lean|transport``.

``lean`` is what an SDK's own settings can save: its aiohttp transport, no spans, and Anthropic's
answers as plain objects instead of models. ``transport`` (Anthropic) is that over a transport of
one's own instead of the SDK's: the leanest path that goes through the SDK for every request.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.speed import arm

PROVIDER, HOW = sys.argv[1:]
WORK = arm.workload()
PATIENCE_S = 600.0
"""Their own five seconds to connect are too few for a machine with other work."""


@asynccontextmanager
async def claude() -> AsyncIterator[arm.Decide]:
    import anthropic

    lean: dict[str, Any] = {}
    if HOW != "as-it-comes":
        lean = {"http_client": anthropic.DefaultAioHttpClient(), "open_telemetry": False}
    if HOW == "transport":
        import httpx2

        from benchmarks.speed.shared import AT_ONCE
        from consensus.models._http import aiohttp_client

        lean["http_client"] = aiohttp_client(httpx2, concurrency=AT_ONCE)
    client = anthropic.AsyncAnthropic(max_retries=0, timeout=PATIENCE_S, **lean)
    shape: Any = {"format": {"type": "json_schema", "schema": WORK.schema}}

    async def as_it_comes(text: str) -> str:
        message = await client.messages.create(
            model=WORK.anthropic_model,
            max_tokens=1024,
            system=WORK.system,
            messages=[{"role": "user", "content": text}],
            output_config=shape,
        )
        block = message.content[0]
        return str(json.loads(block.text)["answer"]) if block.type == "text" else "none"

    async def leanest(text: str) -> str:
        body = {
            "model": WORK.anthropic_model,
            "max_tokens": 1024,
            "system": WORK.system,
            "messages": [{"role": "user", "content": text}],
            "output_config": shape,
        }
        message: Any = await client.post("/v1/messages", cast_to=object, body=body)
        return str(json.loads(message["content"][0]["text"])["answer"])

    ask = as_it_comes if HOW == "as-it-comes" else leanest

    async def decide(case: int) -> str:
        return arm.majority(await asyncio.gather(*map(ask, WORK.texts(case))))

    yield decide
    await client.close()


@asynccontextmanager
async def gpt() -> AsyncIterator[arm.Decide]:
    import openai

    lean: dict[str, Any] = {}
    if HOW == "lean":
        lean = {"http_client": openai.DefaultAioHttpClient()}
    client = openai.AsyncOpenAI(max_retries=0, timeout=PATIENCE_S, **lean)
    shape: Any = {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": WORK.schema, "strict": True},
    }

    async def ask(text: str) -> str:
        completion = await client.chat.completions.create(
            model=WORK.openai_model,
            max_completion_tokens=1024,
            messages=[
                {"role": "system", "content": WORK.system},
                {"role": "user", "content": text},
            ],
            response_format=shape,
        )
        return str(json.loads(completion.choices[0].message.content or "")["answer"])

    async def decide(case: int) -> str:
        return arm.majority(await asyncio.gather(*map(ask, WORK.texts(case))))

    yield decide
    await client.close()


arm.serve(claude if PROVIDER == "anthropic" else gpt)
