"""Rounds: every arm does the same work in turn, again and again, so that load hits all alike."""

from __future__ import annotations

import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from benchmarks.speed.shared import ROOT, Provider, write_workload

__all__ = ["Arm", "Figures", "Load", "Running", "run_rounds"]

START_S = 240.0
BATCH_S = 240.0
STARTING = 4
"""Processes that are being started at once."""


@dataclass(frozen=True)
class Arm:
    """One way to decide.

    Attributes:
        name: in tables.
        command: module and arguments, under this interpreter; for a peer, its script.
        python: the interpreter; None: this one.
        slow: does a twelfth of the decisions, in every other round.
    """

    name: str
    command: tuple[str, ...]
    python: Path | None = None
    slow: bool = False


@dataclass(frozen=True)
class Load:
    """What every arm does once a round: decisions, how many at once, how long an answer takes."""

    name: str
    decisions: int
    at_once: int
    delay_ms: float = 0.0

    def of(self, arm: Arm) -> int:
        """Decisions of one arm."""
        return max(self.at_once, self.decisions // 12) if arm.slow else self.decisions


@dataclass
class Figures:
    """What one arm took under one load: an entry a round."""

    cpu_ms: list[float] = field(default_factory=list)
    wall_ms: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Milliseconds of CPU a decision."""
        return statistics.median(self.cpu_ms)

    @property
    def per_second(self) -> float:
        """Decisions a second."""
        return 1000 / statistics.median(self.wall_ms)


class Running:
    """An arm's process."""

    def __init__(self, arm: Arm, environment: dict[str, str], log: IO[str]) -> None:
        self.arm = arm
        self.failed: str | None = None
        self.figures: dict[str, Figures] = {}
        module = ["-m", arm.command[0]] if arm.python is None else [arm.command[0]]
        self.process = subprocess.Popen(
            [str(arm.python or sys.executable), *module, *arm.command[1:]],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def started(self) -> None:
        """Wait until it is ready."""
        self._read(START_S)

    def work(self, decisions: int, at_once: int) -> tuple[float, float]:
        """Do a batch: milliseconds of CPU and on the wall a decision."""
        assert self.process.stdin is not None
        try:
            line = json.dumps({"decisions": decisions, "at_once": at_once})
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError:
            self.failed = "ended"
        said = self._read(BATCH_S)
        outcomes = said.get("outcomes")
        if self.failed is None and outcomes != {"approve": decisions}:
            self.failed = said.get("error") or f"decided {outcomes}"
        if self.failed is not None:
            return float("nan"), float("nan")
        return 1000 * said["cpu_s"] / decisions, 1000 * said["wall_s"] / decisions

    def _read(self, seconds: float) -> dict[str, object] | dict[str, float]:
        assert self.process.stdout is not None
        if self.failed is not None:
            return {}
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.failed = f"gave no answer in {seconds:.0f} s" if not ready else "ended"
            return {}
        said: dict[str, float] = json.loads(line)
        return said

    def stop(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            self.process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait(10)


@contextmanager
def _started(
    arms: Sequence[Arm], provider: Provider, say: Callable[[str], None]
) -> Iterator[list[Running]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_workload(folder / "workload.json", provider.url)
        environment = {
            **provider.environment(),
            "SPEED_WORKLOAD": str(folder / "workload.json"),
            "PYTHONPATH": str(ROOT),
            "HOME": os.environ.get("HOME", str(folder)),
        }
        running, logs = [], []
        for arm in arms:
            log = stack.enter_context((folder / f"{len(logs)}.log").open("w+", encoding="utf-8"))
            logs.append(log)
            running.append(Running(arm, environment, log))
            stack.callback(running[-1].stop)
            # Few at a time: a dozen imports at once would time one another out.
            if len(running) >= STARTING:
                running[-STARTING].started()
        for one in running[-STARTING + 1 :]:
            one.started()
        for one, log in zip(running, logs, strict=True):
            one.work(3, 3)
            if one.failed is not None:
                log.seek(0)
                tail = log.read().strip().splitlines()[-3:]
                say(f"{one.arm.name}: {one.failed}; {' | '.join(tail)}")
        yield running


def run_rounds(
    arms: Sequence[Arm],
    loads: Sequence[Load],
    rounds: int,
    provider: Provider,
    say: Callable[[str], None],
) -> list[Running]:
    """Run every arm under every load, ``rounds`` times, each round in another order."""
    with _started(arms, provider, say) as running:
        for load in loads:
            provider.delay(load.delay_ms)
            for one in running:
                one.work(load.at_once, load.at_once)  # opens the connections that this load needs
            for number in range(rounds):
                turn = number % max(len(running), 1)
                for one in [*running[turn:], *running[:turn]]:
                    if one.failed is not None or (one.arm.slow and number % 2):
                        continue
                    cpu, wall = one.work(load.of(one.arm), load.at_once)
                    if one.failed is not None:
                        say(f"{one.arm.name}, {load.name}: {one.failed}")
                        continue
                    figures = one.figures.setdefault(load.name, Figures())
                    figures.cpu_ms.append(cpu)
                    figures.wall_ms.append(wall)
                say(f"{load.name}: round {number + 1} of {rounds}")
        provider.delay(0)
    return running
