"""The work that every arm does, and the processes that it is done in."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.speed.arm import CONNECTIONS
from consensus.models.protocol import Completion, Request
from consensus.models.scripted import ScriptedClient
from consensus.tasks import Approve

SEATS = 10
AT_ONCE = CONNECTIONS

MODELS = {"anthropic": "claude-haiku-5-5", "openai": "gpt-5.4-nano"}
KEYS = {"ANTHROPIC_API_KEY": "sk-ant-loopback", "OPENAI_API_KEY": "sk-loopback"}
ROOT = Path(__file__).parents[2]

CRITERIA = "A refund is due for an unused item that was bought at most 30 days before the request."
_STORY = (
    "The customer writes that the kettle arrived on the third of the month, was never taken out of "
    "its box, and is to be sent back because a second one came as a present. The receipt shows the "
    "twenty-ninth of last month as the day of purchase. "
)


def subject(case: int | str) -> str:
    """What is judged, about 1.2 kB: no two cases are the same text."""
    return f"Case {case}. " + _STORY * 4


def task(case: int | str) -> Approve:
    """The task of a case."""
    return Approve(type="refund_approval", subject=subject(case), criteria=CRITERIA)


def policy(provider: str, *, model: str | None = None, row: str = "", limits: bool = True) -> str:
    """A ten-seat row with limits that are checked and never reached."""
    declared = "requests_per_minute = 60_000_000\ntokens_per_minute = 60_000_000_000\n"
    return f"""version = 1
[providers.{provider}]
{declared if limits else ""}concurrency = {AT_ONCE}
[tiers]
small = ["{model or f"{provider}/{MODELS[provider]}"}"]
[defaults]
tier = "small"
[tasks.refund_approval]
kind = "approve"
strategy = "vote"
tier = "small"
{row or f"seats = {SEATS}"}
max_usd = 5.0
deadline_s = 600
"""


async def panel_requests(model: str, case: int | str = 0) -> tuple[Request, ...]:
    """The very requests that the engine's panel puts, taken from one decision of it."""
    from consensus import Engine

    seen: list[Request] = []

    class Listening(ScriptedClient):
        async def complete(self, request: Request, *, timeout_s: float) -> Completion:
            seen.append(request)
            return await super().complete(request, timeout_s=timeout_s)

    provider = model.partition("/")[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "policy.toml"
        file.write_text(policy(provider, model=model), "utf-8")
        async with Engine(file, ledger=False, clients={provider: Listening()}) as engine:
            await engine.decide(task(case))
    return tuple(seen)


def write_workload(path: Path, url: str) -> None:
    """What the arms read (:class:`benchmarks.speed.arm.Workload`)."""
    mark = "CASE-NUMBER"
    requests = asyncio.run(panel_requests(f"openai/{MODELS['openai']}", mark))
    given = {
        "system": requests[0].system,
        "users": [request.turns[0].text for request in requests],
        "schema": requests[0].output_schema,
        "subject": subject(mark),
        "criteria": CRITERIA,
        "url": url,
        "anthropic_model": MODELS["anthropic"],
        "openai_model": MODELS["openai"],
    }
    path.write_text(json.dumps(given), "utf-8")


class Provider:
    """The provider of this folder, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.port = int(process.stdout.readline())

    @property
    def url(self) -> str:
        """The root; OpenAI's protocol is under ``/v1``."""
        return f"http://127.0.0.1:{self.port}"

    def delay(self, ms: float, sigma: float = 0.0) -> None:
        """Answer after so long from now on: exactly, or log-normal with that median."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("PUT", "/_delay", json.dumps({"ms": ms, "sigma": sigma}))
        connection.getresponse().read()
        connection.close()

    def environment(self) -> dict[str, str]:
        """The variables that send every SDK here."""
        # Nothing here may look for the network: litellm fetches two lists when it is imported.
        offline = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
        }
        bases = {"OPENAI_BASE_URL": f"{self.url}/v1", "OPENAI_API_BASE": f"{self.url}/v1"}
        return {**os.environ, **KEYS, "ANTHROPIC_BASE_URL": self.url, **bases, **offline}


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider that is stopped at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.speed.provider"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Provider(process)
    finally:
        process.terminate()
        process.wait(10)
