"""What a row has earned before: its earlier certificates, each with the choice it was given to.

``consensus policy accept`` replaces a row's choice, certificate and profile. Those of a row that
was certified go into ``[[history.TYPE]]`` then, so that a row which loses its ground can go back to
them. Nothing there serves by itself: only a demotion names an entry (policy/demotion.py), and only
while that entry's certificate still holds.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from consensus.errors import ConsensusError
from consensus.policy._types import Strict
from consensus.policy.rows import TaskRow

if TYPE_CHECKING:
    from consensus.policy.certificate import Certificate
    from consensus.policy.staleness import Current
    from consensus.policy.table import PolicyTable

__all__ = [
    "CHOICE_KEYS",
    "FILE",
    "MOST_KEPT",
    "Earned",
    "earlier",
    "earned_by",
    "evidence_sha256",
    "history_file",
    "replaced",
    "with_earned",
    "with_history",
]

FILE = "history.toml"
"""Where a folder's earlier certificates stand."""

MOST_KEPT = 5
"""Entries of a row; the oldest go first."""

CHOICE_KEYS = (
    "strategy",
    "mix",
    "tier",
    "models",
    "seats",
    "quorum",
    "framings",
    "ballot",
    "aggregator",
    "calibration",
    "min_agreement",
    "escalate_to",
    "waves",
    "stop",
    "debate",
    "cascade",
)
"""The keys of a row that say how it is answered; the others are its owner's, and stay."""

_EVIDENCE = ("certificate", "profile")

_HEAD = "# Written by consensus policy accept: what each row was certified as before.\n"


class Earned(Strict):
    """A choice that was certified, and was replaced."""

    until: datetime.date = Field(description="Day on which another took its place.")
    row: TaskRow = Field(description="How the row was answered, its certificate and its profile.")

    @model_validator(mode="after")
    def _was_certified(self) -> Earned:
        if self.row.certificate is None or self.row.certificate.status != "certified":
            raise ValueError("needs a certificate that says certified")
        strange = self.row.model_fields_set - {*CHOICE_KEYS, *_EVIDENCE}
        if strange:
            raise ValueError(f"{min(strange)} is the owner's, and stands in the row itself")
        return self

    @property
    def certificate(self) -> Certificate:
        """What it had earned."""
        assert self.row.certificate is not None  # noqa: S101 - validated
        return self.row.certificate

    @property
    def sha256(self) -> str:
        """Its evidence's hash, by which a demotion names it."""
        return evidence_sha256(self.row)


def evidence_sha256(row: TaskRow) -> str:
    """Hash of a row's certificate and profile: what production is held against."""
    parts = [
        "" if part is None else part.model_dump_json(exclude_none=True)
        for part in (row.certificate, row.profile)
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def earned_by(table: PolicyTable, task_type: str, sha256: str) -> Earned | None:
    """The entry of a row's history with this evidence."""
    entries = table.history.get(task_type, ())
    return next((one for one in entries if one.sha256 == sha256), None)


def with_earned(table: PolicyTable, task_type: str, earned: Earned) -> PolicyTable:
    """The table with an earlier choice in its row; what is the owner's is today's."""
    row = table.tasks[task_type]
    gone: dict[str, Any] = dict.fromkeys((*CHOICE_KEYS, *_EVIDENCE))
    given = {name: getattr(earned.row, name) for name in earned.row.model_fields_set}
    changed = row.model_copy(update={**gone, **given})
    made = table.model_copy(update={"tasks": {**table.tasks, task_type: changed}})
    return made.located(table._places, table.source)


def earlier(
    table: PolicyTable, task_type: str, current: Current, *, than: str | None = None
) -> Earned | None:
    """The latest earlier certificate that still holds, of another route than the row's own.

    Args:
        current: what holds today of what certificates rest on.
        than: only entries before the one with this evidence.
    """
    from consensus.policy.certifying import route_sha256
    from consensus.policy.staleness import deaths

    try:
        own = route_sha256(table, task_type)
    except ConsensusError:
        own = ""
    entries = list(reversed(table.history.get(task_type, ())))
    if than is not None:
        places = [place for place, one in enumerate(entries) if one.sha256 == than]
        entries = entries[places[-1] + 1 :] if places else []
    for one in entries:
        if one.certificate.route != own and not deaths(
            with_earned(table, task_type, one), task_type, current
        ):
            return one
    return None


def replaced(table: PolicyTable, task_types: Iterable[str], day: datetime.date) -> dict[str, Any]:
    """What goes into the history where these rows are about to be replaced, by task type.

    Only a row that is as it was certified has earned anything.
    """
    from consensus.policy.certifying import route_sha256

    found: dict[str, Any] = {}
    for name in task_types:
        row = table.tasks.get(name)
        if row is None or row.certificate is None or row.certificate.status != "certified":
            continue
        try:
            as_certified = route_sha256(table, name) == row.certificate.route
        except ConsensusError:
            continue
        if as_certified and earned_by(table, name, evidence_sha256(row)) is None:
            said = row.model_dump(mode="python", exclude_unset=True, exclude_none=True)
            kept = {key: said[key] for key in (*CHOICE_KEYS, *_EVIDENCE) if key in said}
            found[name] = {"until": day, "row": kept}
    return found


def history_file(policy: Path) -> Path:
    """Where a policy's history stands: in its folder's own file, or in its one file."""
    return policy / FILE if policy.is_dir() else policy


def with_history(text: str | None, entries: Mapping[str, Any]) -> str:
    """A file's text with further entries, the oldest of a row left out where they are too many.

    Args:
        text: of the file; None where there is none yet.
        entries: as :func:`replaced` gives them.
    """
    import tomlkit

    document = tomlkit.parse(_HEAD if text is None else text)
    history = document.setdefault("history", tomlkit.table(is_super_table=True))
    for name, entry in entries.items():
        rows = history.get(name)
        if rows is None:
            history.append(name, tomlkit.aot())
            rows = history[name]
        rows.append(_entry(entry))
        while len(rows) > MOST_KEPT:
            del rows[0]
    return tomlkit.dumps(document)


def _entry(entry: Mapping[str, Any]) -> Any:
    """Evidence stands in tables of its own; everything else on its line."""
    import tomlkit

    made, row = tomlkit.table(), tomlkit.table()
    made.append("until", entry["until"])
    for key, value in entry["row"].items():
        if key not in _EVIDENCE:
            row.append(key, tomlkit.item(_inline(value)))
    for key in _EVIDENCE:
        if key in entry["row"]:
            inner = tomlkit.table()
            for name, value in entry["row"][key].items():
                inner.append(name, tomlkit.item(_inline(value)))
            row.append(key, inner)
    made.append("row", row)
    return made


def _inline(value: Any) -> Any:
    import tomlkit

    if isinstance(value, Mapping):
        made = tomlkit.inline_table()
        for key, item in value.items():
            made.append(key, _inline(item))
        return made
    if isinstance(value, list | tuple):
        array = tomlkit.array()
        for item in value:
            array.append(_inline(item))
        return array
    return value
