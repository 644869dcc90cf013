"""One job, killed with -9 at random moments and begun again until it ends, and looked at.

Three jobs: a file being decided, a benchmark run, and a ledger that is written to without end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.reliability import _crash_child
from consensus.ledger.store import Ledger
from consensus.ledger.verify import verify
from consensus.models.tape import Tape
from tests.benchmark.suite_fixtures import SUITE, refunds, suite_folder
from tests.ledger.other_process import killed_after
from tests.loopback import LoopbackProvider, RequestInfo

__all__ = ["JOBS", "Report"]

TASKS, SEATS, CASES = 30, 5, 40
MODELS = ("anthropic/claude-haiku-5-5", "anthropic/claude-opus-5-5")
LATENCY_S = 0.04
LONGEST_S = 0.8
"""A kill comes at most so long after the first request."""

EARLY = 0.15
"""Share of the kills that come while the process starts."""

POLICY = f"""version = 1
[providers.anthropic]
concurrency = 8
[tiers]
small = ["{MODELS[0]}"]
[tasks.refund]
kind = "approve"
criteria = "Unused, within 30 days."
strategy = "vote"
tier = "small"
seats = {SEATS}
"""


@dataclass(slots=True)
class Report:
    """What came of one job: promise → (checked, broken); seconds by which lost answers were new."""

    part: str
    kills: int = 0
    runs: int = 0
    held: dict[str, tuple[int, int]] = field(default_factory=dict)
    lost_s: list[float] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)

    def check(self, promise: str, checked: int, broken: int, note: str = "") -> None:
        """Count something in."""
        before = self.held.get(promise, (0, 0))
        self.held[promise] = before[0] + checked, before[1] + broken
        if broken:
            self.notes.append((promise, note))

    def as_dict(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


SOUND = "after each kill the file is sound: PRAGMA integrity_check"
VERIFIED = "after each kill `ledger verify` finds nothing"
ENDS = "begun again, it ends with status 0"
ONCE = "every result is there exactly once"
AGAIN = "an answer that was on disk at the kill is not asked for again"
PAID = "paid for twice is at most what was under way, or had just been sent, at the kill"
READ = "after each kill the tape and the attempts can be read"
ACKNOWLEDGED = "what was acknowledged before the kill is there after it"


def decide_file(folder: Path, number: int, kills: int, draw: random.Random) -> Report:
    """``consensus decide`` on a file."""
    report = Report("decide")
    (folder / "policy.toml").write_text(POLICY)
    tasks = ({"subject": f"job {number}: a kettle, bought {i} days ago"} for i in range(TASKS))
    (folder / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    ledger = folder / "ledger.db"
    arguments = ["decide", "refund", "--policy", "policy.toml", "-i", "tasks.jsonl", "-o",
                 "out.jsonl", "--quiet", "--json", "--ledger", str(ledger)]  # fmt: skip
    with _Provider() as provider:

        def on_disk() -> set[str]:
            if not ledger.exists():
                return set()
            report.check(SOUND, 1, int(_integrity(ledger) != "ok"))
            with Ledger(ledger, must_exist=True) as opened:
                problems = verify(opened).problems
            report.check(VERIFIED, 1, int(bool(problems)), "; ".join(problems[:2]))
            query = "SELECT request_id FROM calls WHERE completion IS NOT NULL"
            return {str(row[0]) for row in _rows(ledger, query)}

        _until_it_ends(report, arguments, folder, provider, kills, draw, on_disk)
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    wrong = sum(row["index"] != i or row["action"] != "act" for i, row in enumerate(rows))
    decided = _rows(ledger, "SELECT count(*), count(DISTINCT task_index) FROM decisions")[0]
    report.check(ONCE, TASKS, wrong + abs(len(rows) - TASKS) + sum(abs(n - TASKS) for n in decided))
    return report


def bench_run(folder: Path, number: int, kills: int, draw: random.Random) -> Report:
    """``consensus bench run`` over two models."""
    report = Report("bench run")
    (folder / "policy.toml").write_text(POLICY)
    cases = [{**one, "subject": f"job {number}: {one['subject']}"} for one in refunds(CASES)]
    suite_folder(folder, SUITE, cases)
    out = folder / "run"
    arguments = ["bench", "run", str(folder / "suite"), "--policy", "policy.toml", "--out",
                 str(out), "--models", ",".join(MODELS), "--quiet", "--json"]  # fmt: skip
    with _Provider() as provider:

        def on_disk() -> set[str]:
            if not (out / "tape.jsonl").exists():
                return set()
            found, torn = _whole_lines(out / "tape.jsonl")
            also_torn = _whole_lines(out / "attempts.jsonl")[1]
            with Tape(out / "tape.jsonl", "replay") as tape:
                unread = sum(tape.recall(row["key"]) is None for row in found)
            report.check(READ, 1, int(torn > report.kills or also_torn > 0 or unread > 0))
            report.check(ONCE, len(found), len(found) - len({row["key"] for row in found}))
            return {str(row["completion"].get("request_id")) for row in found}

        _until_it_ends(report, arguments, folder, provider, kills, draw, on_disk)
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    seen = Counter((a["case"], a["model"], a.get("sample", 0)) for a in answers)
    wanted = CASES * len(MODELS)
    report.check(ONCE, wanted, wanted - len(seen) + sum(n - 1 for n in seen.values()))
    manifest = json.loads((out / "manifest.json").read_text())
    report.check(ENDS, 0, int(manifest["state"] != "complete"))
    return report


def ledger_writes(folder: Path, number: int, kills: int, draw: random.Random) -> Report:
    """The ledger's own write path; ``durability`` in turn ``process`` and ``power``."""
    report = Report("ledger")
    durability = ("process", "power")[number % 2]
    path, notes = folder / "ledger.db", folder / "acknowledged"
    for turn in range(min(kills, 10)):
        acknowledged = killed_after(
            path, notes, f"run{turn}", durability, draw.uniform(0.0, 0.25)
        )  # fmt: skip
        report.kills += 1
        report.runs += 1
        kept = {f"call {row[0]}\n" for row in _rows(path, "SELECT call_id FROM calls")}
        kept |= {f"receipt {row[0]}\n" for row in _rows(path, "SELECT receipt_id FROM decisions")}
        report.check(SOUND, 1, int(_integrity(path) != "ok"))
        report.check(ACKNOWLEDGED, len(acknowledged), len(acknowledged - kept))
        with Ledger(path, must_exist=True) as ledger:
            problems = verify(ledger).problems
        report.check(VERIFIED, 1, int(bool(problems)), "; ".join(problems[:2]))
    return report


JOBS: Mapping[str, Callable[[Path, int, int, random.Random], Report]] = {
    "decide": decide_file,
    "bench run": bench_run,
    "ledger": ledger_writes,
}
"""Part → one job of it: folder, number, at most so many kills, which moments."""


# -- killing ---------------------------------------------------------------------------------------


class _Provider:
    """A provider in a thread, which counts."""

    def __enter__(self) -> LoopbackProvider:
        self.running = LoopbackProvider(latency_s=LATENCY_S).start()
        return self.running

    def __exit__(self, *_: object) -> None:
        self.running.stop()


def _until_it_ends(
    report: Report,
    arguments: list[str],
    folder: Path,
    provider: LoopbackProvider,
    kills: int,
    draw: random.Random,
    on_disk: Callable[[], set[str]],
) -> None:
    """Begin, kill, look, and begin again, at most so many times; then let it end.

    Each run has a key of its own, by which the provider knows whose a request is: what a dead one
    had sent may be answered long after.
    """
    kept: set[str] = set()
    whose: dict[int, str] = {}
    killed: set[str] = set()

    def note(asked: RequestInfo) -> None:
        whose[asked.n] = asked.api_key

    provider.set_script(note)
    while True:
        key = f"sk-ant-run-{report.runs}"
        killed_at = _killed(
            report, arguments, folder, provider, draw, key, spare=report.kills >= kills
        )
        entries = {f"req_{entry.n:024d}": entry for entry in list(provider.requests)}
        now = on_disk()
        if killed_at is None:
            break
        kept |= now
        killed.add(key)
        report.lost_s += [
            killed_at - entry.ended
            for name, entry in entries.items()
            if whose.get(entry.n) == key and name not in now
            if entry.sent and entry.ended <= killed_at
        ]
    asked: dict[str, list[int]] = {}
    paid: Counter[str] = Counter()
    lost = 0
    for entry in provider.requests:
        asked.setdefault(entry.key, []).append(entry.n)
        paid[entry.key] += entry.paid
        unkept = f"req_{entry.n:024d}" not in kept
        lost += entry.paid and unkept and whose.get(entry.n) in killed
    again = sum(
        any(n > entries[name].n for n in asked[entries[name].key]) for name in kept & set(entries)
    )
    report.check(AGAIN, len(kept), again)
    twice = sum(count - 1 for count in paid.values() if count > 1)
    report.check(PAID, len(paid), max(0, twice - lost), f"{twice} twice, {lost} at most")


def _killed(
    report: Report,
    arguments: list[str],
    folder: Path,
    provider: LoopbackProvider,
    draw: random.Random,
    key: str,
    *,
    spare: bool,
) -> float | None:
    """Run it once; when it was killed, or None where it came to its end."""
    said = folder / f"said-{report.runs}"
    process = _crash_child.context().Process(
        target=_crash_child.command,
        args=(
            arguments,
            str(folder),
            {**provider.environment, "ANTHROPIC_API_KEY": key},
            str(said),
        ),
    )
    before = len(provider.requests)
    early, wait = draw.random() < EARLY, draw.uniform(0.0, LONGEST_S)
    process.start()
    report.runs += 1
    if spare:
        process.join(300)
    else:
        while not early and len(provider.requests) == before and process.is_alive():
            time.sleep(0.002)
        process.join(wait)
    if process.is_alive():
        killed_at = time.time()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        report.kills += 1
        return killed_at
    report.check(ENDS, 1, int(process.exitcode != 0), said.read_text()[-300:])
    return None


# -- looking ---------------------------------------------------------------------------------------


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # killed before it was made
            return []
        raise
    finally:
        connection.close()


def _integrity(path: Path) -> str:
    return str(_rows(path, "PRAGMA integrity_check")[0][0])


def _whole_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The lines of a file, and how many but the last cannot be read."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    found, torn = [], 0
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            torn += 1
    return found, torn
