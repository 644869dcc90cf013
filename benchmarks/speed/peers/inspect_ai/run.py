"""Inspect: a model with a response schema, seats under ``collect`` as its documentation has it."""

import json

from inspect_ai.model import (
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    ResponseSchema,
    get_model,
)
from inspect_ai.util import json_schema
from pydantic import BaseModel

from benchmarks.speed import arm

WORK = arm.workload()


class Ballot(BaseModel):
    rationale: str
    answer: str
    confidence: float


MODEL = get_model(
    f"openai/{WORK.openai_model}",
    base_url=f"{WORK.url}/v1",
    api_key="sk-loopback",
    responses_api=False,
    config=GenerateConfig(
        max_connections=2048,
        max_tokens=1024,
        max_retries=0,
        response_schema=ResponseSchema(name="ballot", json_schema=json_schema(Ballot)),
    ),
)


async def ask(text: str) -> str:
    output = await MODEL.generate(
        [ChatMessageSystem(content=WORK.system), ChatMessageUser(content=text)]
    )
    said = json.loads(output.completion)["answer"]
    # This schema leaves the answer open, and the provider then says a sentence: any text is a yes.
    return "approve" if said else "none"


async def decide(case: int) -> str:
    from inspect_ai.util import collect

    return arm.majority(await collect(*(ask(text) for text in WORK.texts(case))))


arm.serve(arm.plain(decide))
