"""What is killed: a command line in a process forked from one that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path

import aiohttp  # noqa: F401 - imported once, for every fork
import anthropic
import rich.progress
import sqlalchemy.dialects.sqlite  # noqa: F401 - the same

from consensus.cli.main import run

__all__ = ["command", "context"]

assert anthropic.AsyncAnthropic  # its parts are imported when they are asked for
assert rich.progress.Progress


def context() -> ForkServerContext:
    """Where processes come from."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([__name__, "tests.ledger.other_process"])
    return found


def command(
    arguments: Sequence[str], folder: str, environment: Mapping[str, str], said: str
) -> None:
    """Run ``consensus …`` there; what it says goes into a file, its exit code is the process's."""
    os.chdir(folder)
    os.environ.update(environment)
    with Path(said).open("w") as file:
        sys.stdout = sys.stderr = file
        code = run(list(arguments))
        file.flush()
    os._exit(code)
