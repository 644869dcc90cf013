"""An oracle that is a Python function of the user's: the only code that a suite or policy may run.

It runs because the user named it (``kind = "python"`` with ``file`` and ``function``), in this
process and with this process's rights. Nothing else in a suite, policy or tape is executed.
Reading or checking a suite or policy only parses the file; it is run by what judges with it: an
engine, a benchmark run, a replay. So looking at a stranger's folder runs nothing of his.

It is called with the answer and the reference (None where nothing is known); before an action it
also gets the whole task, as its constructor takes it, where it has a parameter ``task``.
"""

from __future__ import annotations

import ast
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from consensus.errors import SuiteError
from consensus.oracles.verdicts import Json, Verdict, content_hash
from consensus.strangers import read_bounded

__all__ = ["PythonOracle", "read_source"]


MAX_SOURCE_BYTES = 1 << 20


@dataclass(frozen=True)
class PythonOracle:
    """Whatever a function returns: a bool, a number in [0, 1], or a :class:`Verdict`.

    Attributes:
        file: where it is from.
        function: its name there.
        source: the bytes of the file, as they were read when it was declared; these are run.
        graded: whether it returns any number from 0 to 1.
        floor: number at which an answer is acceptable.
    """

    file: Path
    function: str
    source: bytes
    graded: bool = False
    floor: float = 1.0
    needs_reference: bool = field(default=False)

    @property
    def name(self) -> str:
        """Its function's name."""
        return self.function

    @property
    def sha256(self) -> str:
        """Content hash: the file's bytes are part of it."""
        settings = {"function": self.function, "graded": self.graded, "floor": self.floor}
        return content_hash("python", 1, settings, self.source)

    def prepare(self) -> None:
        """Run the file, so that a broken one is found before anything is paid.

        Raises:
            SuiteError: it does not import, or has no such function once it is run.
        """
        _ = self._callable

    @cached_property
    def _callable(self) -> Callable[..., object]:
        return _run(self.file, self.source, self.function)

    @cached_property
    def _takes_task(self) -> bool:
        from inspect import signature

        try:
            return "task" in signature(self._callable).parameters
        except (TypeError, ValueError):
            return False

    def judge(self, answer: Json, reference: Json = None, *, task: Json = None) -> Verdict:
        """Judge one answer.

        Raises:
            SuiteError: the function cannot be had, raised, or returned what is no verdict; never a
                score.
        """
        more = {"task": task} if self._takes_task and task is not None else {}
        try:
            result = self._callable(answer, reference, **more)
        except Exception as error:
            raise SuiteError(
                f"oracle function {self.function!r} raised {type(error).__name__}"
            ) from error
        if isinstance(result, Verdict):
            return result
        if isinstance(result, bool):
            return Verdict(float(result), result)
        if isinstance(result, int | float) and math.isfinite(result) and 0 <= result <= 1:
            if not self.graded and result not in {0, 1}:
                raise SuiteError(
                    f"oracle function {self.function!r} returned {result} and is not "
                    "declared graded",
                    fix="graded = true",
                )
            return Verdict(float(result), result >= self.floor - 1e-12)
        raise SuiteError(
            f"oracle function {self.function!r} returned {type(result).__name__}; a bool "
            "or a number from 0 to 1 was expected"
        )


def read_source(file: Path, function: str) -> bytes:
    """The bytes of a file that the user named, if they parse and name that function.

    Nothing of it is run.

    Raises:
        SuiteError: no such file or function, or it is no Python.
    """
    source = read_bounded(file, MAX_SOURCE_BYTES, error=SuiteError)
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        at = str(file) if line is None else f"{file}:{line}"
        raise SuiteError(f"does not parse: {type(error).__name__}", where=at) from None
    if function not in _bound(tree):
        raise SuiteError(f"has no function {function!r}", where=str(file))
    return source


def _bound(tree: ast.Module) -> set[str]:
    """Names that a module's own lines may bind, under whatever conditions."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return names


def _run(file: Path, source: bytes, name: str) -> Callable[..., object]:
    import sys
    from types import ModuleType

    module = ModuleType(f"consensus_oracle_{hashlib.sha256(source).hexdigest()[:12]}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # where dataclasses and pickles look for it
    try:
        exec(compile(source, str(file), "exec"), module.__dict__)  # noqa: S102 - the user named it
    except Exception as error:
        raise SuiteError(
            f"does not import: {type(error).__name__}: {error}", where=str(file)
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise SuiteError(f"has no function {name!r}", where=str(file))
    return function  # type: ignore[no-any-return]
