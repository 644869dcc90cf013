"""AutoGen's AgentChat: ten assistants with a structured answer, each run once in a gather."""

import asyncio
from typing import Literal

import httpx2
from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import ModelInfo
from autogen_ext.models.openai import OpenAIChatCompletionClient
from openai import DefaultAsyncHttpxClient
from pydantic import BaseModel

from benchmarks.speed import arm

WORK = arm.workload()


class Ballot(BaseModel):
    rationale: str
    answer: Literal["approve", "reject"]
    confidence: float


CLIENT = OpenAIChatCompletionClient(
    model=WORK.openai_model,
    base_url=f"{WORK.url}/v1",
    api_key="sk-loopback",
    max_retries=0,
    timeout=600,
    http_client=DefaultAsyncHttpxClient(limits=httpx2.Limits(**arm.POOL)),
    model_info=ModelInfo(
        vision=False,
        function_calling=True,
        json_output=True,
        family="unknown",
        structured_output=True,
    ),
)


async def ask(text: str) -> str:
    # An assistant keeps what it was told, so every seat of every case is a new one.
    judge = AssistantAgent("judge", CLIENT, system_message=WORK.system, output_content_type=Ballot)
    result = await judge.run(task=text)
    return str(result.messages[-1].content.answer)


async def decide(case: int) -> str:
    return arm.majority(await asyncio.gather(*map(ask, WORK.texts(case))))


arm.serve(arm.plain(decide))
