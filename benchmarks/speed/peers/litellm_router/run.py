"""litellm's Router and ``asyncio.gather``."""

import asyncio
import json
import os

from benchmarks.speed import arm

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["AIOHTTP_CONNECTOR_LIMIT"] = str(arm.CONNECTIONS)
os.environ["AIOHTTP_CONNECTOR_LIMIT_PER_HOST"] = str(arm.CONNECTIONS)
import litellm

litellm.suppress_debug_info = True
WORK = arm.workload()
ROUTER = litellm.Router(
    model_list=[
        {
            "model_name": "judge",
            "litellm_params": {
                "model": f"openai/{WORK.openai_model}",
                "api_base": f"{WORK.url}/v1",
                "api_key": "sk-loopback",
                "timeout": 600,
            },
        }
    ],
    num_retries=0,
)
SCHEMA = {"name": "answer", "schema": WORK.schema, "strict": True}


async def ask(text: str) -> str:
    completion = await ROUTER.acompletion(
        model="judge",
        messages=[{"role": "system", "content": WORK.system}, {"role": "user", "content": text}],
        response_format={"type": "json_schema", "json_schema": SCHEMA},
        max_tokens=1024,
    )
    return str(json.loads(completion.choices[0].message.content)["answer"])


async def decide(case: int) -> str:
    return arm.majority(await asyncio.gather(*map(ask, WORK.texts(case))))


arm.serve(arm.plain(decide))
