"""Runs tests against one mutant at a time, each in a fork.

Two ways. *Swapped*: pytest has collected, everything of ours is imported, and the fork gives the
one function that the mutant changes its new code; nothing is imported again, so this is quick.
*Imported*: the fork comes from a process that has never imported ``consensus`` and puts the mutant
in its module's place before anything does; that serves what runs at import.
"""

from __future__ import annotations

import gc
import importlib
import importlib.machinery
import importlib.util
import os
import resource
import select
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Literal, NamedTuple

import pytest

from benchmarks.reliability._mutants import Mutant, mutated

Fate = Literal["killed", "survived", "timeout", "uncovered"]
ROOT = Path(__file__).resolve().parents[2]
QUIET = ["-q", "--no-header", "--no-summary", "-s", "-p", "no:cacheprovider", "-p", "no:xdist"]
QUIET += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is imported before pytest
NOT_HERE = 77
"""Exit code: this mutant cannot be put in place by swapping."""


Ended = tuple[int, str]
"""An exit code, and the test that failed."""


class Verdict(NamedTuple):
    """What became of a mutant, and the test that noticed it."""

    fate: Fate | None
    by: str


def warm() -> None:
    """Import what every fork needs and no test mutates."""
    for name in ("numpy", "scipy.stats", "scipy.optimize", "pydantic", "sqlalchemy", "hypothesis"):
        importlib.import_module(name)
    if any(name.split(".")[0] == "consensus" for name in sys.modules):
        raise RuntimeError("consensus is imported already: a mutant would come too late")


def collected(tests: Sequence[str], then: Callable[[pytest.Session], None]) -> None:
    """Let pytest import and collect everything, and hand over instead of running it."""

    class Instead:
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtestloop(self, session: pytest.Session) -> bool:
            then(session)
            return True

    code = pytest.main([*QUIET, *tests], plugins=[Instead()])
    if code:
        raise RuntimeError(f"pytest could not collect the tests (exit code {int(code)})")


class Swapping:
    """The first way, in a session that has collected."""

    def __init__(self, session: pytest.Session) -> None:
        self.session = session
        self.items = {item.nodeid: item for item in session.items}
        self.functions: dict[str, list[FunctionType]] = defaultdict(list)
        for one in gc.get_objects():
            if isinstance(one, FunctionType):
                self.functions[one.__code__.co_filename].append(one)
        gc.freeze()  # a fork's collector would copy every page of what it never frees

    def __call__(self, mutant: Mutant | None, tests: Sequence[str]) -> Ended:
        """In a fork: put a mutant's code in place and run tests until one fails."""
        if mutant is not None and not self.swap(mutant):
            return NOT_HERE, ""
        items = [self.items[name] for name in tests]
        for item, after in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if self.session.testsfailed:
                return 1, item.nodeid
        return 0, ""

    def swap(self, mutant: Mutant) -> bool:
        """Give the living functions of a file its code; False where that changes none."""
        path = str(ROOT / mutant.path)
        source = Path(path).read_text(encoding="utf-8")
        before = _codes(compile(source, path, "exec"))
        after = _codes(compile(mutated(source, mutant), path, "exec"))
        done = False
        for one in self.functions[path]:
            key = (one.__qualname__, one.__code__.co_firstlineno)
            if key in after and before.get(key) != after[key]:
                try:
                    one.__code__ = after[key]
                except ValueError:  # it closes over other names now
                    return False
                done = True
        return done


def imported(mutant: Mutant | None, tests: Sequence[str]) -> Ended:
    """In a fork without ``consensus``: import the mutant and run tests until one fails."""
    if mutant is not None:
        sys.meta_path.insert(0, _InPlace(mutant))
    failed: list[str] = []

    class Failures:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                failed.append(report.nodeid)

    return int(pytest.main(["-x", *QUIET, *tests], plugins=[Failures()])), "".join(failed[:1])


def _codes(module: CodeType) -> dict[tuple[str, int], CodeType]:
    """By name and first line; two that share both (lambdas of one line) are left out."""
    found: dict[tuple[str, int], list[CodeType]] = defaultdict(list)
    waiting = [module]
    while waiting:
        for one in waiting.pop().co_consts:
            if isinstance(one, CodeType):
                found[one.co_qualname, one.co_firstlineno].append(one)
                waiting.append(one)
    return {key: codes[0] for key, codes in found.items() if len(codes) == 1}


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


class Fork:
    """A child that runs tests.

    Args:
        work: what the child does.
        cpu_s: how much CPU it may take: a loop without end is cut off there.
    """

    def __init__(self, work: Callable[[], Ended], cpu_s: float) -> None:
        self.reading, writing = os.pipe()
        self.began, self.wall_s = time.monotonic(), 8 * cpu_s
        self.child = os.fork()
        if not self.child:
            self._run(work, writing, int(cpu_s) + 1)
        os.close(writing)

    @staticmethod
    def _run(work: Callable[[], Ended], writing: int, cpu_s: int) -> None:
        os.setsid()
        code = 70
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
            silence = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(silence, stream)
            code, by = work()
            os.write(writing, by.encode())
        finally:
            os._exit(code)

    def verdict(self) -> Verdict | None:
        """What became of it; None while it runs."""
        done, status = os.waitpid(self.child, os.WNOHANG)
        if not done:
            if time.monotonic() - self.began < self.wall_s:
                return None
            os.killpg(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
            os.close(self.reading)
            return Verdict("timeout", "")
        ready, _, _ = select.select([self.reading], [], [], 0)
        by = os.read(self.reading, 4096).decode() if ready else ""
        os.close(self.reading)
        code = os.waitstatus_to_exitcode(status)
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return Verdict("timeout", "")
        fate: dict[int, Fate | None] = {0: "survived", NOT_HERE: None}
        return Verdict(fate.get(code, "killed"), by)
