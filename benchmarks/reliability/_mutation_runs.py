"""Runs tests against one mutant at a time, each in a fork that has the libraries but not ours.

The process that forks must never import ``consensus``: a child puts the mutant in its module's
place before anything imports it.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import CodeType
from typing import Any, Literal

import pytest

from benchmarks.reliability._mutants import Mutant, mutated

Fate = Literal["killed", "survived", "timeout", "uncovered"]
ROOT = Path(__file__).resolve().parents[2]
QUIET = ["-x", "-q", "--no-header", "--no-summary", "-p", "no:cacheprovider", "-p", "no:xdist"]
QUIET += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is imported before pytest


def warm() -> None:
    """Import what every fork needs and no test mutates."""
    for name in ("numpy", "scipy.stats", "scipy.optimize", "pydantic", "sqlalchemy", "hypothesis"):
        importlib.import_module(name)
    if any(name.split(".")[0] == "consensus" for name in sys.modules):
        raise RuntimeError("consensus is imported already: a mutant would come too late")


class Coverage:
    """Which tests run which lines, and how long each test takes: a pytest plugin."""

    def __init__(self, files: Sequence[Path]) -> None:
        import coverage

        self.files = [str(file) for file in files]
        self.coverage = coverage.Coverage(data_file=None, include=self.files)
        self.seconds: dict[str, float] = defaultdict(float)
        self.failed: list[str] = []
        self.coverage.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.coverage.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed.append(report.nodeid)

    def found(self) -> dict[str, Any]:
        """For a file: seconds by test, and tests by line of each mutated file."""
        self.coverage.stop()
        data = self.coverage.get_data()
        lines = {
            str(Path(file).relative_to(ROOT)): {
                str(line): sorted(name for name in names if name)
                for line, names in data.contexts_by_lineno(file).items()
            }
            for file in self.files
        }
        return {"seconds": dict(self.seconds), "lines": lines, "failed": self.failed}


class _Mutated(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return self._code


class _InPlace:
    """Finds the one mutated module; every other is found as ever."""

    def __init__(self, mutant: Mutant) -> None:
        path = ROOT / mutant.path
        tree = mutated(path.read_text(encoding="utf-8"), mutant)
        self.name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        self.loader = _Mutated(self.name, str(path), compile(tree, str(path), "exec"))

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.loader.path, loader=self.loader)


def start(mutant: Mutant, tests: Sequence[str]) -> int:
    """Fork a process that runs the tests against the mutant; its exit code is pytest's."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    code = 70
    try:
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        sys.meta_path.insert(0, _InPlace(mutant))
        code = int(pytest.main([*QUIET, *tests]))
    finally:
        os._exit(code)


def fate(child: int, began: float, patience_s: float) -> Fate | None:
    """What became of a child; None while it runs."""
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"
    if time.monotonic() - began < patience_s:
        return None
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"
