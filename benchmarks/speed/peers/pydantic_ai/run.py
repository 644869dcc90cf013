"""Pydantic AI: one agent with a typed output, run once a seat in a gather."""

import asyncio
from typing import Literal

import httpx2
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from benchmarks.speed import arm

WORK = arm.workload()


class Ballot(BaseModel):
    rationale: str
    answer: Literal["approve", "reject"]
    confidence: float


CLIENT = AsyncOpenAI(
    base_url=f"{WORK.url}/v1",
    api_key="sk-loopback",
    max_retries=0,
    timeout=600,
    http_client=DefaultAsyncHttpxClient(limits=httpx2.Limits(**arm.POOL)),
)
JUDGE = Agent(
    OpenAIChatModel(WORK.openai_model, provider=OpenAIProvider(openai_client=CLIENT)),
    output_type=Ballot,
    instructions=WORK.system,
)


async def ask(text: str) -> str:
    return (await JUDGE.run(text)).output.answer


async def decide(case: int) -> str:
    return arm.majority(await asyncio.gather(*map(ask, WORK.texts(case))))


arm.serve(arm.plain(decide))
