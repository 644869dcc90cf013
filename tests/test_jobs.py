"""Files of tasks: bad lines, order, resuming, and a kill in the middle."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from consensus.errors import DataError, ProviderError
from consensus.jobs import JobRun, Line, read_tasks
from consensus.models.protocol import Request
from consensus.models.scripted import Reply
from consensus.tasks import Approve
from tests.engine_fixtures import engine_of
from tests.loopback.server import LoopbackProvider

ROW = """
[tasks.refund]
kind = "approve"
criteria = "Unused."
"""


def lines_of(folder: Path, *raw: bytes | str | dict[str, Any], row: Any = None) -> list[Line]:
    file = folder / "tasks.jsonl"
    whole = b"\n".join(
        r if isinstance(r, bytes) else r.encode() if isinstance(r, str) else json.dumps(r).encode()
        for r in raw
    )
    file.write_bytes(whole)
    return list(read_tasks(file, task_type="refund", row=row or {"kind": "approve"}))


def test_the_command_and_the_row_supply_what_a_line_leaves_out(tmp_path: Path) -> None:
    row = {"kind": "approve", "criteria": "Unused."}
    (line,) = lines_of(tmp_path, {"subject": "s", "id": "7"}, row=row)
    assert line.task == Approve(type="refund", subject="s", criteria="Unused.", id="7")


def test_what_a_line_says_itself_stands(tmp_path: Path) -> None:
    row = {"kind": "approve", "criteria": "Unused."}
    (line,) = lines_of(tmp_path, {"subject": "s", "criteria": "Own."}, row=row)
    assert line.task is not None
    assert line.task.texts() == ("s", "Own.")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"not json", "not JSON"),
        (b'{"subject": "\xff"}', "not UTF-8"),
        (b"[1]", "a task is an object"),
        (b"[" * 100_000, "not JSON"),
        (b'{"subject": NaN}', "not JSON"),
        (b'{"subject": ""}', '"subject": is blank'),
        (b'{"subject": "s", "type": "other"}', 'says type "other"'),
        (b'{"subject": "s", "kind": "score"}', 'says kind "score"'),
        (b'{"subject": "s", "kind": "judge"}', "kind"),
        (b'{"subject": "s", "x": 1}', '"x"'),
        (b'{"subject": "' + b"a" * 5_000_000 + b'"}', "5,000,000 bytes"),
    ],
)
def test_a_bad_line_is_one_clear_sentence_and_loses_no_other(
    tmp_path: Path, raw: bytes, said: str
) -> None:
    first, bad, last = lines_of(tmp_path, {"subject": "a"}, raw, {"subject": "b"})
    assert first.task is not None
    assert last.task is not None
    assert last.index == 2
    assert bad.task is None
    assert said in str(bad.error)
    assert str(bad.error).startswith("tasks.jsonl:2: ")
    assert len(str(bad.error)) < 300
    assert "\n" not in str(bad.error)


def test_options_that_are_empty_single_or_double_are_refused(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"subject": "s", "options": options} for options in ([], ["a"], ["a", "A "], ["a", " "])
    ]
    for line in lines_of(tmp_path, *rows, row={"kind": "choose"}):
        assert line.task is None
        assert "option" in str(line.error)


def test_a_byte_order_mark_and_blank_lines_are_no_tasks(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, b'\xef\xbb\xbf{"subject": "a"}', b"", b"  ", b'{"subject": "b"}\r')
    assert [(line.index, line.number) for line in lines] == [(0, 1), (1, 4)]
    assert all(line.task for line in lines)


def test_tasks_are_known_by_content_and_by_how_often_it_stood_before(tmp_path: Path) -> None:
    a, b, again = lines_of(tmp_path, {"subject": "a"}, {"subject": "b"}, {"subject": "a"})
    moved = lines_of(tmp_path, {"subject": "new"}, {"subject": "b"}, {"subject": "a"})
    assert len({a.key, b.key, again.key}) == 3
    assert moved[1].key == b.key
    assert moved[2].key == a.key


async def run_job(folder: Path, behaviour: Any, tasks: list[Any], **options: Any) -> JobRun:
    source = folder / "tasks.jsonl"
    source.write_text("".join(t if isinstance(t, str) else json.dumps(t) + "\n" for t in tasks))
    engine, _ = engine_of(folder, ROW, behaviour)
    async with engine:
        run = JobRun(engine, source, folder / "out.jsonl", "refund", **options)
        async for _ in run.rows():
            pass
    return run


def output_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


async def test_every_task_has_one_row_in_input_order_whatever_finishes_first(
    tmp_path: Path,
) -> None:
    def later_is_faster(request: Request) -> Reply:
        text = "".join(turn.text for turn in request.turns)
        number = next(i for i in range(10) if f"number-{i}" in text)
        return Reply("approve", latency_s=0.1 - number / 100)

    tasks: list[Any] = [{"subject": f"number-{i}", "id": f"t{i}"} for i in range(10)]
    tasks.insert(4, "broken\n")
    run = await run_job(tmp_path, later_is_faster, tasks)
    rows = output_of(tmp_path)
    assert [row["index"] for row in rows] == list(range(11))
    assert [row["id"] for row in rows if row["error"] is None] == [f"t{i}" for i in range(10)]
    assert "tasks.jsonl:5" in rows[4]["error"]
    assert run.bad_lines == 1
    assert set(rows[0]) >= {
        "id", "index", "action", "outcome", "probability", "posterior", "agreement", "cost",
        "ballots", "failures", "reasons", "receipt_id", "error",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
async def test_a_full_disk_under_the_output_is_a_users_error_and_names_the_file(
    tmp_path: Path, name: str
) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / f"{name}.partial").symlink_to("/dev/full")
    (tmp_path / "tasks.jsonl").write_text('{"subject": "s"}\n')
    engine, _ = engine_of(tmp_path, ROW, lambda _: "approve")
    async with engine:
        run = JobRun(engine, tmp_path / "tasks.jsonl", tmp_path / name, "refund")
        with pytest.raises(DataError, match=rf"{name}: cannot be written: .*No space left"):
            async for _ in run.rows():
                pass


async def test_a_mended_file_pays_only_for_what_is_new(tmp_path: Path) -> None:
    asked: list[str] = []

    def count(request: Request) -> str:
        asked.append(request.turns[0].text)
        return "approve"

    tasks: list[Any] = [{"subject": f"s{i}"} for i in range(5)]
    await run_job(tmp_path, count, [*tasks, "broken\n"])
    assert len(asked) == 5
    run = await run_job(tmp_path, count, [{"subject": "new"}, *tasks, {"subject": "mended"}])
    assert len(asked) == 7
    assert run.reused == 5
    assert [row["index"] for row in output_of(tmp_path)] == list(range(7))


async def test_the_same_command_again_pays_nothing_and_fresh_pays_again(tmp_path: Path) -> None:
    asked: list[Request] = []

    def count(request: Request) -> str:
        asked.append(request)
        return "approve"

    tasks = [{"subject": "s"}, {"subject": "s"}]
    await run_job(tmp_path, count, tasks)
    first = (tmp_path / "out.jsonl").read_bytes()
    await run_job(tmp_path, count, tasks)
    assert len(asked) == 2
    assert (tmp_path / "out.jsonl").read_bytes() == first
    await run_job(tmp_path, count, tasks, fresh=True)
    assert len(asked) == 4


async def test_a_wrong_key_stops_the_job_and_the_next_run_asks_again(tmp_path: Path) -> None:
    tasks = [{"subject": f"s{i}"} for i in range(5)]
    with pytest.raises(ProviderError, match="nobody can answer"):
        await run_job(tmp_path, lambda request: Reply(failure="auth"), tasks)
    assert not (tmp_path / "out.jsonl").exists()
    run = await run_job(tmp_path, lambda request: "approve", tasks)
    assert run.actions["act"] == 5


async def test_rows_that_nobody_answered_are_asked_again_by_the_same_command(
    tmp_path: Path,
) -> None:
    def down_for_one(request: Request) -> Any:
        return Reply(failure="bad_request") if "s3" in request.turns[0].text else "approve"

    tasks = [{"subject": f"s{i}"} for i in range(5)]
    first = await run_job(tmp_path, down_for_one, tasks)
    assert (first.actions["act"], first.actions["abstain"]) == (4, 1)
    second = await run_job(tmp_path, lambda request: "approve", tasks)
    assert (second.actions["act"], second.reused) == (5, 4)
    third = await run_job(tmp_path, lambda request: "approve", tasks)
    assert third.reused == 5


async def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    engine, _ = engine_of(tmp_path, ROW)
    source = tmp_path / "tasks.jsonl"
    source.write_text('{"subject": "s"}\n')
    async with engine:
        with pytest.raises(DataError, match="input as well as"):
            async for _ in JobRun(engine, source, source, "refund").rows():
                pass
    assert source.read_text() == '{"subject": "s"}\n'


HTTP_POLICY = """
version = 1
[providers.anthropic]
base_url = "{url}"
concurrency = 20
[tiers]
small = ["anthropic/claude-haiku-5-5"]
[tasks.refund]
kind = "approve"
criteria = "Unused."
strategy = "vote"
tier = "small"
seats = 5
"""


def decided_in(ledger: Path) -> int:
    """Decisions that are on disk, seen from outside."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM decisions").fetchone()[0])


def test_a_killed_run_goes_on_and_pays_no_arrived_answer_twice(tmp_path: Path) -> None:
    """kill -9 in the middle of a file, against a provider that counts."""
    provider = LoopbackProvider(latency_s=0.05).start()
    try:
        (tmp_path / "policy.toml").write_text(HTTP_POLICY.format(url=provider.url))
        source = tmp_path / "tasks.jsonl"
        source.write_text("".join(json.dumps({"subject": f"ticket {i}"}) + "\n" for i in range(80)))
        command = [
            sys.executable, "-m", "consensus.cli.main", "decide", "refund", "--policy",
            "policy.toml", "-i", "tasks.jsonl", "-o", "out.jsonl", "--quiet", "--json",
        ]  # fmt: skip
        env = {
            **os.environ,
            "ANTHROPIC_API_KEY": "sk-ant-planted",
            "CONSENSUS_LEDGER": str(tmp_path / "ledger.db"),
        }
        first = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL)
        while len(provider.requests) < 200 or not decided_in(tmp_path / "ledger.db"):
            assert first.poll() is None, "finished before it could be killed"
            time.sleep(0.01)
        killed_at = time.time()
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert not (tmp_path / "out.jsonl").exists()
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout)
        assert summary["tasks"] == summary["act"] == 80
        assert summary["reused"] > 0
        rows = output_of(tmp_path)
        assert [row["index"] for row in rows] == list(range(80))
        answered: dict[str, list[float]] = {}
        for entry in provider.requests:
            answered.setdefault(entry.key, []).append(entry.ended or time.time())
        assert len(answered) == 400
        # What arrived before the kill (time is left for a busy machine to commit it) is not
        # asked again; what was under way may be.
        twice = [times[0] for times in answered.values() if len(times) > 1]
        assert all(first_end > killed_at - 2.0 for first_end in twice)
        # 20 under way, and at most as many whose answers were on the way to the disk.
        assert len(twice) <= 40
        assert "planted" not in (tmp_path / "out.jsonl").read_text()
        assert b"planted" not in (tmp_path / "ledger.db").read_bytes()
    finally:
        provider.stop()
