"""``litellm.acompletion`` and ``asyncio.gather``: ``acompletion anthropic|openai``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.speed import arm

PROVIDER = sys.argv[1]
WORK = arm.workload()


@asynccontextmanager
async def opened() -> AsyncIterator[arm.Decide]:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["AIOHTTP_CONNECTOR_LIMIT"] = str(arm.CONNECTIONS)
    os.environ["AIOHTTP_CONNECTOR_LIMIT_PER_HOST"] = str(arm.CONNECTIONS)
    import litellm

    litellm.suppress_debug_info = True
    model = WORK.anthropic_model if PROVIDER == "anthropic" else WORK.openai_model
    schema = {"name": "answer", "schema": WORK.schema, "strict": True}

    async def ask(text: str) -> str:
        completion = await litellm.acompletion(
            model=f"{PROVIDER}/{model}",
            max_tokens=1024,
            messages=[
                {"role": "system", "content": WORK.system},
                {"role": "user", "content": text},
            ],
            response_format={"type": "json_schema", "json_schema": schema},
            num_retries=0,
        )
        return str(json.loads(completion.choices[0].message.content)["answer"])

    async def decide(case: int) -> str:
        return arm.majority(await asyncio.gather(*map(ask, WORK.texts(case))))

    yield decide


arm.serve(opened)
