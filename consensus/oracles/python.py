"""An oracle that is a Python function of the user's: the only code that a suite or policy may run.

It runs because the user named it (``kind = "python"`` with ``file`` and ``function``), in this
process and with this process's rights. Nothing else in a suite, policy or tape is executed.

It is called with the answer and the reference (None where nothing is known); before an action it
also gets the whole task, as its constructor takes it, where it has a parameter ``task``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from consensus.errors import SuiteError
from consensus.oracles.verdicts import Json, Verdict, content_hash

__all__ = ["PythonOracle", "load_function"]


@dataclass(frozen=True)
class PythonOracle:
    """Whatever a function returns: a bool, a number in [0, 1], or a :class:`Verdict`."""

    function: Callable[..., object]
    source: bytes
    graded: bool = False
    floor: float = 1.0
    name: str = "python"
    needs_reference: bool = field(default=False)

    @property
    def sha256(self) -> str:
        """Content hash: the file's bytes are part of it."""
        settings = {"function": self.function.__name__, "graded": self.graded, "floor": self.floor}
        return content_hash("python", 1, settings, self.source)

    @cached_property
    def _takes_task(self) -> bool:
        from inspect import signature

        try:
            return "task" in signature(self.function).parameters
        except (TypeError, ValueError):
            return False

    def judge(self, answer: Json, reference: Json = None, *, task: Json = None) -> Verdict:
        """Judge one answer.

        Raises:
            SuiteError: the function raised, or returned what is no verdict; never a score.
        """
        more = {"task": task} if self._takes_task and task is not None else {}
        try:
            result = self.function(answer, reference, **more)
        except Exception as error:
            raise SuiteError(
                f"oracle function {self.function.__name__!r} raised {type(error).__name__}"
            ) from error
        if isinstance(result, Verdict):
            return result
        if isinstance(result, bool):
            return Verdict(float(result), result)
        if isinstance(result, int | float) and math.isfinite(result) and 0 <= result <= 1:
            if not self.graded and result not in {0, 1}:
                raise SuiteError(
                    f"oracle function {self.function.__name__!r} returned {result} and is not "
                    "declared graded",
                    fix="graded = true",
                )
            return Verdict(float(result), result >= self.floor - 1e-12)
        raise SuiteError(
            f"oracle function {self.function.__name__!r} returned {type(result).__name__}; a bool "
            "or a number from 0 to 1 was expected"
        )


def load_function(file: Path, name: str) -> tuple[Callable[..., object], bytes]:
    """Load a named function from a file that the user named.

    Raises:
        SuiteError: no such file or function, or the file does not import.
    """
    from importlib.util import module_from_spec, spec_from_file_location

    try:
        source = file.read_bytes()
    except OSError as error:
        raise SuiteError(f"cannot be read: {error.strerror}", where=str(file)) from None
    tag = hashlib.sha256(source).hexdigest()[:12]
    spec = spec_from_file_location(f"consensus_oracle_{tag}", file)
    if spec is None or spec.loader is None:
        raise SuiteError("is no Python file", where=str(file))
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SuiteError(
            f"does not import: {type(error).__name__}: {error}", where=str(file)
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise SuiteError(f"has no function {name!r}", where=str(file))
    return function, source
