"""A live run on scripted models with known qualities, for proposals."""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from consensus.benchmark.plan import Plan
from consensus.benchmark.runs import open_run
from consensus.benchmark.suites import load_suite
from consensus.models.prices import PriceBook
from consensus.models.protocol import Request
from consensus.models.scripted import Reply, ScriptedClient
from consensus.panel.book import load_prompts
from consensus.policy.load import load_policy
from consensus.policy.table import PolicyTable
from tests.benchmark.suite_fixtures import suite_folder

SUITE = """
version = 1
name = "refunds"
[types.refund]
kind = "approve"
criteria = "Unused, and bought within 30 days."
"""

POLICY = """\
# Our policy. This comment stays.
version = 1
[tiers]
small = ["scripted/cheap", "scripted/good"]
frontier = ["scripted/best"]
[prices."scripted/cheap"]
input = 1.0
output = 5.0
[prices."scripted/good"]
input = 2.0
output = 10.0
[prices."scripted/best"]
input = 10.0
output = 50.0
[defaults]
tier = "small"
[tasks.refund]  # paid out at once
kind = "approve"
owner = "payments"           # ask them first
consequence = "low"
criteria = "Unused, and bought within 30 days."
tier = "frontier"
max_usd = 0.5                # never more
"""

QUALITY = {"scripted/cheap": 0.70, "scripted/good": 0.97, "scripted/best": 0.985}


def cases(count: int) -> list[dict[str, object]]:
    return [
        {
            "id": f"r{i:04d}",
            "type": "refund",
            "subject": f"Case {i:04d}: {'un' if i % 2 else ''}used.",
            "label": "approve" if i % 2 else "reject",
        }
        for i in range(count)
    ]


def answering(quality: Mapping[str, float]) -> ScriptedClient:
    """Each model is right on its own share of the cases, fixed by a hash of the case."""

    def said(request: Request) -> Reply:
        text = "".join(part.text for turn in request.turns for part in turn.parts)
        place = text.index("Case ") + 5
        number = text[place : place + 4]
        right = "approve" if int(number) % 2 else "reject"
        wrong = "reject" if right == "approve" else "approve"
        digest = hashlib.sha256(f"{request.model}:{number}".encode()).digest()
        lucky = int.from_bytes(digest[:4], "big") / 2**32 < quality[request.model]
        return Reply(answer=right if lucky else wrong, confidence=0.9, latency_s=0.0)

    return ScriptedClient(said)


_MADE: dict[str, Path] = {}


def run_on(
    folder: Path,
    count: int = 160,
    *,
    quality: Mapping[str, float] = QUALITY,
    policy: str = POLICY,
    models: tuple[str, ...] | None = None,
    suite: str = SUITE,
) -> Path:
    """A complete run in ``folder/run`` and its policy in ``folder/strategies``.

    Runs are made once and copied: they are the same every time.
    """
    key = repr((count, sorted(quality.items()), policy, models, suite))
    if key not in _MADE:
        made = Path(tempfile.mkdtemp(prefix="proposals-"))
        strategies = made / "strategies"
        strategies.mkdir()
        (strategies / "policy.toml").write_text(policy, encoding="utf-8")
        suite_folder(made, suite, cases(count))
        table = load_policy(strategies)
        asyncio.run(_run(made, table, models or tuple(quality), answering(quality)))
        _MADE[key] = made
        atexit.register(shutil.rmtree, made, ignore_errors=True)
    shutil.copytree(_MADE[key], folder, dirs_exist_ok=True)
    return folder / "run"


async def _run(
    folder: Path, table: PolicyTable, models: tuple[str, ...], client: ScriptedClient
) -> None:
    with await open_run(
        load_suite(folder / "suite"),
        Plan(models),
        folder / "run",
        table=table,
        prices=PriceBook(overrides=table.price_overrides()),
        book=load_prompts(None),
        clients={"scripted": client},
    ) as run:
        outcome = await run.go()
    assert outcome.complete
