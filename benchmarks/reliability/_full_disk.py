"""A disk that fills up, and folders that cannot be written to: a clear error, and nothing corrupt.

Small file systems in memory, mounted for the moment: needs root, as most machines of CI give it.
Root passes over permission bits, so what is read-only is so by its mount.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.reliability._killing import MODELS, POLICY
from benchmarks.serving.checks import Line
from consensus.ledger.store import Ledger
from consensus.ledger.verify import verify
from tests.benchmark.suite_fixtures import SUITE, refunds, suite_folder
from tests.loopback import LoopbackProvider

__all__ = ["full_disk"]

TASKS, CASES = 60, 60
ROOM = "size=50m"


class Case(NamedTuple):
    """A command whose disk fills up, and that is run again once there is room."""

    name: str
    room: str
    arguments: tuple[str, ...]
    ledger: str | None = None
    output: str | None = None


DECIDE = ("decide", "refund", "--policy", "{here}/policy.toml", "--quiet")
MANY = (*DECIDE, "-i", "{here}/tasks.jsonl")
ONE = (*DECIDE[:4], "--subject", "a kettle")
BENCH = ("bench", "run", "{here}/suite", "--policy", "{here}/policy.toml", "--models", MODELS[0],
         "--quiet")  # fmt: skip

FULL = (
    Case("the ledger of a file", "size=500k",
         (*MANY, "-o", "{here}/a.jsonl", "--ledger", "{there}/l.db"), "{there}/l.db",
         "{here}/a.jsonl"),
    Case("the output of a file", "size=36k",
         (*MANY, "-o", "{there}/b.jsonl", "--ledger", "{here}/b.db"), "{here}/b.db",
         "{there}/b.jsonl"),
    Case("the output of a file, Parquet", "size=12k",
         (*MANY, "-o", "{there}/c.parquet", "--ledger", "{here}/c.db"), "{here}/c.db"),
    Case("the ledger of one task", "size=4k", (*ONE, "--ledger", "{there}/d.db"), "{there}/d.db"),
    Case("a benchmark run, its answers", "size=32k", (*BENCH, "--out", "{there}/run"), None,
         "{there}/run/answers.jsonl"),
    Case("a benchmark run, its results", "size=64k", (*BENCH, "--out", "{there}/run"), None,
         "{there}/run/answers.jsonl"),
    Case("a new project", "size=4k", ("init", "{there}")),
)  # fmt: skip

READ_ONLY = (
    Case("a new ledger", "", (*ONE, "--ledger", "{there}/l.db")),
    Case("a new ledger in a new folder", "", (*ONE, "--ledger", "{there}/new/l.db")),
    Case("a ledger that is there", "", (*ONE, "--ledger", "{there}/old.db")),
    Case("a file, its ledger", "",
         (*MANY, "-o", "{here}/e.jsonl", "--ledger", "{there}/old.db")),
    Case("a file, its output", "",
         (*MANY, "-o", "{there}/e.jsonl", "--ledger", "{here}/e.db"), "{here}/e.db"),
    Case("a file, its output in a new folder", "",
         (*MANY, "-o", "{there}/new/e.jsonl", "--ledger", "{here}/e.db"), "{here}/e.db"),
    Case("a file, its output, Parquet", "",
         (*MANY, "-o", "{there}/e.parquet", "--ledger", "{here}/e.db"), "{here}/e.db"),
    Case("a benchmark run", "", (*BENCH, "--out", "{there}/run")),
    Case("a new project", "", ("init", "{there}")),
    Case("moving a ledger there", "", ("ledger", "migrate", "{here}/old.db", "{there}/m.db")),
    Case("reading a ledger there", "", ("ledger", "list", "--ledger", "{there}/old.db")),
)  # fmt: skip


def full_disk(folder: Path) -> list[Line]:
    """Every case; the promises as lines."""
    (folder / "policy.toml").write_text(POLICY)
    tasks = (
        {"subject": f"case {i}: {'a long story. ' * 60}", "criteria": "Unused."}
        for i in range(TASKS)
    )
    (folder / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    suite_folder(folder, SUITE, refunds(CASES))
    provider = LoopbackProvider(latency_s=0.005).start()
    try:
        return [*_fill(folder, provider), *_read_only(folder, provider)]
    finally:
        provider.stop()


def _fill(folder: Path, provider: LoopbackProvider) -> list[Line]:
    unclear, damaged, stuck, again = [], [], [], 0
    for case in FULL:
        with _mounted(folder, case.room) as there:
            asked = len(provider.requests)
            first = _run(case, folder, there, provider)
            if not _clear(first, there, folder):
                unclear.append(f"{case.name}: {first[1][-200:]}")
            if not _sound(case, folder, there):
                damaged.append(case.name)
            subprocess.run(["mount", "-o", f"remount,{ROOM}", str(there)], check=True)
            paid = {entry.key for entry in provider.requests[asked:] if entry.paid}
            asked = len(provider.requests)
            code, said = _run(case, folder, there, provider)
            again += sum(entry.key in paid for entry in provider.requests[asked:])
            whole = case.output is None or _rows(_place(case.output, folder, there))
            if code != 0 or not whole or not _sound(case, folder, there):
                stuck.append(f"{case.name}: {said[-200:]}")
    many = len(FULL)
    return [
        Line("a full disk is an error of one line that names the file, with status 1",
             many, len(unclear), "; ".join(unclear)),
        Line("nothing is corrupt after it", many, len(damaged), "; ".join(damaged)),
        Line("once there is room, the same command goes on to its end", many, len(stuck),
             "; ".join(stuck) or f"{again} answers, on their way to the full disk, paid again"),
    ]  # fmt: skip


def _read_only(folder: Path, provider: LoopbackProvider) -> list[Line]:
    unclear = []
    old = Case("", "", (*ONE, "--ledger", "{here}/old.db"))
    _run(old, folder, folder, provider)
    with _mounted(folder, ROOM) as there:
        (there / "old.db").write_bytes((folder / "old.db").read_bytes())
        subprocess.run(["mount", "-o", "remount,ro", str(there)], check=True)
        for case in READ_ONLY:
            said = _run(case, folder, there, provider)
            if not _clear(said, there, folder) or not _sound(case, folder, there):
                unclear.append(f"{case.name}: {said[1][-200:]}")
    return [
        Line("a read-only folder is an error of one line that names the file, with status 1",
             len(READ_ONLY), len(unclear), "; ".join(unclear))
    ]  # fmt: skip


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory."""
    there = folder / "there"
    there.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(there)], check=True)
    try:
        yield there
    finally:
        subprocess.run(["umount", str(there)], check=True)


def _place(text: str, here: Path, there: Path) -> Path:
    return Path(text.format(here=here, there=there))


def _run(case: Case, here: Path, there: Path, provider: LoopbackProvider) -> tuple[int, str]:
    """The command's status and what it said on standard error."""
    arguments: Sequence[str] = [a.format(here=here, there=there) for a in case.arguments]
    done = subprocess.run(
        [sys.executable, "-m", "consensus.cli.main", *arguments],
        cwd=here,
        env={**os.environ, **provider.environment, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def _clear(ended: tuple[int, str], there: Path, here: Path) -> bool:
    """Status 1 and one line that says where."""
    code, said = ended
    lines = said.strip().splitlines()
    named = str(there) in said or any(f"{name}/" in said for name in ("prompts", "strategies"))
    return code == 1 and len(lines) == 1 and lines[0].startswith("error: ") and named


def _sound(case: Case, here: Path, there: Path) -> bool:
    if case.ledger is None:
        return True
    path = _place(case.ledger, here, there)
    if not path.exists() or path.stat().st_size == 0:
        return True
    with Ledger(path, must_exist=True) as ledger:
        return verify(ledger).ok


def _rows(path: Path) -> bool:
    """Whether every row is there once."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return len(rows) == TASKS == len({str(row.get("index", row.get("case"))) for row in rows})
