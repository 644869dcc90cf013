"""Verdict: a layer of ten judges over a discrete scale, pooled by their mode.

A pipeline runs on threads of its own, so cases at once are pipelines in threads. Its rate limiter
is off; with its defaults it would make five calls a minute.
"""

import asyncio
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor

from benchmarks.speed import arm

WORK = arm.workload()
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.chdir(tempfile.mkdtemp())  # it keeps its logs in the current folder

from verdict import Layer, Pipeline, config  # noqa: E402
from verdict.common.judge import JudgeUnit  # noqa: E402
from verdict.model import vLLMModel  # noqa: E402
from verdict.scale import DiscreteScale  # noqa: E402
from verdict.schema import Schema  # noqa: E402
from verdict.transform import MaxPoolUnit  # noqa: E402

config.state.rate_limiter_disabled = True
MODEL = vLLMModel(WORK.openai_model, api_base=f"{WORK.url}/v1", api_key="sk-loopback")
JUDGE = JudgeUnit(DiscreteScale(["approve", "reject"]), explanation=True).prompt(
    f"@system\n{WORK.system}\n\n@user\n{{source.text}}"
)
POOL = ThreadPoolExecutor(128)


def run(case: int) -> str:
    pipeline = Pipeline() >> Layer(JUDGE.via(MODEL, retries=1), 10) >> MaxPoolUnit()
    texts = WORK.texts(case)
    outputs, _ = pipeline.run(Schema.of(text=texts[0]), max_workers=16)
    pooled = [value for key, value in outputs.items() if "Pool" in key]
    return str(pooled[0]) if pooled else "none"


async def decide(case: int) -> str:
    return await asyncio.get_running_loop().run_in_executor(POOL, run, case)


arm.serve(arm.plain(decide))
