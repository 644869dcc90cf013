"""The process that drives a run is killed; the same command again pays for nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consensus.benchmark.plan import Plan
from consensus.cluster import CappedRun, RunEngine
from consensus.ledger.store import Ledger
from consensus.ledger.verify import verify
from tests.benchmark.suite_fixtures import SUITE, lines, opened, refunds, suite_folder
from tests.cluster.conftest import LIMITS, RayUp
from tests.loopback.server import LoopbackProvider

pytestmark = [
    pytest.mark.needs("ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

POLICY = """
version = 1
[providers.anthropic]
base_url = "{url}"
concurrency = {at_once}
[tiers]
small = ["anthropic/claude-haiku-5-5"]
[tasks.refund]
kind = "approve"
criteria = "Unused."
strategy = "vote"
tier = "small"
seats = 3
{more}
"""

SHARED = """
[limits]
shared = "{store}"
url_env = "{url_env}"
daily_usd = 100
lease_s = 2
"""

AT_ONCE, OPEN = 8, 4
"""Calls at the provider, and decisions under way, at once."""


@pytest.fixture
def provider() -> Iterator[LoopbackProvider]:
    made = LoopbackProvider(latency_s=0.1, answers="hash").start()
    yield made
    made.stop()


def killed(command: list[str], ray: RayUp, ledger: str, answered: Callable[[], int]) -> None:
    """Begin a command on the cluster that is up, and kill its process in the middle."""
    environment = os.environ | {
        "RAY_ADDRESS": ray.address,
        "CONSENSUS_LEDGER": ledger,
        "ANTHROPIC_API_KEY": "sk-ant-of-the-driver",
        **ray.limits,
    }
    whole = [sys.executable, "-m", "consensus.cli.main", *command, "--engine", "ray"]
    driver = subprocess.Popen(whole, env=environment, stderr=subprocess.PIPE, text=True)
    ends = time.monotonic() + 120
    try:
        while answered() < 30:
            if driver.poll() is not None or time.monotonic() > ends:
                driver.kill()
                raise AssertionError(driver.communicate()[1])
            time.sleep(0.02)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
    assert answered() < 90


def shared(store: str) -> str:
    return SHARED.format(store=store, url_env=LIMITS[store])


def write(
    folder: Path, url: str, more: str = "", *, workers: int = 1
) -> tuple[Path, Path, list[str]]:
    """A policy, tasks, and the command that decides them."""
    policy, source, out = (folder / name for name in ("policy.toml", "t.jsonl", "out.jsonl"))
    policy.write_text(POLICY.format(url=url, at_once=AT_ONCE, more=more))
    source.write_text("".join(json.dumps({"subject": f"ticket {i}"}) + "\n" for i in range(60)))
    named = ["--policy", str(policy), "-i", str(source), "-o", str(out)]
    few = ["--workers", str(workers), "--concurrency", str(OPEN)]
    return policy, source, ["decide", "refund", "--quiet", *named, *few]


def whole_and_paid_once(ledger: Ledger, provider: LoopbackProvider) -> None:
    """Every decision has its receipt, every seat one answer, and little was paid in vain."""
    from sqlalchemy import select

    from consensus.ledger.schema import calls

    query = select(calls.c.decision_id, calls.c.seat).where(calls.c.failure.is_(None))
    answers = ledger.read(lambda c: Counter(map(tuple, c.execute(query))))
    assert len(answers) == 180
    assert set(answers.values()) == {1}
    assert verify(ledger).ok
    # What was open when the driver died may have been paid in vain, and answers not yet on disk.
    assert 180 <= len(provider.requests) <= 180 + 3 * OPEN


@pytest.mark.needs("postgres", "redis")
async def test_with_a_ledger_that_is_a_file_and_limits_on_postgresql_the_plain_engine_goes_on(
    ray_cluster: RayUp,
    tmp_path: Path,
    provider: LoopbackProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = shared("postgres")
    policy, source, command = write(tmp_path, provider.url, more, workers=2)
    file = tmp_path / "ledger.db"
    killed(command, ray_cluster, str(file), lambda: len(provider.requests))
    assert list(tmp_path.glob("ledger.db.*.workers/*.db"))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-other")
    for name, url in ray_cluster.limits.items():
        monkeypatch.setenv(name, url)
    engine = RunEngine(policy, ledger=file)
    async with engine:
        rest = CappedRun(engine, source, tmp_path / "out.jsonl", "refund")
        rows = [row async for row in rest.rows()]
    assert len(rows) == 60
    assert not list(tmp_path.glob("ledger.db.*.workers"))
    with Ledger(file) as ledger:
        whole_and_paid_once(ledger, provider)
    assert provider.log.most_in_flight <= AT_ONCE


@pytest.mark.needs("postgres", "redis")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_on_postgresql_with_limits_in_redis_the_same_command_goes_on(
    ray_cluster: RayUp, tmp_path: Path, provider: LoopbackProvider
) -> None:
    _, _, command = write(tmp_path, provider.url, shared("redis"), workers=2)
    killed(command, ray_cluster, ray_cluster.ledger, lambda: len(provider.requests))
    environment = os.environ | {
        "RAY_ADDRESS": ray_cluster.address,
        "CONSENSUS_LEDGER": ray_cluster.ledger,
        **ray_cluster.limits,
    }
    whole = [sys.executable, "-m", "consensus.cli.main", *command, "--engine", "ray", "--json"]
    again = subprocess.run(whole, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    said = json.loads(again.stdout)
    assert (said["tasks"], said["errors"]) == (60, 0)
    with Ledger(ray_cluster.ledger) as ledger:
        whole_and_paid_once(ledger, provider)
    assert provider.log.most_in_flight <= AT_ONCE


async def test_a_benchmark_run_goes_on_without_ray(
    ray_cluster: RayUp, tmp_path: Path, provider: LoopbackProvider
) -> None:
    policy, *_ = write(tmp_path, provider.url)
    suite_folder(tmp_path, SUITE, refunds(90))
    run = tmp_path / "run"
    named = ["--policy", str(policy), "--out", str(run), "--quiet", "--workers", "1"]
    command = ["bench", "run", str(tmp_path / "suite"), "--ballot", "structured", *named]
    killed(command, ray_cluster, str(tmp_path / "l.db"), lambda: len(provider.requests))
    os.environ["ANTHROPIC_API_KEY"] = "sk-ant-other"
    plan = Plan(("anthropic/claude-haiku-5-5",), ballot="structured")
    with await opened(tmp_path, plan=plan, text=policy.read_text()) as held:
        outcome = await held.go()
    assert (outcome.complete, outcome.answers) == (True, 90)
    keys = [line["key"] for line in lines(run / "tape.jsonl")]
    assert len(keys) == len(set(keys)) == 90
    # What was under way, and what had not reached the driver yet: it is starved on a busy machine.
    assert 90 <= len(provider.requests) <= 90 + 30
