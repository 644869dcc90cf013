"""Ledgers of a job's workers: files beside the ledger, taken in when a worker has ended.

A SQLite file has one writer at a time, so each worker process of a job writes one of its own. It
holds a lock beside that file while it lives; the system lets go of it when it dies. Whoever takes
the job up next, with workers or without, first takes in what was left: no paid answer is lost.

On a server all workers write to the ledger itself, and hold a name of their job together
(:func:`crew_of`). Whoever takes the job up waits until nobody does: a worker whose driver was
killed may go on for a while, and what it pays for meanwhile must not be asked again.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from consensus.errors import LedgerError
from consensus.ledger.jobs import try_lock
from consensus.ledger.store import Ledger
from consensus.ledger.transfer import merge

__all__ = ["WorkerLock", "crew_of", "take_in", "take_in_all", "workers_folder"]

PATIENCE_S = 30.0
"""How long a worker whose driver has ended is waited for."""


def workers_folder(ledger: Ledger, job_id: str) -> Path | None:
    """Where the ledgers of a job's workers lie; None where all write to a server."""
    if ledger.path is None:
        return None
    return ledger.path.with_name(f"{ledger.path.name}.{job_id}.workers")


def crew_of(job_id: str) -> str:
    """The name that a job's workers hold together on a server, as long as they live."""
    return f"workers of {job_id}"


class WorkerLock:
    """Held by the process that writes a worker's ledger, until it ends.

    Raises:
        LedgerError: another process writes it.
    """

    def __init__(self, file: Path) -> None:
        path = _lock_of(file)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if not try_lock(self._file):
            os.close(self._file)
            raise LedgerError(f"{file}: is being written by another process")

    def release(self) -> None:
        """Let others take the file in."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def take_in(ledger: Ledger, file: Path, *, patience_s: float = PATIENCE_S) -> int:
    """Take one worker's records into the ledger and remove its file; the rows taken over.

    Waits until the worker has ended. Blocks.

    Raises:
        LedgerError: the worker still runs after ``patience_s``, or a record could not be kept.
    """
    if not file.exists():
        return 0
    ends = time.monotonic() + patience_s
    while True:
        try:
            lock = WorkerLock(file)
            break
        except LedgerError:
            if time.monotonic() > ends:
                raise LedgerError(
                    f"{file}: a worker of an earlier run still writes it (wait for it, or end it)"
                ) from None
            time.sleep(0.05)
    try:
        with Ledger(file) as source:
            taken = merge(source, ledger)
        for beside in file.parent.glob(f"{file.name}*"):
            if beside != _lock_of(file):
                beside.unlink(missing_ok=True)
    finally:
        lock.release()
    _lock_of(file).unlink(missing_ok=True)
    return taken


def take_in_all(ledger: Ledger, job_id: str, *, patience_s: float = PATIENCE_S) -> int:
    """Take in whatever ledgers the workers of a job have left; the rows taken over.

    On a server: wait until they have ended. Blocks.

    Raises:
        LedgerError: a worker still runs, or a record could not be kept.
    """
    folder = workers_folder(ledger, job_id)
    if folder is None:
        _wait_for_crew(ledger, job_id, patience_s)
        return 0
    if not folder.is_dir():
        return 0
    files = sorted(folder.glob("*.db"))
    taken = sum(take_in(ledger, file, patience_s=patience_s) for file in files)
    shutil.rmtree(folder, ignore_errors=True)
    return taken


def _wait_for_crew(ledger: Ledger, job_id: str, patience_s: float) -> None:
    name = crew_of(job_id)
    ends = time.monotonic() + patience_s
    while True:
        try:
            ledger.hold(name)
        except LedgerError:
            if time.monotonic() > ends:
                raise LedgerError(
                    f"{ledger.where}: workers of an earlier run of job {job_id} still run (wait "
                    "for them, or end them)"
                ) from None
            time.sleep(0.1)
        else:
            ledger.let_go(name)
            return


def _lock_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.lock")
