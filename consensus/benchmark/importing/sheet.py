"""The review sheet of an import: what was guessed, for a person to mend and hand back.

``types.toml``: a table a group. The reviewer renames (two groups of one name become one type),
sets ``kind`` (``skip`` leaves a group out), ``labels``, ``scale``, ``answer_field``, ``criteria``;
the comments are for reading only. Handed back with ``--types``, it decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from consensus.benchmark.importing.exchange import Exchange
from consensus.benchmark.importing.grouping import Group, GuessedKind
from consensus.errors import DataError
from consensus.policy._lines import index_lines
from consensus.policy.toml_text import quoted
from consensus.strangers import parse_toml, read_bounded
from consensus.tasks import TYPE_PATTERN

__all__ = ["apply_sheet", "sheet_text"]

HEAD = """\
# What was guessed about the calls in these logs. Mend it and import again with --types THIS FILE.
#   name          the task type; two groups of one name become one type
#   kind          approve | choose | score | generate; "skip" leaves the group out
#   labels        choose, approve: the answers there are (approve: the approving one first)
#   scale         score: lowest and highest
#   answer_field  where answers are JSON: the field that is the answer
#   criteria      approve, choose, score: by what is judged; else the system prompt
# Leave "group" as it is.
version = 1
"""


MAX_SHEET_BYTES = 16_000_000


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    group: str
    name: Annotated[str, StringConstraints(pattern=TYPE_PATTERN)]
    kind: GuessedKind
    labels: list[str] = []
    scale: tuple[float, float] | None = None
    answer_field: str | None = None
    criteria: str | None = None


class _Sheet(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    version: Literal[1]
    type: list[_Row] = Field(default_factory=list)


def sheet_text(groups: Sequence[Group], exchanges: Sequence[Exchange]) -> str:
    """The sheet, with an example and the counts of each group as comments."""
    parts = [HEAD]
    for group in groups:
        members = [exchanges[i] for i in group.members]
        first = members[0]
        models = Counter(m.model for m in members)
        shown = ", ".join(f"{name} × {times}" for name, times in models.most_common(5))
        lines = ["", f"# {len(members):,} calls: {shown}", f"# {group.why}"]
        if first.system:
            lines.append(f"# system: {_shown(first.system)}")
        lines += [f"# asked: {_shown(m.prompt)}" for m in members[:2] if m.messages]
        lines += [f"# answered: {_shown(str(m.output))}" for m in members[:2] if m.output]
        lines += [
            "[[type]]",
            f"group = {quoted(group.key)}",
            f"name = {quoted(group.name)}",
            f"kind = {quoted(group.kind)}",
        ]
        if group.labels:
            lines.append(f"labels = [{', '.join(quoted(label) for label in group.labels)}]")
        if group.scale is not None:
            lines.append(f"scale = [{group.scale[0]!r}, {group.scale[1]!r}]")
        if group.answer_field is not None:
            lines.append(f"answer_field = {quoted(group.answer_field)}")
        if group.criteria is not None:
            lines.append(f"criteria = {quoted(group.criteria)}")
        parts.append("\n".join(lines) + "\n")
    return "".join(parts)


def _shown(text: str) -> str:
    """The beginning of a text on one comment line, without control characters."""
    line = " ".join(text.split())
    clean = "".join(c if c.isprintable() else "?" for c in line)
    return clean if len(clean) <= 160 else clean[:159] + "…"


def apply_sheet(groups: list[Group], path: Path) -> list[str]:
    """Let a reviewed sheet decide about groups; what it does not name keeps its guess.

    Returns:
        Notes: groups that the sheet names and this log does not have, and the reverse.

    Raises:
        DataError: naming ``file:line``, the key and the fix.
    """
    raw = read_bounded(path, MAX_SHEET_BYTES)
    try:
        text = raw.decode()
        data = parse_toml(raw)
    except UnicodeDecodeError as error:
        raise DataError(f"cannot be read: {error}", where=str(path)) from None
    except ValueError as error:
        raise DataError(f"is not TOML: {error}", where=str(path)) from None
    lines = index_lines(text)
    try:
        sheet = _Sheet.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        line = lines.line(tuple(first["loc"]))
        key = ".".join(map(str, first["loc"][2:] or first["loc"]))
        raise DataError(
            f'"{key}": {first["msg"].removeprefix("Value error, ")}',
            where=f"{path}:{line}" if line else str(path),
        ) from None
    known = {group.key: group for group in groups}
    for index, row in enumerate(sheet.type):
        where = f"{path}:{lines.line(('type', index))}"
        group = known.get(row.group)
        if group is not None and group.own:
            group.name = row.name
            group.kind = "skip" if row.kind == "skip" else group.kind
            group.why = "as reviewed"
            continue
        _check(row, where)
        if group is None:
            continue
        group.name, group.kind = row.name, row.kind
        group.labels, group.scale = tuple(row.labels), row.scale
        group.answer_field, group.criteria = row.answer_field, row.criteria
        group.why = "as reviewed"
    _check_merged(groups, path)
    said = {row.group for row in sheet.type}
    notes = []
    if missing := said - set(known):
        notes.append(f"{len(missing)} groups of {path.name} are not in these logs")
    if new := set(known) - said:
        notes.append(f"{len(new)} groups are not in {path.name}: they are guessed")
    return notes


def _check(row: _Row, where: str) -> None:
    if row.kind in ("choose", "approve"):
        folded = {label.casefold() for label in row.labels}
        if len(folded) < 2 or len(folded) != len(row.labels):
            raise DataError(
                f"{row.name} is of kind {row.kind} and names no two different labels",
                where=where,
                fix='labels = ["…", "…"]',
            )
        if row.kind == "approve" and len(row.labels) != 2:
            raise DataError(
                f"{row.name} is of kind approve and has {len(row.labels)} labels",
                where=where,
                fix="two: the approving one first",
            )
    if row.kind == "score" and (row.scale is None or not row.scale[0] < row.scale[1]):
        raise DataError(
            f"{row.name} is of kind score and has no scale", where=where, fix="scale = [1, 5]"
        )
    if row.kind in ("compare", "rank"):
        raise DataError(
            f"{row.name}: a log's prompt does not say what is compared or ranked",
            where=where,
            fix="choose or generate; or write rows of our own shape",
        )


def _check_merged(groups: Sequence[Group], path: Path) -> None:
    """Groups of one name must be of one kind."""
    seen: dict[str, Group] = {}
    for group in groups:
        if group.kind == "skip":
            continue
        first = seen.setdefault(group.name, group)
        if (first.kind, first.labels, first.scale) != (group.kind, group.labels, group.scale):
            raise DataError(
                f'the groups named "{group.name}" differ in kind, labels or scale', where=str(path)
            )
