"""A benchmark run asked by workers on Ray: the folder of a plain run, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consensus.ballots import Usage
from consensus.benchmark.paid import PaidAnswers, Told
from consensus.benchmark.plan import Job, Plan
from consensus.benchmark.results import Answered
from consensus.benchmark.runs import Run
from consensus.cluster.asker import Asker, AskerSetup, Ended, Question
from consensus.cluster.bench import RunOnRay, _groups
from consensus.cluster.shipping import pack
from consensus.models.hashing import request_key
from consensus.models.protocol import Completion
from consensus.models.tape import Paid
from consensus.oracles import Rubric
from consensus.panel.rendering import render
from tests.benchmark.suite_fixtures import (
    SUITE,
    lines,
    opened,
    refunds,
    results,
    suite_folder,
)
from tests.loopback.server import LoopbackProvider

HAIKU, NANO = "anthropic/claude-haiku-5-5", "openai/gpt-5.4-nano"

POLICY = """
version = 1
[providers.anthropic]
base_url = "{url}"
concurrency = 8
[tiers]
small = ["anthropic/claude-haiku-5-5"]
"""

GRADED = """
version = 1
name = "essays"
[types.write]
kind = "generate"
oracle = {{ kind = "rubric", grader = "{grader}" }}
"""

on_ray = [
    pytest.mark.needs("ray"),
    # Ray's own: file handles of processes that it has killed.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackProvider]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-of-the-driver")
    made = LoopbackProvider(latency_s=0.03, answers="hash").start()
    yield made
    made.stop()


async def run_in(folder: Path, provider: LoopbackProvider, out: str, **options: Any) -> Run:
    """A run of ``folder/suite``; its policy is ``folder/policy.toml``."""
    plan = options.pop("plan", Plan((HAIKU,), samples=2))
    return await opened(folder, plan=plan, text=POLICY.format(url=provider.url), out=out, **options)


def told(folder: Path) -> list[dict[str, Any]]:
    """A run's answers, but for how long they took."""
    return [line | {"latency_s": 0} for line in lines(folder / "answers.jsonl")]


def paid_for(provider: LoopbackProvider) -> int:
    """How many answers were asked for; tokens are counted too where money is short."""
    return sum(request.path.endswith("/messages") for request in provider.requests)


@pytest.mark.usefixtures("ray_cluster")
class TestOnRay:
    pytestmark = on_ray

    async def test_one_worker_killed_changes_no_answer_and_pays_none_twice(
        self, tmp_path: Path, provider: LoopbackProvider
    ) -> None:
        cases = refunds(40)
        cases[30] = cases[3] | {"id": "twin"}
        suite_folder(tmp_path, SUITE, cases)
        workers = RunOnRay(tmp_path / "policy.toml", 2)
        killed: list[int] = []

        def progress(job: Job, answered: Answered | None) -> None:
            if not killed:
                assert workers.crew is not None
                asyncio.ensure_future(kill())  # noqa: RUF006 - awaited by the assertion on deaths
                killed.append(job.index)

        async def kill() -> None:
            assert workers.crew is not None
            victim, survivor = await workers.crew.process_ids()
            assert len({victim, survivor, os.getpid()}) == 3
            os.kill(victim, signal.SIGKILL)

        with await run_in(tmp_path, provider, "ray") as run:
            outcome = await run.go(concurrency=8, progress=progress, elsewhere=workers)
        asked = len(provider.requests)
        assert workers.crew is not None
        assert workers.crew.deaths == 1
        assert outcome.complete
        assert outcome.answers == 80
        with await run_in(tmp_path, provider, "plain") as run:
            plain = await run.go()
        assert plain.sent == 78
        # What the dead worker had under way, or had not told of, may have been paid in vain.
        assert 78 <= asked <= 78 + 8
        assert told(tmp_path / "ray") == told(tmp_path / "plain")
        assert outcome.models == plain.models
        assert outcome.spent_pico == plain.spent_pico
        keys = [line["key"] for line in lines(tmp_path / "ray" / "tape.jsonl")]
        assert len(keys) == len(set(keys)) == 78
        assert not (tmp_path / "ray" / "workers").exists()

        before = results(tmp_path / "ray")
        with await run_in(tmp_path, provider, "ray") as run:
            again = await run.go(elsewhere=RunOnRay(tmp_path / "policy.toml", 2))
        assert again.sent == 0
        assert results(tmp_path / "ray") == before

    async def test_a_run_stops_at_its_cap_and_goes_on_without_ray(
        self, tmp_path: Path, provider: LoopbackProvider
    ) -> None:
        suite_folder(tmp_path, SUITE, refunds(30))
        cap = 0.0018  # all of it costs more; at a higher one it depends on who waits for whom
        with await run_in(tmp_path, provider, "run") as run:
            part = await run.go(
                max_usd=cap, concurrency=4, elsewhere=RunOnRay(tmp_path / "policy.toml", 1)
            )
        assert not part.complete
        assert 0 < part.spent_pico <= cap * 10**12
        assert part.over_budget == part.jobs - part.answers > 0
        asked = paid_for(provider)
        assert part.sent == part.answers == asked
        with await run_in(tmp_path, provider, "run") as run:
            whole = await run.go()
        assert whole.complete
        assert paid_for(provider) == 60
        assert whole.sent == 60 - asked


async def asked(asker: Asker, questions: list[Question]) -> tuple[list[str], Ended]:
    """The keys of which a worker tells, and how it ends."""
    keys: list[str] = []
    async for news in asker.ask(questions):
        if isinstance(news, Ended):
            return keys, news
        keys += [told.key for told in news]
    raise AssertionError("no end")


async def asker_of(run: Run, folder: Path, **options: Any) -> Asker:
    oracles = {name: given.oracle for name, given in run.suite.types.items()}
    rubrics = {name: oracle for name, oracle in oracles.items() if isinstance(oracle, Rubric)}
    given: dict[str, Any] = {"concurrency": 2, "processes": 1, "waits_s": ()}
    setup = AskerSetup(pack(run, folder / "policy.toml"), rubrics, 0.8, **given | options)
    asker = Asker(setup)
    assert await asker.begin() is None
    return asker


async def test_a_worker_tells_of_every_answer_and_of_its_grader_and_asks_nothing_twice(
    tmp_path: Path, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-driver")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{provider.url}/v1")
    case = {"id": "w", "type": "write", "prompt": "Write."}
    suite_folder(tmp_path, GRADED.format(grader=NANO), [case, case | {"id": "twin"}])
    with await run_in(tmp_path, provider, "run", plan=Plan((HAIKU,))) as run:
        questions = [Question(job) for job in run.jobs]
        asker = await asker_of(run, tmp_path)
        keys, ended = await asked(asker, questions)
        assert (ended.sent, ended.error, ended.capped) == (2, None, ())
        first = request_key(render(run.jobs[0].case.task, run.jobs[0].seat, run.book))
        assert keys[0] == first
        assert len(keys) == len(set(keys))
        await asker.stop()


async def test_a_worker_says_whom_it_cannot_ask_and_asks_no_further(
    tmp_path: Path, provider: LoopbackProvider
) -> None:
    provider.set_script({"default": {"status": 401}})
    suite_folder(tmp_path, SUITE, refunds(8))
    with await run_in(tmp_path, provider, "run") as run:
        asker = await asker_of(run, tmp_path)
        _, ended = await asked(asker, [Question(job) for job in run.jobs])
        assert ended.halted is not None
        assert ended.halted[HAIKU][0] == "auth"
        assert len(provider.requests) <= 2
        await asker.stop()


async def test_equal_tasks_are_one_workers_and_models_of_this_machine_stand_last(
    tmp_path: Path, provider: LoopbackProvider
) -> None:
    cases = refunds(3)
    cases.append(cases[0] | {"id": "twin"})
    suite_folder(tmp_path, SUITE, cases)
    plan = Plan(("local/qwen2.5-0.5b", HAIKU))
    with await run_in(tmp_path, provider, "run", plan=plan) as run:
        groups = list(_groups(run, [Question(job) for job in run.jobs]))
    found = [[(q.job.model.split("/")[0], q.job.case.id) for q in group] for group in groups]
    assert found == [
        [(where, "r00"), (where, "twin")] if first else [(where, name)]
        for where in ("anthropic", "local")
        for first, name in ((True, "r00"), (False, "r01"), (False, "r02"))
    ]


def test_what_is_on_the_tape_has_the_plain_runs_spelling(tmp_path: Path) -> None:
    paid = Paid(Completion("yes", "m", Usage()), "call", "case", 7)
    with PaidAnswers(tmp_path) as answers:
        answers.take(Told("0" * 64, paid))
        answers.take(Told("0" * 64, line={"key": "0" * 64, "outcome": "timeout", "message": "m"}))
        assert (answers.spent_pico, answers.paid_calls) == (7, 1)
    line = json.loads((tmp_path / "tape.jsonl").read_text())
    assert (line["key"], line["cost_pico"], line["completion"]["text"]) == ("0" * 64, 7, "yes")
    with PaidAnswers(tmp_path) as answers:
        assert (answers.spent_pico, answers.paid_calls) == (7, 1)
        assert answers.recall("0" * 64) == paid
