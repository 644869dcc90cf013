"""Inspect: a model with a response schema, seats under ``collect`` as its documentation has it."""

from typing import Literal

import httpx2
from inspect_ai.model import (
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    ResponseSchema,
    get_model,
)
from inspect_ai.util import collect, json_schema
from openai import DefaultAsyncHttpxClient
from pydantic import BaseModel

from benchmarks.speed import arm

WORK = arm.workload()


class Ballot(BaseModel):
    rationale: str
    answer: Literal["approve", "reject"]
    confidence: float


MODEL = get_model(
    f"openai/{WORK.openai_model}",
    base_url=f"{WORK.url}/v1",
    api_key="sk-loopback",
    responses_api=False,
    client_timeout=600,
    http_client=DefaultAsyncHttpxClient(limits=httpx2.Limits(**arm.POOL)),
    config=GenerateConfig(
        max_connections=arm.CONNECTIONS,
        max_tokens=1024,
        max_retries=0,
        response_schema=ResponseSchema(name="ballot", json_schema=json_schema(Ballot)),
    ),
)


async def ask(text: str) -> str:
    output = await MODEL.generate(
        [ChatMessageSystem(content=WORK.system), ChatMessageUser(content=text)]
    )
    return Ballot.model_validate_json(output.completion).answer


async def decide(case: int) -> str:
    return arm.majority(await collect(*(ask(text) for text in WORK.texts(case))))


arm.serve(arm.plain(decide))
