"""``consensus serve`` as a process, called with curl."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine_fixtures import MODELS, policy_file

ROW = """
[tasks.refund]
kind = "approve"
strategy = "vote"
tier = "small"
seats = 3
"""
COMMAND = [sys.executable, "-m", "consensus.cli.main", "serve"]
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@contextmanager
def server(
    folder: Path, *options: str, head: str = MODELS
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    policy_file(folder, ROW, head=head)
    process = subprocess.Popen(
        [*COMMAND, "--policy", "policy.toml", "--port", "0", *options],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        found = re.search(r"http://\S+", first)
        assert found, first + process.stderr.read()
        yield found[0], process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def curl(*arguments: str) -> str:
    command = ["curl", "-sS", "--max-time", "30", "--retry", "20", "--retry-connrefused",
               "--retry-delay", "1", *arguments]  # fmt: skip
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )


@needs_curl
def test_curl_gets_decisions_and_a_stream_and_sigterm_ends_it_cleanly(tmp_path: Path) -> None:
    as_json = ("-H", "content-type: application/json")
    with server(tmp_path) as (url, process):
        body = json.dumps({"type": "refund", "subject": "Unused."})
        decision = json.loads(curl(f"{url}/v1/decide", *as_json, "-d", body))
        chat = {"model": "refund", "stream": True, "messages": [{"role": "user", "content": "x"}]}
        sent = curl("-N", f"{url}/v1/chat/completions", *as_json, "-d", json.dumps(chat))
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    assert decision["action"] in {"act", "escalate"}
    assert decision["receipt_id"]
    assert sent.endswith("data: [DONE]\n\n")
    assert process.returncode == 0
    assert "POST /v1/decide 200" in log
    assert "Unused." not in log
    assert "Traceback" not in log


@needs_curl
def test_reload_puts_a_changed_policy_in_force_and_a_broken_one_never(tmp_path: Path) -> None:
    with server(tmp_path, "--reload") as (url, _):
        before = json.loads(curl("-f", f"{url}/ready"))
        policy_file(tmp_path, ROW + 'owner = "payments"\n', head=MODELS)
        end = time.monotonic() + 20
        after = before
        while after["policy"] == before["policy"] and time.monotonic() < end:
            time.sleep(0.2)
            after = json.loads(curl("-f", f"{url}/ready"))
        (tmp_path / "policy.toml").write_text("version = 2")
        while after["policy_current"] and time.monotonic() < end:
            time.sleep(0.2)
            after = json.loads(curl("-f", f"{url}/ready"))
        rows = json.loads(curl(f"{url}/v1/policy"))
    assert after["policy"] != before["policy"]
    assert (after["ready"], after["policy_current"]) == (True, False)
    assert rows["tasks"]["refund"]["owner"] == "payments"
    assert "version" in rows["error"]


def test_an_open_address_without_keys_is_refused_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "--host", "::", "--port", "0")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "consensus serve keys new" in done.stderr


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    made = json.loads(run(tmp_path, "keys", "new", "--types", "refund,triage", "--json").stdout)
    listed = run(tmp_path, "keys", "list", "--json").stdout
    revoked = run(tmp_path, "keys", "revoke", made["id"])
    wrong = run(tmp_path, "keys", "new", "--types", "no such")
    assert made["key"].startswith(f"ck_{made['id']}_")
    assert json.loads(listed)[0]["types"] == ["refund", "triage"]
    assert made["key"] not in listed
    assert "sha256" not in listed
    assert revoked.returncode == 0
    assert json.loads(run(tmp_path, "keys", "list", "--json").stdout) == []
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "Traceback" not in wrong.stderr


SLOW = """
[providers.scripted]
base_url = "file:rules.toml"
"""


def slow_rules(folder: Path, seconds: float) -> None:
    (folder / "rules.toml").write_text(f'[[rules]]\nanswer = "approve"\nlatency_s = {seconds}\n')


def asking(url: str) -> subprocess.Popen[str]:
    """Curl, waiting for a decision."""
    body = json.dumps({"type": "refund", "subject": "x"})
    command = ["curl", "-sS", "--max-time", "40", "-H", "content-type: application/json",
               "-d", body, f"{url}/v1/decide"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    in_flight = "consensus_decisions_in_flight 1.0"
    end = time.monotonic() + 30
    while in_flight not in curl(f"{url}/metrics"):
        assert time.monotonic() < end
        time.sleep(0.1)
    return process


@needs_curl
def test_sigterm_lets_a_decision_finish(tmp_path: Path) -> None:
    slow_rules(tmp_path, 2)
    with server(tmp_path, head=MODELS + SLOW) as (url, process):
        client = asking(url)
        process.send_signal(signal.SIGTERM)
        answer, _ = client.communicate(timeout=30)
        process.communicate(timeout=20)
    assert json.loads(answer)["outcome"] == "approve"
    assert process.returncode == 0


@needs_curl
def test_the_second_interrupt_ends_it_at_once(tmp_path: Path) -> None:
    slow_rules(tmp_path, 60)
    with server(tmp_path, head=MODELS + SLOW) as (url, process):
        client = asking(url)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        answer, _ = client.communicate(timeout=20)
        _, log = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(answer)["error"]["code"] == "shutting_down"
    assert "its calls are on the ledger" in log
    assert "Traceback" not in log
