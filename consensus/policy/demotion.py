"""A row that has lost its ground serves by its strongest step until somebody has looked.

A demotion is an entry of the policy itself, ``[demoted.TYPE]``, so it is read, reloaded, hashed
and shown like every other part of it, and reaches every process that has these files. It holds for
the very evidence that it was made against: a new certificate or profile in the row ends it, and so
does ``consensus policy promote TYPE``. The row itself is not touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from consensus.errors import PolicyError
from consensus.policy._types import Name, Strict
from consensus.policy.rows import TaskRow

if TYPE_CHECKING:
    from consensus.policy.table import PolicyTable

__all__ = ["FILE", "Demotion", "demote", "demotion_of", "evidence_sha256", "promote"]

FILE = "demoted.toml"
"""Where a folder's demotions stand."""

_HEAD = "# Written by the watch. A row listed here serves by its strongest step.\n"


class Demotion(Strict):
    """Why a row serves by its strongest step."""

    since: str = Field(description="When, UTC.")
    why: str = Field(max_length=1000, description="What was found, in a sentence.")
    incident: str = Field(default="", description="Its incident in the ledger.")
    evidence: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description="Hash of the certificate and the profile that no longer hold.",
    )


def evidence_sha256(row: TaskRow) -> str:
    """Hash of a row's certificate and profile: what production is held against."""
    parts = [
        "" if part is None else part.model_dump_json(exclude_none=True)
        for part in (row.certificate, row.profile)
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def demotion_of(table: PolicyTable, task_type: str) -> Demotion | None:
    """The demotion in force; None too where the row has new evidence, or allows none any more."""
    found, row = table.demoted.get(task_type), table.tasks.get(task_type)
    if found is None or row is None or not row.demote or found.evidence != evidence_sha256(row):
        return None
    return found


def demote(policy: Path, demotions: dict[Name, Demotion]) -> Path:
    """Write demotions into the policy, in place of older ones of the same task types.

    Args:
        policy: its folder, where they stand in ``demoted.toml``; or its one file.

    Raises:
        PolicyError: the file cannot be read or written.
    """

    def change(document: Any) -> None:
        for name, demotion in demotions.items():
            document.setdefault("demoted", {})[name] = demotion.model_dump()

    return _edit(policy, change)


def promote(policy: Path, task_type: str) -> Path:
    """Take a row's demotion away.

    Raises:
        PolicyError: it has none, or the file cannot be written.
    """

    def change(document: Any) -> None:
        if task_type not in document.get("demoted", {}):
            raise PolicyError(f'the row "{task_type}" is not demoted', where=str(_file(policy)))
        del document["demoted"][task_type]
        if not document["demoted"]:
            del document["demoted"]

    return _edit(policy, change)


def _file(policy: Path) -> Path:
    return policy / FILE if policy.is_dir() else policy


def _edit(policy: Path, change: Any) -> Path:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    path = _file(policy)
    try:
        with _locked(path.parent):
            text = path.read_text(encoding="utf-8") if path.exists() else _HEAD
            document = tomlkit.parse(text)
            change(document)
            _replace(path, tomlkit.dumps(document))
    except TOMLKitError:
        raise PolicyError("is not TOML", where=str(path), fix="consensus policy check") from None
    except OSError as error:
        raise PolicyError(
            f"cannot be written: {error.strerror}",
            where=str(path),
            fix="make the policy's folder writable for whoever watches, or demote by hand",
        ) from None
    return path


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time, of any process: what two of them find at once is written by both."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(path: Path, text: str) -> None:
    """Whole or not at all: a reader never sees half a file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        # Who may read the policy may read its demotions.
        Path(name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
