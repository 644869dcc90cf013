"""A row that has lost its ground goes back, until somebody has looked: to its last certificate that
still holds, else to its strongest step.

A demotion is an entry of the policy itself, ``[demoted.TYPE]``, so it is read, reloaded, hashed
and shown like every other part of it, and reaches every process that has these files. It holds for
the very evidence that it was made against: a new certificate or profile in the row ends it, and so
does ``consensus policy promote TYPE``. The row itself is not touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from consensus.errors import ConsensusError, PolicyError
from consensus.policy._types import Name, Strict
from consensus.policy.history import Earned, earned_by, evidence_sha256, with_earned

if TYPE_CHECKING:
    from consensus.policy.table import PolicyTable

__all__ = [
    "FILE",
    "Demotion",
    "demote",
    "demotion_of",
    "evidence_sha256",
    "promote",
    "serves_by",
    "standing",
]

FILE = "demoted.toml"
"""Where a folder's demotions stand."""

_HEAD = "# Written by the watch. A row listed here does not serve by its own choice.\n"


class Demotion(Strict):
    """Why a row does not serve by its own choice, and by what it serves."""

    since: str = Field(description="When, UTC.")
    why: str = Field(max_length=1000, description="What was found, in a sentence.")
    incident: str = Field(default="", description="Its incident in the ledger.")
    evidence: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description="Hash of the certificate and the profile that no longer hold.",
    )
    to: str = Field(
        default="",
        pattern=r"^([0-9a-f]{64})?$",
        description="Hash of the earlier evidence, in [[history.TYPE]], by whose choice the row "
        "serves; without it, by its strongest step.",
    )


def demotion_of(table: PolicyTable, task_type: str) -> Demotion | None:
    """The demotion in force; None too where the row has new evidence, or allows none any more."""
    found, row = table.demoted.get(task_type), table.tasks.get(task_type)
    if found is None or row is None or not row.demote or found.evidence != evidence_sha256(row):
        return None
    return found


def standing(table: PolicyTable, task_type: str) -> tuple[PolicyTable, Earned] | None:
    """What a demoted row has gone back to: the table with the earlier choice, and that choice.

    None where the row is not demoted, or serves by its strongest step: where no earlier certificate
    held, where the one that did is too old by now, or where its choice is answered otherwise today.
    """
    demotion = demotion_of(table, task_type)
    earned = earned_by(table, task_type, demotion.to) if demotion and demotion.to else None
    if earned is None or datetime.now(UTC).date() >= earned.certificate.expires():
        return None
    key = ("earned", task_type, demotion.to if demotion else "")
    made = table._routes.get(key)
    if made is None:
        made = table._routes[key] = _as_certified(table, task_type, earned)
    return (made, earned) if isinstance(made, type(table)) else None


def serves_by(table: PolicyTable, task_type: str) -> str | None:
    """By what a demoted row serves, in words; None where it serves by its own choice."""
    if demotion_of(table, task_type) is None:
        return None
    stands = standing(table, task_type)
    if stands is None:
        return "its strongest step"
    return f"its certificate of {stands[1].certificate.date}"


def _as_certified(table: PolicyTable, task_type: str, earned: Earned) -> PolicyTable | bool:
    """The table with that choice; False where it is no longer the route that was certified."""
    from consensus.policy.certifying import route_sha256

    made = with_earned(table, task_type, earned)
    try:
        return made if route_sha256(made, task_type) == earned.certificate.route else False
    except ConsensusError:
        return False


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
