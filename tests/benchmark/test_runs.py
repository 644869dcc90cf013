"""Live runs: judged, kept, resumed, capped; on scripted models and on a provider on loopback."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consensus.benchmark.estimate import estimate_run
from consensus.benchmark.paid import PaidAnswers
from consensus.benchmark.plan import Plan, make_jobs
from consensus.benchmark.recorded import load_run
from consensus.benchmark.replay import ReplaySettings, replay
from consensus.benchmark.suites import load_suite
from consensus.cli.main import run as run_command
from consensus.errors import DataError, PriceError, PromptError, SuiteError
from consensus.models.protocol import CallRecord, Request
from consensus.models.scripted import Reply, ScriptedClient
from consensus.panel.book import load_prompts
from tests.benchmark.suite_fixtures import (
    ALL_KINDS,
    ONE_OF_EACH,
    SUITE,
    lines,
    opened,
    policy,
    refunds,
    results,
    suite_folder,
)
from tests.loopback import LoopbackProvider

RUBRIC = """
version = 1
name = "essays"
[types.write]
kind = "generate"
oracle = { kind = "rubric", grader = "scripted/g" }
"""


def marks(correctness: Any, completeness: Any = 5, form: Any = 5) -> str:
    return json.dumps(
        {
            "reason": "r",
            "correctness": correctness,
            "completeness": completeness,
            "format": form,
        }
    )


async def test_every_kind_is_judged_and_a_replay_reads_the_same_verdicts(tmp_path: Path) -> None:
    right = {"r": "approve", "t": "bug", "w": "first", "m": 3, "g": "paris"}

    def behave(request: Request) -> Any:
        text = request.turns[-1].text + request.turns[0].text
        if request.model == "scripted/b":
            return None
        for needle, name in (
            ("3 days old", "r"),
            ("crashes", "t"),
            ("essay", "m"),
            ("France", "g"),
        ):
            if needle in text:
                return right[name]
        if "item-1" in text:
            return ["item-3", "item-1", "item-2"]
        return "first"

    suite_folder(tmp_path, ALL_KINDS, ONE_OF_EACH)
    with await opened(tmp_path, behave) as run:
        outcome = await run.go()
    assert outcome.complete
    mine = [a for a in lines(tmp_path / "run/answers.jsonl") if a["model"] == "scripted/a"]
    assert {a["case"]: a["passed"] for a in mine} == dict.fromkeys("rtwomg", True)
    assert next(a for a in mine if a["case"] == "o")["value"] == ["z", "x", "y"]
    recorded = load_run(tmp_path / "run")
    assert not recorded.report.broken
    again = replay(
        recorded,
        ReplaySettings(frontier="scripted/a", panel=("scripted/a", "scripted/b"), strategy="vote"),
    )
    assert again.figures["frontier_accuracy"] == 1.0
    assert again.figures["cost_per_case"] > 0


async def test_run_again_asks_nothing_and_writes_the_same_bytes(tmp_path: Path) -> None:
    suite_folder(tmp_path, ALL_KINDS, ONE_OF_EACH)
    with await opened(tmp_path) as run:
        await run.go()
    before = results(tmp_path / "run")
    client = ScriptedClient()
    with await opened(tmp_path, client=client) as run:
        outcome = await run.go()
    assert (client.calls, outcome.sent) == (0, 0)
    assert results(tmp_path / "run") == before


async def test_equal_requests_are_asked_once_and_each_answer_shows_the_full_cost(
    tmp_path: Path,
) -> None:
    twins = [{**refunds(1)[0], "id": name} for name in ("one", "two", "three")]
    client = ScriptedClient(latency_s=0.02)
    suite_folder(tmp_path, SUITE, twins)
    with await opened(tmp_path, client=client, plan=Plan(("scripted/a",))) as run:
        outcome = await run.go()
    assert client.calls == 1
    costs = {a["cost_pico"] for a in lines(tmp_path / "run/answers.jsonl")}
    assert costs == {outcome.spent_pico}
    assert outcome.models["scripted/a"]["cost_pico"] == 3 * outcome.spent_pico


async def test_samples_show_other_orders_and_are_independent_calls(tmp_path: Path) -> None:
    suite = load_suite(suite_folder(tmp_path, SUITE, refunds(1)))
    book = load_prompts(None)
    jobs = make_jobs(suite, Plan(("scripted/a",), ("plain",), 4), book)
    assert [job.seat.order for job in jobs] == [(0, 1), (1, 0), (0, 1), (1, 0)]
    assert [job.seat.sample for job in jobs] == [0, 0, 1, 1]
    client = ScriptedClient()
    with await opened(tmp_path, client=client, plan=Plan(("scripted/a",), ("plain",), 4)) as run:
        await run.go()
    assert client.calls == 4


async def test_a_number_of_framings_takes_the_kinds_own_sequence(tmp_path: Path) -> None:
    suite = load_suite(suite_folder(tmp_path, ALL_KINDS, ONE_OF_EACH))
    book = load_prompts(None)
    jobs = make_jobs(suite, Plan(("scripted/a",), 2), book)
    for case in suite.cases:
        mine = [job.variant for job in jobs if job.case is case]
        assert tuple(mine) == book.sequence(case.task.kind)[:2]


async def test_a_folder_grows_by_a_model_and_keeps_what_it_had(tmp_path: Path) -> None:
    suite_folder(tmp_path)
    with await opened(tmp_path, plan=Plan(("scripted/a",))) as run:
        await run.go()
    first = lines(tmp_path / "run/answers.jsonl")
    client = ScriptedClient()
    with await opened(tmp_path, client=client, plan=Plan(("scripted/b",))) as run:
        await run.go()
    assert client.calls == 4
    after = lines(tmp_path / "run/answers.jsonl")
    assert [a for a in after if a["model"] == "scripted/a"] == first
    assert Counter(a["model"] for a in after) == {"scripted/a": 4, "scripted/b": 4}


async def test_the_cap_leaves_a_partial_run_that_goes_on_to_the_same_end(tmp_path: Path) -> None:
    suite_folder(tmp_path, SUITE, refunds(12))
    with await opened(tmp_path, out="whole") as run:
        whole = await run.go()
    cap = 0.5 * whole.spent_pico / 1e12
    with await opened(tmp_path) as run:
        part = await run.go(max_usd=cap)
    assert 0 < part.answers < part.jobs
    assert part.over_budget == part.jobs - part.answers
    assert part.spent_pico <= cap * 1e12
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["state"] == "partial"
    with await opened(tmp_path) as run:
        rest = await run.go()
    assert rest.complete
    assert rest.sent == part.over_budget
    assert results(tmp_path / "run") == results(tmp_path / "whole")


async def test_a_resumed_run_counts_what_was_spent_before_against_the_cap(tmp_path: Path) -> None:
    suite_folder(tmp_path, SUITE, refunds(12))
    with await opened(tmp_path, plan=Plan(("scripted/a",))) as run:
        first = await run.go()
    client = ScriptedClient()
    with await opened(tmp_path, client=client) as run:
        second = await run.go(max_usd=first.spent_pico / 1e12)
    assert client.calls == 0
    assert second.over_budget == 12


async def test_calls_in_flight_never_pass_the_cap_and_waiting_uses_it_up(tmp_path: Path) -> None:
    suite_folder(tmp_path, SUITE, refunds(30))
    client = ScriptedClient(latency_s=0.005)
    with await opened(tmp_path, client=client, plan=Plan(("scripted/a",))) as run:
        # the worst case of one call reserves far more than it costs
        outcome = await run.go(max_usd=0.012)
    assert outcome.spent_pico <= 0.012e12
    assert outcome.answers >= 5


async def test_a_failure_stays_until_it_is_asked_to_be_tried_again(tmp_path: Path) -> None:
    suite_folder(tmp_path, SUITE, refunds(3))
    plan = Plan(("scripted/a",))

    def broken(request: Request) -> Any:
        return Reply(failure="bad_request", status=400) if "Case 1" in str(request.turns) else None

    with await opened(tmp_path, broken, plan=plan) as run:
        first = await run.go()
    assert first.complete
    assert first.models["scripted/a"]["failures"] == {"bad_request": 1}
    client = ScriptedClient()
    with await opened(tmp_path, client=client, plan=plan) as run:
        second = await run.go()
    assert client.calls == 0
    assert second.models == first.models
    with await opened(tmp_path, client=client, plan=plan, retry_failed=True) as run:
        third = await run.go()
    assert client.calls == 1
    assert third.models["scripted/a"]["failures"] == {}


@pytest.mark.parametrize("failure", ["auth", "rate_limited"])
async def test_a_model_that_cannot_be_asked_is_halted_and_the_others_go_on(
    tmp_path: Path, failure: str
) -> None:
    suite_folder(tmp_path, SUITE, refunds(3))
    text = (
        'version = 1\n[tiers]\nsmall = ["scripted/a", "scripted/b"]\n'
        "[providers.scripted]\nmax_attempts = 1\nconcurrency = 1\n"
    )

    def one_down(request: Request) -> Any:
        return Reply(failure=failure) if request.model == "scripted/a" else None  # type: ignore[arg-type]

    with await opened(tmp_path, one_down, text=text) as run:
        outcome = await run.go(concurrency=1)
    assert set(outcome.halted) == {"scripted/a"}
    assert outcome.models["scripted/b"]["answers"] == 3
    assert outcome.models["scripted/a"]["answers"] == 0
    with await opened(tmp_path, text=text) as run:
        assert (await run.go()).complete


async def test_an_unreadable_answer_is_repaired_once_and_paid_for_twice(tmp_path: Path) -> None:
    suite_folder(tmp_path, SUITE, refunds(1))

    def mumble(request: Request) -> Any:
        return "approve" if len(request.turns) > 1 else Reply(text="well, you see")

    with await opened(tmp_path, mumble, plan=Plan(("scripted/a",))) as run:
        await run.go()
    answer = lines(tmp_path / "run/answers.jsonl")[0]
    assert (answer["answer"], answer["calls"], answer["failure"]) == ("approve", 2, None)
    tape = lines(tmp_path / "run/tape.jsonl")
    assert answer["cost_pico"] == sum(row["cost_pico"] for row in tape)


async def test_a_rubrics_marks_are_recorded_priced_and_apart_from_the_answers_cost(
    tmp_path: Path,
) -> None:
    suite_folder(tmp_path, RUBRIC, [{"id": "g", "type": "write", "prompt": "Write."}])

    def behave(request: Request) -> Any:
        return Reply(text=marks(5)) if request.model == "scripted/g" else "An essay."

    with await opened(tmp_path, behave, plan=Plan(("scripted/a",))) as run:
        outcome = await run.go()
    answer = lines(tmp_path / "run/answers.jsonl")[0]
    assert (answer["passed"], answer["score"], answer["grader"]) == (True, 1.0, "scripted/g")
    assert answer["grade_pico"] > 0
    assert outcome.spent_pico == answer["cost_pico"] + answer["grade_pico"]
    assert {row["completion"]["served_model"] for row in lines(tmp_path / "run/tape.jsonl")} == {
        "scripted/a",
        "scripted/g",
    }


@pytest.mark.parametrize(
    "nonsense", ["five out of five", marks(6), marks("5"), marks(True), "{}", "[5, 5, 5]"]
)
async def test_a_graders_nonsense_is_a_counted_failure_and_never_a_score(
    tmp_path: Path, nonsense: str
) -> None:
    suite_folder(tmp_path, RUBRIC, [{"id": "g", "type": "write", "prompt": "Write."}])

    def behave(request: Request) -> Any:
        return Reply(text=nonsense) if request.model == "scripted/g" else "An essay."

    with await opened(tmp_path, behave, plan=Plan(("scripted/a",))) as run:
        outcome = await run.go()
    answer = lines(tmp_path / "run/answers.jsonl")[0]
    assert outcome.models["scripted/a"]["failures"] == {"ungraded": 1}
    assert answer["failure"] == "ungraded"
    assert "score" not in answer
    assert "passed" not in answer
    assert answer["value"] == "An essay."


async def test_a_model_that_would_grade_itself_is_refused_before_any_call(tmp_path: Path) -> None:
    suite_folder(tmp_path, RUBRIC, [{"id": "g", "type": "write", "prompt": "Write."}])
    client = ScriptedClient()
    with pytest.raises(SuiteError, match="grade its own answers"):
        await opened(tmp_path, client=client, plan=Plan(("scripted/a", "scripted/g-20260101")))
    assert client.calls == 0


async def test_a_python_oracle_that_raises_ends_the_run_with_the_case_named(
    tmp_path: Path,
) -> None:
    toml = SUITE + 'oracle = { kind = "python", file = "o.py", function = "judge" }'
    root = suite_folder(tmp_path, toml, refunds(2))
    (root / "o.py").write_text("def judge(answer, reference):\n    return 1 / 0\n")
    with (
        await opened(tmp_path) as run,
        pytest.raises(SuiteError, match='of "refund" failed on case "r0'),
    ):
        await run.go()


async def test_a_python_oracle_that_does_not_import_is_refused_before_any_call(
    tmp_path: Path,
) -> None:
    toml = SUITE + 'oracle = { kind = "python", file = "o.py", function = "judge" }'
    root = suite_folder(tmp_path, toml, refunds(2))
    (root / "o.py").write_text("import no_such_module\ndef judge(answer, reference): ...\n")
    with await opened(tmp_path) as run:
        with pytest.raises(SuiteError, match="does not import: ModuleNotFoundError"):
            await run.go()
        assert not lines(tmp_path / "run" / "tape.jsonl")


async def test_a_model_without_a_price_is_refused_before_any_call(tmp_path: Path) -> None:
    suite_folder(tmp_path)
    with pytest.raises(PriceError):
        await opened(tmp_path, plan=Plan(("openai/no-such-model-at-all",)))
    assert not (tmp_path / "run").exists()


async def test_a_changed_suite_cannot_go_on_with_an_old_run(tmp_path: Path) -> None:
    suite_folder(tmp_path, SUITE, refunds(2))
    with await opened(tmp_path) as run:
        await run.go()
    suite_folder(tmp_path, SUITE, refunds(3))
    with pytest.raises(DataError, match="another suite"):
        await opened(tmp_path)


async def test_two_processes_cannot_run_one_folder(tmp_path: Path) -> None:
    suite_folder(tmp_path)
    with await opened(tmp_path), pytest.raises(DataError, match="another process"):
        await opened(tmp_path)


async def test_an_unknown_framing_and_one_that_suits_no_case_are_refused(tmp_path: Path) -> None:
    suite_folder(tmp_path, ALL_KINDS, ONE_OF_EACH)
    with pytest.raises(PromptError, match="unknown framing"):
        await opened(tmp_path, plan=Plan(("scripted/a",), ("nosuch",)))
    book = load_prompts(None)
    narrow = next(f.name for f in book.framings.values() if "rank" not in f.kinds)
    with pytest.raises(SuiteError, match="suits the suite's tasks of kind"):
        await opened(tmp_path, plan=Plan(("scripted/a",), (narrow,)))


async def test_an_estimate_is_the_number_of_calls_that_the_run_then_makes(tmp_path: Path) -> None:
    suite_folder(tmp_path, ALL_KINDS, ONE_OF_EACH)
    client = ScriptedClient()
    table = policy(tmp_path)
    with await opened(tmp_path, client=client, plan=Plan(("scripted/a",))) as run:
        await run.go()
        again = estimate_run(
            run.suite, run.jobs, book=run.book, prices=run.prices, table=table, paid=run.paid
        )
    assert [(m.calls, m.known) for m in again.models] == [(0, 6)]
    with await opened(tmp_path, client=client) as run:
        before = estimate_run(
            run.suite, run.jobs, book=run.book, prices=run.prices, table=table, paid=run.paid
        )
        made = client.calls
        outcome = await run.go()
    by_model = {m.model: m for m in before.models}
    assert by_model["scripted/b"].calls == 6
    # a rank or a score that could not be read is repaired: one call more each, never fewer
    assert outcome.sent == client.calls - made >= 6
    spent = outcome.models["scripted/b"]["cost_usd"]
    assert before.usd / 10 < spent < before.worst_usd


async def test_a_torn_last_line_costs_that_line_and_nothing_else(tmp_path: Path) -> None:
    suite_folder(tmp_path, SUITE, refunds(4))
    plan = Plan(("scripted/a",))
    with await opened(tmp_path, plan=plan) as run:
        await run.go()
    whole = results(tmp_path / "run")
    tape = tmp_path / "run/tape.jsonl"
    tape.write_bytes(tape.read_bytes()[:-40])
    with (tmp_path / "run/attempts.jsonl").open("ab") as stream:
        stream.write(b'{"key": "abc')
    client = ScriptedClient()
    with await opened(tmp_path, client=client, plan=plan) as run:
        await run.go()
    assert client.calls == 1
    assert results(tmp_path / "run") == whole


async def test_real_clients_on_a_loopback_provider_are_billed_as_it_bills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite_folder(tmp_path, SUITE, refunds(3))
    async with LoopbackProvider() as provider:
        for name, value in provider.environment.items():
            monkeypatch.setenv(name, value)
        model = "anthropic/claude-haiku-5-5"
        with await opened(tmp_path, text="version = 1\n", plan=Plan((model,))) as run:
            outcome = await run.go()
        assert outcome.models[model]["answers"] == 3
        with await opened(tmp_path, text="version = 1\n", plan=Plan((model,))) as run:
            assert (await run.go()).sent == 0
        assert len(provider.log.paid) == 3
        assert not provider.log.paid_twice
    answer = lines(tmp_path / "run/answers.jsonl")[0]
    assert answer["served_model"].startswith("anthropic/claude-haiku-5-5")
    assert answer["cost_pico"] > 0
    assert answer["latency_s"] > 0


# -- the command, killed ---------------------------------------------------------------------------

SLOW = """
version = 1
[tiers]
small = ["scripted/a", "scripted/b"]
[providers.scripted]
base_url = "file:{rules}"
concurrency = 2
[prices."scripted/a"]
input = 1.0
output = 5.0
[prices."scripted/b"]
input = 2.0
output = 10.0
"""


def command(folder: Path, out: str) -> list[str]:
    return [
        *("bench", "run", str(folder / "suite"), "--policy", str(folder / "policy.toml")),
        *("--out", str(folder / out), "--quiet", "--json"),
    ]


def test_a_run_killed_outright_and_run_again_gives_the_bytes_of_one_that_was_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite_folder(tmp_path, SUITE, refunds(20))
    rules = tmp_path / "rules.json"
    # one latency for all: the only figure of an answer that a scripted model does not fix
    rules.write_text(json.dumps({"rules": [{"latency_s": 0.05}]}))
    (tmp_path / "policy.toml").write_text(SLOW.format(rules=rules))
    program = "import sys; from consensus.cli.main import run; sys.exit(run(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *command(tmp_path, "run")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    tape = tmp_path / "run/tape.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if tape.exists() and tape.read_bytes().count(b"\n") >= 8:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    paid = tape.read_bytes().count(b"\n")
    assert 8 <= paid < 40
    assert not (tmp_path / "run/answers.jsonl").exists()
    assert run_command(command(tmp_path, "run")) == 0
    again = json.loads(capsys.readouterr().out)
    assert run_command(command(tmp_path, "whole")) == 0
    whole = json.loads(capsys.readouterr().out)
    assert (again["calls"], whole["calls"]) == (40 - paid, 40)
    assert results(tmp_path / "run") == results(tmp_path / "whole")
    keys = Counter(row["key"] for row in lines(tape))
    assert max(keys.values()) == 1
    assert len(keys) == 40


async def test_a_full_disk_under_the_results_is_an_error_that_names_the_file(
    tmp_path: Path,
) -> None:
    suite_folder(tmp_path, SUITE, refunds(4))
    with await opened(tmp_path, plan=Plan(("scripted/a",))) as run:
        (tmp_path / "run/cases.jsonl.part").symlink_to("/dev/full")
        with pytest.raises(DataError, match=r"cases.jsonl: cannot be written: No space left"):
            await run.go()
    with await opened(tmp_path, plan=Plan(("scripted/a",))) as run:
        assert (await run.go()).sent == 0


async def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(tmp_path: Path) -> None:
    suite_folder(tmp_path, SUITE, refunds(1))
    (tmp_path / "run").write_text("a file")
    with pytest.raises(DataError, match="cannot be written"):
        await opened(tmp_path, plan=Plan(("scripted/a",)))


async def test_an_attempt_that_a_full_disk_cut_in_half_leaves_the_folder_readable(
    tmp_path: Path,
) -> None:
    failed = CallRecord("c", "case", 0, "ballot", 1, "scripted/a", "k", 0.0, failure="server_error")
    with PaidAnswers(tmp_path) as paid:
        await paid.record(failed)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (paid.path.stat().st_size + 20, hard))
        try:
            with pytest.raises(DataError, match="cannot be written"):
                await paid.record(replace(failed, call_id="d"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await paid.record(replace(failed, call_id="e"))
    assert [json.loads(line)["call_id"] for line in paid.path.read_text().splitlines()] == [
        "c", "e",
    ]  # fmt: skip
    with PaidAnswers(tmp_path):
        pass


async def test_a_run_that_grew_and_was_cut_short_still_shows_all_that_was_paid_for(
    tmp_path: Path,
) -> None:
    suite_folder(tmp_path, SUITE, refunds(4))
    with await opened(tmp_path, plan=Plan(("scripted/b",))) as run:
        await run.go()
    slow = ScriptedClient(latency_s=30.0)
    with (
        await opened(tmp_path, plan=Plan(("scripted/a", "scripted/b")), client=slow) as run,
        pytest.raises(TimeoutError),
    ):
        await asyncio.wait_for(run.go(concurrency=1), 0.3)
    found = lines(tmp_path / "run" / "answers.jsonl")
    assert sorted((line["case"], line["model"]) for line in found) == [
        (f"r{i:02d}", "scripted/b") for i in range(4)
    ]


def test_a_cancelled_run_writes_what_it_has(tmp_path: Path) -> None:
    suite_folder(tmp_path, SUITE, refunds(20))

    async def cut_short() -> None:
        client = ScriptedClient(
            lambda request: Reply(latency_s=0.0 if "Case 1" in str(request.turns) else 30.0)
        )
        with await opened(tmp_path, client=client, plan=Plan(("scripted/a",))) as run:
            task = asyncio.create_task(run.go())
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cut_short())
    kept = lines(tmp_path / "run/answers.jsonl")
    assert {a["case"] for a in kept} == {f"r{i:02d}" for i in (1, *range(10, 20))}


# -- the commands ----------------------------------------------------------------------------------


def test_a_dry_run_calls_nothing_and_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite_folder(tmp_path, SUITE, refunds(3))
    policy(tmp_path)
    arguments = ["bench", "run", str(tmp_path / "suite"), "--policy", str(tmp_path / "policy.toml")]
    arguments += ["--out", str(tmp_path / "run"), "--samples", "2", "--dry-run", "--json"]
    assert run_command(arguments) == 0
    estimate = json.loads(capsys.readouterr().out)
    assert estimate["calls"] == 12
    assert 0 < estimate["usd"] < estimate["worst_usd"]
    assert not (tmp_path / "run").exists()


def test_a_cap_that_is_met_ends_with_1_and_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite_folder(tmp_path, SUITE, refunds(3))
    policy(tmp_path)
    arguments = ["bench", "run", str(tmp_path / "suite"), "--policy", str(tmp_path / "policy.toml")]
    arguments += ["--out", str(tmp_path / "run"), "--quiet"]
    assert run_command([*arguments, "--max-usd", "0"]) == 1
    said = capsys.readouterr().err
    assert "partial: 6 of 6" in said
    assert "run the same command again" in said
    assert run_command(arguments) == 0


def test_an_unknown_tier_is_named_with_those_that_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite_folder(tmp_path)
    policy(tmp_path)
    arguments = ["bench", "run", str(tmp_path / "suite"), "--policy", str(tmp_path / "policy.toml")]
    assert run_command([*arguments, "--out", str(tmp_path / "r"), "--tiers", "huge"]) == 1
    assert 'no tier "huge" (one of small)' in capsys.readouterr().err


def test_the_check_command_names_every_fault_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = suite_folder(tmp_path, SUITE, [*refunds(2), {"id": "x"}, {"id": "y"}])
    assert run_command(["bench", "suite", "check", str(root)]) == 1
    said = capsys.readouterr().err
    assert "cases.jsonl:3" in said
    assert "cases.jsonl:4" in said
    root = suite_folder(tmp_path, ALL_KINDS, ONE_OF_EACH)
    assert run_command(["bench", "suite", "check", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"] == 6
