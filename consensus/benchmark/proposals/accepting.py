"""A proposal written into the policy: the rows it changes, and nothing else of the files.

Comments, order and spelling stay (tomlkit). The new table is loaded and checked in a copy of the
folder before any file of the policy is touched.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consensus.benchmark.proposals.candidates import CHOICE_KEYS
from consensus.benchmark.proposals.model import Proposal, RowProposal
from consensus.errors import PolicyError
from consensus.panel.book import load_prompts
from consensus.policy.history import history_file, replaced, with_history
from consensus.policy.load import find_prompts, load_policy
from consensus.policy.table import PolicyTable

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

__all__ = ["Accepted", "accept", "row_toml"]


class Accepted:
    """What was written.

    Attributes:
        rows: the task types; files: every file that was changed or made.
        table: the policy as it is now.
    """

    def __init__(self, rows: Sequence[str], files: Sequence[Path], table: PolicyTable) -> None:
        self.rows, self.files, self.table = tuple(rows), tuple(files), table


def accept(proposal: Proposal, policy: Path, *, only: Sequence[str] = ()) -> Accepted:
    """Write a proposal's rows, certificates and profiles into the policy they were made for.

    Args:
        proposal: as :func:`~consensus.benchmark.proposals.model.load_proposal` reads it.
        policy: the folder or file of the policy.
        only: task types; none: all.

    Raises:
        PolicyError: the table is not the one that was proposed for, a row could not be served, or
            the new table would not load. Nothing is written then.
    """
    table = load_policy(policy, strict=False)
    if table.version_hash != proposal.policy_version:
        raise PolicyError(
            "was changed since this was proposed",
            where=str(policy),
            fix=f"propose again: consensus policy propose {proposal.run}",
        )
    rows = _wanted(proposal, only)
    texts, files = _written(rows, table, policy)
    earned = replaced(table, [row.task_type for row in rows], datetime.now(UTC).date())
    if earned:
        place = history_file(policy)
        before = place.read_text(encoding="utf-8") if place.exists() else None
        texts[place] = with_history(texts.get(place, before), earned)
    with tempfile.TemporaryDirectory(prefix="consensus-accept-") as name:
        trial = _trial(Path(name), policy, texts, files)
        book = load_prompts(find_prompts(policy))
        try:
            load_policy(trial, prompts=book)
        except PolicyError as error:
            said = str(error).replace(name, "").lstrip("/")
            raise PolicyError(
                f"would not load with these rows: {said}", where=str(policy)
            ) from None
    for path, content in files.items():
        _write(path, content)
    for path, text in texts.items():
        _write(path, text)
    written = load_policy(policy, strict=False)
    return Accepted([row.task_type for row in rows], [*files, *texts], written)


def _wanted(proposal: Proposal, only: Sequence[str]) -> list[RowProposal]:
    known = {row.task_type: row for row in proposal.rows}
    for name in only:
        if name not in known:
            raise PolicyError(
                f'the proposal has no row "{name}"',
                where="--only",
                fix=f"one of {', '.join(sorted(known)) or 'none'}",
            )
    rows = [known[name] for name in only] if only else list(known.values())
    for row in rows:
        if row.servable:
            others = sorted(r.task_type for r in known.values() if not r.servable)
            raise PolicyError(
                f'the row of "{row.task_type}" could not be served: {row.servable}',
                fix=f"accept the others: --only {' --only '.join(others)}" if others else None,
            )
    return rows


def _written(
    rows: Sequence[RowProposal], table: PolicyTable, policy: Path
) -> tuple[dict[Path, str], dict[Path, str]]:
    """The new text of every file of the policy that changes, and of every calibration."""
    by_file: dict[Path, list[RowProposal]] = defaultdict(list)
    for row in rows:
        by_file[_file_of(table, policy, row.task_type)].append(row)
    texts: dict[Path, str] = {}
    files: dict[Path, str] = {}
    for path, mine in by_file.items():
        texts[path] = _edited(path, mine)
        for row in mine:
            if row.calibration is not None and row.calibration_file is not None:
                place = _beside(path, row.calibration_file)
                files[place] = json.dumps(row.calibration) + "\n"
            for name, text in row.oracle_files.items():
                place = _beside(path, name)
                if files.setdefault(place, text) != text or _differs(place, text):
                    raise PolicyError(
                        f'an oracle of "{row.task_type}" would overwrite it',
                        where=str(place),
                        fix="give the oracle another name in the audit, and propose again",
                    )
    return texts, files


def _beside(path: Path, name: str) -> Path:
    """A file that a proposal brings, which must lie in the folder of the policy's file."""
    root = path.parent.resolve()
    if not (root / name).resolve().is_relative_to(root):
        raise PolicyError(f'the proposal names "{name}", outside the policy', where=str(root))
    return path.parent / name


def _differs(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8", errors="replace") != text


def _file_of(table: PolicyTable, policy: Path, task_type: str) -> Path:
    """Where a row stands; a new one goes to where the other rows are."""
    for name in (task_type, *table.tasks):
        place = table.place("tasks", name)
        if name in table.tasks and place is not None:
            return Path(place.file)
    return policy / "tasks.toml" if policy.is_dir() else policy


def _edited(path: Path, rows: Sequence[RowProposal]) -> str:
    import tomlkit

    text = path.read_text(encoding="utf-8") if path.exists() else "version = 1\n"
    document = tomlkit.parse(text)
    fresh = []
    for row in rows:
        if row.task_type in document.get("tasks", {}):
            _edit_row(document, row)
        else:
            fresh.append(row)
    text = tomlkit.dumps(document)
    known = document.get("strategies", {})
    for row in rows:
        for name, strategy in row.strategies.items():
            if name not in known:
                text = _append(text, "strategies", name, strategy)
    for name, declared in _oracles(rows, declared_here=document.get("oracles", {})).items():
        text = _append(text, "oracles", name, declared)
    for row in fresh:
        text = _append(text, "tasks", row.task_type, {**row.given, **row.new, **_evidence(row)})
    return text


def _oracles(
    rows: Sequence[RowProposal], *, declared_here: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """What [oracles] gets; rows of one proposal may share one."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        for name, declared in row.oracles.items():
            if found.setdefault(name, declared) != declared:
                raise PolicyError(
                    f'two oracles are called "{name}", and that of "{row.task_type}" is another',
                    where="audit",
                    fix="give it another name there, and propose again",
                )
    return {name: declared for name, declared in found.items() if name not in declared_here}


def _edit_row(document: TOMLDocument, row: RowProposal) -> None:
    table: Any = document["tasks"][row.task_type]
    for key in CHOICE_KEYS:
        if key in table and key not in row.new:
            del table[key]
    for key in ("certificate", "profile"):
        if key in table:
            del table[key]
    wanted = {**{k: v for k, v in row.given.items() if k not in table}, **row.new}
    scalars = {k: v for k, v in wanted.items() if not isinstance(v, dict)}
    tables = {k: v for k, v in wanted.items() if isinstance(v, dict)}
    for key, value in (*scalars.items(), *tables.items()):
        if key in table and _plain(table[key]) == value:
            continue
        table[key] = _value(value)
    for key, value in _evidence(row).items():
        table.append(key, _nested(value))


def _evidence(row: RowProposal) -> dict[str, Any]:
    found = {"certificate": row.certificate.model_dump(mode="python", exclude_none=True)}
    if row.profile is not None:
        found["profile"] = row.profile.model_dump(mode="python")
    return found


def _append(text: str, section: str, name: str, values: Mapping[str, Any]) -> str:
    """A new table at the end of a file."""
    return f"{text.rstrip()}\n\n{row_toml(section, name, values)}"


def row_toml(section: str, name: str, values: Mapping[str, Any]) -> str:
    """One table of a policy as TOML."""
    import tomlkit

    document = tomlkit.document()
    outer, inner = tomlkit.table(is_super_table=True), tomlkit.table()
    plain = {k: v for k, v in values.items() if k not in ("certificate", "profile")}
    for key, value in plain.items():
        inner.append(key, _value(value))
    for key in ("certificate", "profile"):
        if key in values:
            inner.append(key, _nested(values[key]))
    outer.append(name, inner)
    document.append(section, outer)
    return tomlkit.dumps(document)


def _inline(value: Mapping[str, Any]) -> Any:
    import tomlkit

    made = tomlkit.inline_table()
    for key, item in value.items():
        made.append(key, _value(item))
    return made


def _nested(value: Mapping[str, Any]) -> Any:
    """A table whose inner tables stand in their own lines, empty ones left out."""
    import tomlkit

    made = tomlkit.table()
    for key, item in value.items():
        if isinstance(item, dict):
            if item:
                made.append(key, _inline(item))
        else:
            made.append(key, _value(item))
    return made


def _value(value: Any) -> Any:
    """A value as TOML; tables within a row stay on its line, and long texts keep their lines."""
    import tomlkit

    if isinstance(value, dict):
        return _inline(value)
    if isinstance(value, list | tuple):
        made = tomlkit.array()
        for item in value:
            made.append(_value(item))
        return made
    if isinstance(value, str) and "\n" in value and '"""' not in value:
        return tomlkit.string(value, multiline=True)
    return value


def _plain(value: Any) -> Any:
    return value.unwrap() if hasattr(value, "unwrap") else value


def _trial(
    folder: Path, policy: Path, texts: Mapping[Path, str], files: Mapping[Path, str]
) -> Path:
    """The policy as it would be, in another place; its oracles' files come with it."""
    root = policy if policy.is_dir() else policy.parent
    target = folder / root.resolve().name
    if policy.is_dir():
        shutil.copytree(root, target)
    else:
        target.mkdir()
        for path in root.iterdir():
            if path.is_file() and path.stat().st_size <= 8_000_000 and path != policy:
                shutil.copyfile(path, target / path.name)
            elif path.is_dir() and path.name == "calibrations":
                shutil.copytree(path, target / path.name)
    for path, text in {**files, **texts}.items():
        place = target / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    return target if policy.is_dir() else target / policy.name


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
