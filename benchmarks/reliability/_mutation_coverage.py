"""Which tests run which lines, and how long each takes; only changed test files are run again."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reliability import _mutation_runs as runs

ROOT = runs.ROOT


def digest(*files: Path) -> str:
    """Of files' contents, in a fixed order."""
    whole = hashlib.sha256()
    for file in sorted(files):
        whole.update(file.read_bytes())
    return whole.hexdigest()[:16]


class Covered:
    """What is known of the tests.

    Attributes:
        seconds: of each test.
        lines: by mutated file and line, the tests that run it.
        failed: tests that fail with nothing wrong in the code.
    """

    def __init__(self, by_file: dict[str, Any]) -> None:
        self.seconds: dict[str, float] = {}
        self.lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        self.failed: list[str] = []
        for found in by_file.values():
            self.seconds |= found["seconds"]
            self.failed += found["failed"]
            for path, lines in found["lines"].items():
                for line, names in lines.items():
                    self.lines[path][int(line)].update(names)


def covered(kept: Path, tests: Sequence[str], mutated: Sequence[Path], slow_s: float) -> Covered:
    """Run what has changed since the last time, in a fork, and read it all.

    Tests that took far more than ``slow_s`` then are left out: no mutant is run against them.
    """
    code = digest(*ROOT.glob("consensus/**/*.py"), *ROOT.glob("tests/**/[!t]*.py"))
    known: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    slow = {
        name: seconds
        for found in known.get("files", {}).values()
        for name, seconds in found["seconds"].items()
        if seconds > 2 * slow_s
    }
    by_file = known.get("files", {}) if known.get("code") == code else {}
    marks = {str(file.relative_to(ROOT)): digest(file) for file in _files(tests)}
    by_file = {name: found for name, found in by_file.items() if found["mark"] == marks.get(name)}
    missing = [name for name in marks if name not in by_file]
    if missing:
        child = os.fork()
        if not child:
            plugin = _Coverage(mutated)
            without = [f"--deselect={name}" for name in slow]
            pytest.main([*runs.QUIET, *without, *missing], plugins=[plugin])
            for name, found in plugin.found(missing).items():
                found["seconds"] |= {k: v for k, v in slow.items() if k.split("::")[0] == name}
                by_file[name] = {"mark": marks[name], **found}
            kept.write_text(json.dumps({"code": code, "files": by_file}))
            os._exit(0)
        os.waitpid(child, 0)
        by_file = json.loads(kept.read_text())["files"]
    return Covered(by_file)


def _files(tests: Sequence[str]) -> list[Path]:
    given = [ROOT / name for name in tests]
    return [file for one in given for file in (one.glob("**/test_*.py") if one.is_dir() else [one])]


class _Coverage:
    """A pytest plugin."""

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

    def found(self, tests: Sequence[str]) -> dict[str, Any]:
        """For a file: by test file, seconds by test and tests by line of each mutated file."""
        self.coverage.stop()
        data = self.coverage.get_data()
        said: dict[str, Any] = {
            name: {
                "seconds": {k: v for k, v in self.seconds.items() if k.split("::")[0] == name},
                "failed": [one for one in self.failed if one.split("::")[0] == name],
                "lines": defaultdict(lambda: defaultdict(list)),
            }
            for name in tests
        }
        for file in self.files:
            path = str(Path(file).relative_to(ROOT))
            for line, names in data.contexts_by_lineno(file).items():
                for one in filter(None, names):
                    said[one.split("::")[0]]["lines"][path][line].append(one)
        return said
