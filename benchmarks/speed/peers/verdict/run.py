"""Verdict: a layer of ten judges over two categories, pooled by their mode.

A pipeline runs on threads of its own, so cases at once are pipelines in threads. Its rate limiter
is off: with its defaults it would make five calls a minute. It sends through litellm, whose HTTP
client is given a pool for all the threads.
"""

import asyncio
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor

from benchmarks.speed import arm

WORK = arm.workload()
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.chdir(tempfile.mkdtemp())  # it keeps its logs in the current folder

import httpx  # noqa: E402
import litellm  # noqa: E402
from verdict import Layer, Pipeline, config  # noqa: E402
from verdict.common.judge import CategoricalJudgeUnit  # noqa: E402
from verdict.model import vLLMModel  # noqa: E402
from verdict.scale import DiscreteScale  # noqa: E402
from verdict.schema import Schema  # noqa: E402
from verdict.transform import MaxPoolUnit  # noqa: E402

litellm.client_session = httpx.Client(
    limits=httpx.Limits(**arm.POOL), follow_redirects=True, timeout=600
)
config.state.rate_limiter_disabled = True
MODEL = vLLMModel(WORK.openai_model, api_base=f"{WORK.url}/v1", api_key="sk-loopback")
SCALE = DiscreteScale(["approve", "reject"])
POOL = ThreadPoolExecutor(128)


def judge(seat: int) -> CategoricalJudgeUnit:
    unit = CategoricalJudgeUnit(categories=SCALE, explanation=True)
    return unit.prompt(f"@system\n{WORK.system}\n\n@user\n{{source.seat_{seat}}}").via(MODEL)


JUDGES = [judge(seat) for seat in range(len(WORK.users))]


def run(case: int) -> str:
    pipeline = Pipeline() >> Layer(JUDGES) >> MaxPoolUnit("choice")
    texts = {f"seat_{seat}": text for seat, text in enumerate(WORK.texts(case))}
    outputs, leaves = pipeline.run(Schema.of(**texts), max_workers=len(JUDGES))
    pooled = [value for key, value in outputs.items() if key.startswith(leaves[0])]
    return str(pooled[0]) if len(pooled) == 1 else f"pooled {sorted(outputs)}"


async def decide(case: int) -> str:
    return await asyncio.get_running_loop().run_in_executor(POOL, run, case)


arm.serve(arm.plain(decide))
