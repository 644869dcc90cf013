"""``consensus decide --batch``: the real command, killed and run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.loopback.server import LoopbackProvider

POLICY = """
version = 1
[tiers]
small = ["anthropic/claude-haiku-5-5"]
[tasks.refund]
kind = "approve"
criteria = "Within 30 days."
strategy = "vote"
tier = "small"
seats = 2
quorum = 2
"""


def command(folder: Path, *more: str) -> list[str]:
    tool = [sys.executable, "-m", "consensus.cli.main", "decide", "refund", "--batch"]
    files = ["--input", "tasks.jsonl", "--output", "out.jsonl", "--policy", "policy.toml"]
    return [*tool, *files, "--ledger", "ledger.db", *more]


def prepared(folder: Path, provider: LoopbackProvider) -> dict[str, str]:
    (folder / "policy.toml").write_text(POLICY)
    lines = (f'{{"subject":"Case {n}."}}\n' for n in range(5))
    (folder / "tasks.jsonl").write_text("".join(lines))
    return {**os.environ, **provider.environment}


def test_killed_while_its_batch_is_under_way_the_same_command_fetches_it(
    tmp_path: Path, loopback_thread: LoopbackProvider
) -> None:
    environment = prepared(tmp_path, loopback_thread)
    loopback_thread.batches.after_looks = 1000
    journal = tmp_path / "out.jsonl.batches.jsonl"
    with subprocess.Popen(
        command(tmp_path), cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL
    ) as first:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if journal.exists() and '"submitted"' in journal.read_text():
                break
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
    assert not (tmp_path / "out.jsonl").exists()
    live = subprocess.run(
        [part for part in command(tmp_path) if part != "--batch"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert live.returncode != 0
    assert "add --batch to take them up" in live.stderr
    loopback_thread.batches.after_looks = 1
    again = subprocess.run(
        command(tmp_path, "--json"),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    summary = json.loads(again.stdout)
    assert (summary["tasks"], summary["act"]) == (5, 5)
    assert len(loopback_thread.batches.made) == 1
    assert loopback_thread.log.paid_twice == {}
    assert "ended, 10 of 10 calls answered" in again.stderr
    assert not journal.exists()


def test_a_single_task_is_no_batch(tmp_path: Path, loopback_thread: LoopbackProvider) -> None:
    environment = prepared(tmp_path, loopback_thread)
    tool = [sys.executable, "-m", "consensus.cli.main", "decide", "refund", "--batch"]
    done = subprocess.run(
        [*tool, "--policy", "policy.toml", "--subject", "Case."],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "--batch is for a file" in done.stderr
