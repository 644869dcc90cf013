"""The gateway's client, called by a plain gather: ``bare PROVIDER [dedicated]``."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.speed import arm
from benchmarks.speed.shared import AT_ONCE, MODELS, panel_requests
from consensus.collecting import Collecting
from consensus.models.factory import ClientFactory, ProviderSettings
from consensus.models.prices import PriceBook

PROVIDER, *REST = sys.argv[1:]


@asynccontextmanager
async def opened() -> AsyncIterator[arm.Decide]:
    settings = {PROVIDER: ProviderSettings(concurrency=AT_ONCE)}
    factory = ClientFactory(settings, PriceBook())
    model = f"{PROVIDER}/{MODELS[PROVIDER]}"
    client = factory.client(model)
    requests = await panel_requests(model)

    async def decide(_case: int) -> str:
        answers = await asyncio.gather(*(client.complete(r, timeout_s=120) for r in requests))
        return arm.majority(json.loads(one.text)["answer"] for one in answers)

    if "dedicated" in REST:
        await decide(0)  # what is arranged spares what has been loaded
        Collecting().arrange()
    yield decide
    await factory.aclose()


arm.serve(opened)
