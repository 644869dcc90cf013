"""Coverage-guided fuzzing (atheris) of every reader of something that a stranger wrote.

A reader may raise the project's own errors and nothing else. Each target runs in a process of its
own for a bounded time; what it raised beside those errors is kept once a place, with the shortest
input that was seen.

    python -m benchmarks.reliability fuzz --seconds 180 --write
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SLOW_S = 5.0
STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 10**400, 2**63, 1e308, -0.0, "", "x", "\x00", "\ud800", "../../x",
    "NaN", [], {}, [[]], [None], {"": None}, {"x": []}, "🏴" * 3, "9" * 5000, [0] * 70,
]  # fmt: skip
RAW = (b"NaN", b"1e999", b"[" * 5000, b'{"a":' * 5000, b"\xff", b'"\\ud800"', b"-0", b"\x1f\x8b")


def shaped(data: bytes, seeds: list[bytes], *, text: bool) -> tuple[bytes, int]:
    """Bytes for a target and its pick: raw, or an honest example with some of it changed."""
    if len(data) < 3:
        return data, 0
    mode, pick, rest = data[0], data[1], data[2:]
    if mode < 96:
        return rest, pick
    seed = seeds[mode % len(seeds)]
    chance = random.Random(rest)  # noqa: S311 - which edits follow from the bytes
    if not text and mode >= 160:
        lines = seed.split(b"\n")
        place = chance.randrange(len(lines))
        with contextlib.suppress(ValueError):
            made = _edited(json.loads(lines[place]), chance)
            lines[place] = json.dumps(made).encode()
            return b"\n".join(lines), pick
    out = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(out) + 1)
        piece = chance.choice((*RAW, rest[:40], bytes([chance.randrange(256)])))
        out[at : at + chance.choice((0, 0, 1, 8))] = piece
    return bytes(out), pick


def _edited(value: Any, chance: random.Random) -> Any:
    """A JSON value with a part of it replaced, left out or put in."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(list(value))
        fate = chance.random()
        if fate < 0.1:
            return {k: v for k, v in value.items() if k != name}
        if fate < 0.2:
            return {**value, chance.choice(("x", "", name + " ")): chance.choice(STRANGE)}
        return {**value, name: _edited(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.9:
        at = chance.randrange(len(value))
        if chance.random() < 0.2:
            return value[:at] + value[at:] * 2
        return [*value[:at], _edited(value[at], chance), *value[at + 1 :]]
    return chance.choice(STRANGE)


def child(name: str, seconds: int, report: Path, seed: int) -> None:
    """Fuzz one target; never returns."""
    import atheris

    with atheris.instrument_imports(include=["consensus"]):
        from benchmarks.reliability._fuzz_targets import TARGETS
        from consensus.errors import ConsensusError

        target = TARGETS[name]
        seeds = list(target.seeds)
        for pick, honest in itertools.product(range(12), seeds):  # imports what it needs
            with contextlib.suppress(Exception):
                target.read(honest, pick)
    state: dict[str, Any] = {"runs": 0, "refused": 0, "crashes": {}}
    began = last = time.monotonic()

    def flush() -> None:
        nonlocal last
        last = time.monotonic()
        state["seconds"] = last - began
        report.write_text(json.dumps(state))

    def one(data: bytes) -> None:
        content, pick = shaped(data, seeds, text=target.text)
        state["runs"] += 1
        started = time.process_time()
        try:
            target.read(content, pick)
        except ConsensusError:
            state["refused"] += 1
        except Exception as error:  # noqa: BLE001 - what is looked for
            _note(state["crashes"], _place(error), content, pick)
        if time.process_time() - started > SLOW_S:
            _note(state["crashes"], f"took more than {SLOW_S:g} s", content, pick)
        if time.monotonic() - last > 1:
            flush()

    corpus = tempfile.mkdtemp(prefix="corpus-")
    for number, honest in enumerate(seeds):
        for pick in range(0, 256, 24):
            (Path(corpus) / f"{number}-{pick}").write_bytes(bytes([0, pick]) + honest)
            (Path(corpus) / f"{number}-{pick}-e").write_bytes(bytes([128 + number, pick, number]))
    atheris.Setup(
        [
            sys.argv[0],
            corpus,
            f"-max_total_time={seconds}",
            "-max_len=16384",
            "-timeout=60",
            "-rss_limit_mb=3000",
            f"-seed={seed}",
            f"-artifact_prefix={report.parent}/{name}-",
        ],
        one,
    )
    flush()
    atheris.Fuzz()


def _place(error: Exception) -> str:
    """An exception by its type and the innermost line of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f.filename.startswith(str(ROOT / "consensus"))]
    frame = (ours or frames)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno} ({frame.name})"


def _note(crashes: dict[str, Any], place: str, content: bytes, pick: int) -> None:
    known = crashes.get(place)
    if known is None or len(content) < len(known["input"]):
        times = 1 if known is None else known["times"] + 1
        crashes[place] = {"input": content.decode("latin-1"), "pick": pick, "times": times}
    else:
        known["times"] += 1


def run(names: list[str], seconds: int, work: Path, seed: int) -> None:
    """Every target in turn, each in its own process; its report stays in the work folder."""
    for name in names:
        report = work / f"{name}.json"
        report.unlink(missing_ok=True)
        code = (
            "from pathlib import Path; from benchmarks.reliability.fuzz import child; "
            f"child({name!r}, {seconds}, Path({str(report)!r}), {seed})"
        )
        shm = Path("/dev/shm")  # noqa: S108 - files by the thousand each second
        scratch = tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None)
        with (work / f"{name}.log").open("wb") as log, scratch as files:
            status = subprocess.run(
                [sys.executable, "-c", code],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env=os.environ | {"TMPDIR": files},
                check=False,
            ).returncode
        said = (work / f"{name}.log").read_text(errors="replace")
        edges = re.findall(r"cov: (\d+)", said)
        row = json.loads(report.read_text()) if report.exists() else {"runs": 0, "crashes": {}}
        row |= {"name": name, "status": status, "edges": int(edges[-1]) if edges else 0}
        if status:
            row["crashes"]["the process ended"] = {"input": said[-400:], "pick": 0, "times": 1}
        report.write_text(json.dumps(row))
        print(f"{name}: {row['runs']:,} runs, {len(row['crashes'])} crashes", file=sys.stderr)


def section(rows: list[dict[str, Any]]) -> str:
    """The section of RESULTS.md."""
    from benchmarks.speed.page import table

    body = [
        [
            row["name"],
            f"{row['runs']:,}",
            f"{row.get('seconds', 0):.0f}",
            f"{row.get('refused', 0) / max(1, row['runs']):.0%}",
            f"{row['edges']:,}",
            str(len(row["crashes"])),
        ]
        for row in rows
    ]
    head = ("target", "executions", "seconds", "refused", "edges reached", "crashes")
    said = (
        "`python -m benchmarks.reliability fuzz`: atheris, coverage-guided, over raw bytes and "
        "over honest examples with parts replaced. A crash is anything raised that is no "
        "`ConsensusError`, an answer that was not offered, more than "
        f"{SLOW_S:g} s of CPU for one input, or the end of the process. What earlier runs found is "
        "a test each (tests/benchmarks_reliability)."
    )
    whole = sum(row["runs"] for row in rows)
    crashes = sum(len(row["crashes"]) for row in rows)
    total = f"In all {whole:,} executions; crashes left: {crashes}."
    return "\n\n".join(["## Fuzz", said, table(head, body), total])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("fuzz", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=int, default=180, help="a target")
    parser.add_argument("--target", action="append", help="only this one")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--work", type=Path, default=ROOT / ".fuzz", help="reports and logs")
    parser.add_argument("--page", action="store_true", help="of earlier reports; run nothing")
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    chosen = parser.parse_args(arguments)
    from benchmarks.reliability._fuzz_targets import TARGETS

    names = chosen.target or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        print(f"no target {min(unknown)!r}; one of {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    chosen.work.mkdir(exist_ok=True)
    os.environ |= {"OMP_NUM_THREADS": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    run([] if chosen.page else names, chosen.seconds, chosen.work, chosen.seed)
    reports = [chosen.work / f"{name}.json" for name in TARGETS]
    rows = [json.loads(report.read_text()) for report in reports if report.exists()]
    for row in rows:
        for place, crash in row["crashes"].items():
            print(f"{row['name']}: {place} [{crash['times']}] pick {crash['pick']}: ", end="")
            print(repr(crash["input"][:300]))
    page = section(rows)
    print(page)
    if chosen.write:
        from consensus.benchmark.study import replace_sections

        results = ROOT / "benchmarks/RESULTS.md"
        results.write_text(
            replace_sections(results.read_text(), {"fuzz": page}, where=str(results))
        )
    return 1 if any(row["crashes"] for row in rows) else 0
