"""``consensus serve --workers``: several processes on one port, and what they keep together."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from consensus.errors import DeclarationError, PolicyError
from consensus.ledger import Ledger
from consensus.ledger.verify import verify
from consensus.ledger.watch import incidents
from consensus.server.board import DOWN, SERVING, STARTING, Board
from consensus.server.gathered import Gathered, bury, merged
from consensus.server.process import ServeOptions, Worker, serving
from consensus.server.settings import ServerSettings
from consensus.server.several import check_several
from consensus.server.supervisor import Backoff
from tests.engine_fixtures import MODELS, policy_file
from tests.ledger.watch.fixtures import day_of, keep, policy

ROW = """
[tasks.refund]
kind = "approve"
strategy = "vote"
tier = "small"
seats = 3
"""
TASK = {"type": "refund", "subject": "Unused."}


Up = tuple[httpx.Client, subprocess.Popen[str]]


@contextmanager
def workers(folder: Path, *options: str, count: int = 2) -> Iterator[Up]:
    process = subprocess.Popen(
        [sys.executable, "-m", "consensus.cli.main", "serve", "--port", "0", "--workers",
         str(count), *options],
        cwd=folder, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert process.stderr is not None
    try:
        found = re.search(r"http://\S+", first := process.stderr.readline())
        assert found, first + process.stderr.read()
        with httpx.Client(base_url=found[0], timeout=60) as client:
            eventually(lambda: live(client) == count)
            yield client, process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def live(client: httpx.Client) -> int:
    return int(client.get("/health").json()["workers"]["live"])


def eventually(condition: Callable[[], Any], within_s: float = 240.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def children(process: subprocess.Popen[str]) -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in listed.split()]


def asked(client: httpx.Client) -> str:
    # A connection of its own: whichever worker is free takes it.
    answer = httpx.post(f"{client.base_url}/v1/decide", json=TASK, timeout=60)
    assert answer.status_code == 200
    return str(answer.json()["receipt_id"])


def test_one_that_is_killed_is_replaced_no_receipt_is_lost_and_all_end_together(
    tmp_path: Path,
) -> None:
    policy_file(tmp_path, ROW, head=MODELS)
    with workers(tmp_path, "--policy", "policy.toml") as (client, process):
        before = [asked(client) for _ in range(20)]
        first, *others = children(process)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: first not in children(process) and live(client) == 2)
        after = [asked(client) for _ in range(20)]
        succeeded = children(process)
        counted = client.get("/metrics").text
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert set(others) < set(succeeded)
    for pid in succeeded:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert f"(process {first}) ended with status -9; 1 of 2 live" in log
    assert "Traceback" not in log
    assert "consensus_decisions_total{" in counted
    with Ledger(os.environ["CONSENSUS_LEDGER"]) as ledger:
        found = verify(ledger)
        assert (found.ok, found.decisions) == (True, 40)
        assert all(ledger.receipt(one).receipt_id == one for one in (*before, *after))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Up]]:
    """A folder, and two workers that watch its ledger: started once, for they take seconds."""
    folder = tmp_path_factory.mktemp("watched")
    alarms = f'[watch]\nevery_s = 0.1\n[alarms]\ncommand = ["tee", "-a", "{folder / "told"}"]'
    made = policy(folder / "strategies", row="demote = true", more=alarms)
    ledger = str(folder / "ledger.db")
    # Quiet: nobody reads its log meanwhile, and a full pipe would stop the workers.
    with workers(folder, "--policy", str(made), "--ledger", ledger, "--watch", "--quiet") as up:
        yield folder, up


def test_a_planted_drift_raises_one_alarm_and_demotes_the_row_in_every_worker(
    watched: tuple[Path, Up],
) -> None:
    folder, (client, process) = watched
    task = {"type": "refund_approval", "subject": "x", "criteria": "Within 30 days."}
    quiet = client.post("/v1/decide", json=task).json()
    with Ledger(folder / "ledger.db") as ledger:
        keep(ledger, day_of(0, 200, 80))

    def routes() -> set[str]:
        answers = [
            httpx.post(f"{client.base_url}/v1/decide", json=task, timeout=60) for _ in range(4)
        ]
        return {answer.json()["route"][0] for answer in answers}

    eventually(lambda: routes() == {"frontier"})
    with Ledger(folder / "ledger.db") as ledger:
        found = [one.cause for one in incidents(ledger)]
    assert process.poll() is None
    assert quiet["route"] == ["single"]
    assert found == ["escalation"]
    told = folder / "told"
    eventually(lambda: told.exists() and told.read_text())
    assert told.read_text().count('"cause": "escalation"') == 1


def test_when_the_supervisor_is_killed_its_workers_end(watched: tuple[Path, Up]) -> None:
    _, (_, process) = watched
    orphans = children(process)
    assert orphans
    process.kill()
    process.wait()

    def gone(pid: int) -> bool:
        try:
            return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
        except OSError:  # it may go while one looks
            return True

    eventually(lambda: all(map(gone, orphans)))


def test_a_policy_that_no_worker_can_serve_ends_the_start_with_one_line(tmp_path: Path) -> None:
    policy_file(tmp_path, ROW.replace("vote", "no_such"), head=MODELS)
    done = subprocess.run(
        [sys.executable, "-m", "consensus.cli.main", "serve", "--policy", "policy.toml",
         "--port", "0", "--workers", "2"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no_such" in done.stderr


# -- before the first one starts -------------------------------------------------------------------

ELSEWHERE = """
version = 1
[providers.openai]
concurrency = {at_once}
[tiers]
small = ["openai/gpt-5.4-nano"]
[defaults]
strategy = "single"
tier = "small"
"""


def options(folder: Path, *, count: int = 4, ledger: str | None = None) -> ServeOptions:
    return ServeOptions(
        settings=ServerSettings(),
        policy=str(folder / "policy.toml"),
        ledger=ledger,
        workers=count,
    )


def test_limits_that_nobody_shares_are_divided_and_it_is_said(tmp_path: Path) -> None:
    policy_file(tmp_path, "", head=ELSEWHERE.format(at_once=9))
    _, notes = check_several(options(tmp_path))
    assert any("each worker keeps to 1/4" in line and "[limits] shared" in line for line in notes)
    assert any("SQLite" in line and "PostgreSQL" in line for line in notes)


def test_a_limit_that_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    policy_file(tmp_path, "", head=ELSEWHERE.format(at_once=3))
    with pytest.raises(PolicyError, match=r"concurrency = 3 cannot be divided.*\[limits\] shared"):
        check_several(options(tmp_path))


def test_a_ledger_in_memory_is_refused(tmp_path: Path) -> None:
    policy_file(tmp_path, "", head=MODELS)
    with pytest.raises(DeclarationError, match=r"postgresql://"):
        check_several(options(tmp_path, ledger=":memory:"))


def test_options_reach_a_worker_as_they_are(tmp_path: Path) -> None:
    made = options(tmp_path, ledger="l.db")
    assert ServeOptions.from_json(json.loads(json.dumps(made.to_json()))) == made


# -- parts -----------------------------------------------------------------------------------------


def test_a_worker_that_keeps_dying_is_waited_for_longer_and_longer() -> None:
    backoff = Backoff(first_s=1, longest_s=5, held_s=60)
    assert [backoff.after(0.1) for _ in range(5)] == [1, 2, 4, 5, 5]
    assert backoff.after(61) == 1


def test_the_board_shows_every_holder_of_its_file_the_same() -> None:
    board = Board.make(3)
    other = Board(os.dup(board.fd), 3)
    board.put(0, 11, SERVING)
    other.put(2, 13, STARTING)
    assert other[0] == (11, SERVING)
    assert board[2] == (13, STARTING)
    assert board[1].state == DOWN
    assert board.live == other.live == 1
    board.close()
    other.close()


def series(text: bytes) -> dict[str, float]:
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def registry(calls: int, running: int) -> CollectorRegistry:
    made = CollectorRegistry()
    Counter("calls", 'Of "models".', ("model",), registry=made).labels('a"\\\n').inc(calls)
    Gauge("running", "Now.", registry=made).set(running)
    return made


def test_what_workers_count_adds_up_and_what_a_dead_one_had_counted_stays(tmp_path: Path) -> None:
    board = Board.make(2)
    board.put(0, os.getpid(), SERVING)
    board.put(1, 1, SERVING)
    (tmp_path / "1.prom").write_bytes(generate_latest(registry(5, 3)))
    gathered = Gathered(tmp_path, registry(2, 1), board)
    assert series(gathered.text()) == {'calls_totala"\\\n': 7.0, "running": 4.0}
    bury(tmp_path, 1)
    board.put(1, 0, DOWN)
    assert series(gathered.text()) == {'calls_totala"\\\n': 7.0, "running": 1.0}
    board.close()


def test_adding_up_one_processs_series_changes_none() -> None:
    text = generate_latest(registry(2, 1))
    assert series(merged([text.decode()])) == series(text)


@pytest.mark.parametrize("others", [0, 1])
async def test_a_worker_loads_libraries_before_its_first_connection_where_others_take_them(
    tmp_path: Path, others: int
) -> None:
    policy_file(tmp_path, ROW, head=MODELS)
    options = ServeOptions(
        settings=ServerSettings(port=0),
        policy=str(tmp_path / "policy.toml"),
        ledger=str(tmp_path / "ledger.db"),
        workers=2,
    )
    board = Board.make(2)
    try:
        for slot in range(others):
            board.put(slot, os.getpid(), SERVING)
        async with serving(options, Worker(1, board, tmp_path)) as server:
            assert server.service.ready()["ready"] == bool(others)
            assert server.service.health()["status"] == "ok"
    finally:
        board.close()
