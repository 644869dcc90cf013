"""Candidates as a sheet for a person, and the person's word read back.

One row a case. ``verdict`` (use / drop), ``label`` and ``comment`` are the reviewer's; the texts
may be mended too. A row without verdict and label was not reviewed. The proposed label stands in
the last columns, so that the case is read first: a reviewer who only nods confirms nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consensus.benchmark.spreadsheet import cell, plain_cell, read_csv, write_csv
from consensus.benchmark.synthetic.batches import Asked, Candidate
from consensus.errors import DataError

__all__ = [
    "COLUMNS",
    "SHEET",
    "Reviewed",
    "label_text",
    "read_reviewed",
    "review_counts",
    "write_sheet",
]

SHEET = "sheet.csv"

COLUMNS = (
    "item",
    "verdict",
    "label",
    "comment",
    "task_type",
    "category",
    "misleading",
    "complexity",
    "subject",
    "a",
    "b",
    "items",
    "prompt",
    "criteria",
    "answers",
    "proposed_label",
    "why",
    "written_by",
    "check",
)

_TEXTS = ("subject", "a", "b", "items", "prompt")

USE = frozenset({"use", "yes", "y", "1", "ok", "keep", "true"})
DROP = frozenset({"drop", "no", "n", "0", "false"})


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A row as it came back.

    Attributes:
        candidate: with its texts as they stand in the sheet now.
        label: the answer that holds: the person's, or the proposed one where it was confirmed; for
            a row that nobody reviewed the proposed one, too.
        verdict: ``use``, ``drop``, or None where nobody reviewed it.
        own_label: whether the person wrote the label.
        edited: whether the texts are another than those that were written.
    """

    candidate: Candidate
    label: Any
    verdict: str | None
    own_label: bool
    edited: bool
    comment: str
    where: str


def write_sheet(
    path: Path, candidates: Sequence[Candidate], asked: Mapping[str, Asked]
) -> tuple[int, int]:
    """Write the sheet. Rows that stand in it already are kept as they are, new ones added below.

    Returns:
        How many rows are new, and how many there are.

    Raises:
        DataError: there is a file already that is no such sheet.
    """
    kept: list[list[str]] = []
    seen: set[str] = set()
    if path.exists():
        for _, row in read_csv(path, COLUMNS):
            kept.append([row[name] for name in COLUMNS])
            seen.add(row["item"])
    new = [_row(each, asked[each.task_type]) for each in candidates if each.id not in seen]
    write_csv(path, COLUMNS, kept + new)
    return len(new), len(kept) + len(new)


def _row(candidate: Candidate, asked: Asked) -> list[str]:
    texts = {name: _shown(candidate.fields.get(name)) for name in _TEXTS}
    values = {
        "item": candidate.id,
        "task_type": candidate.task_type,
        "category": candidate.category,
        "misleading": "yes" if candidate.adversarial else "",
        "complexity": candidate.complexity,
        "criteria": asked.criteria or "",
        "answers": _answers(asked),
        "proposed_label": label_text(candidate, candidate.label),
        "why": candidate.why,
        "written_by": candidate.model,
        **texts,
    }
    cells = {name: cell(value) for name, value in values.items()}
    cells["check"] = _check(cells)
    return [cells.get(name, "") for name in COLUMNS]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return "\n".join(value) if isinstance(value, list | tuple) else str(value)


def _answers(asked: Asked) -> str:
    if asked.answers:
        return " | ".join((*asked.answers, "tie") if asked.kind == "compare" else asked.answers)
    if asked.scale is not None:
        return f"{asked.scale[0]:g} to {asked.scale[1]:g}"
    return "numbers of the items, best first: 2>1>3" if asked.kind == "rank" else ""


def label_text(candidate: Candidate, label: Any) -> str:
    """A label as a person reads and writes it."""
    items = candidate.fields.get("items")
    if isinstance(items, list | tuple) and isinstance(label, list | tuple):
        places = {str(item): str(number) for number, item in enumerate(items, 1)}
        return ">".join(places.get(str(item), "?") for item in label)
    if isinstance(label, str):
        return label
    return "" if label is None else json.dumps(label, ensure_ascii=False)


def _check(cells: Mapping[str, str]) -> str:
    """Tells whether the texts were mended."""
    # spreadsheets may write other line ends
    text = json.dumps([" ".join(cells.get(name, "").split()) for name in ("item", *_TEXTS)])
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]


def read_reviewed(path: Path, asked: Mapping[str, Asked]) -> list[Reviewed]:
    """Read a sheet back.

    Args:
        path: the sheet.
        asked: what the audit says of each task type.

    Raises:
        DataError: naming ``file:line``: an item that stands twice, an unknown task type, a verdict
            or a label that is none.
    """
    found: list[Reviewed] = []
    seen: set[str] = set()
    for where, row in read_csv(path, COLUMNS):
        if row["item"] in seen:
            raise DataError("stands twice", where=where)
        seen.add(row["item"])
        own = asked.get(row["task_type"])
        if own is None:
            raise DataError(
                f"{row['task_type'][:40]!r} is no task type of the audit",
                where=where,
                fix=f"one of {', '.join(list(asked)[:8])}",
            )
        found.append(_reviewed(row, own, where))
    return found


def _reviewed(row: Mapping[str, str], asked: Asked, where: str) -> Reviewed:
    fields: dict[str, Any] = {}
    for name in _TEXTS:
        text = plain_cell(row[name]).strip()
        if text:
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            fields[name] = lines if name == "items" else text
    complexity = row["complexity"].strip() or "medium"
    if complexity not in ("low", "medium", "high"):
        raise DataError(f"{complexity!r} is no complexity", where=where, fix="low, medium or high")
    candidate = Candidate(
        row["item"],
        row["task_type"],
        plain_cell(row["category"]).strip(),
        bool(row["misleading"].strip()),
        complexity,  # type: ignore[arg-type] # checked above
        fields,
        why=plain_cell(row["why"]),
        model=plain_cell(row["written_by"]),
    )
    proposed = plain_cell(row["proposed_label"]).strip()
    candidate = replace(candidate, label=_label(proposed, candidate, asked, where, strict=False))
    given = plain_cell(row["label"]).strip()
    word = " ".join(row["verdict"].split()).casefold()
    if word and word not in USE | DROP:
        raise DataError(
            f"the verdict {row['verdict'][:40]!r} is none", where=where, fix='"use" or "drop"'
        )
    verdict = "drop" if word in DROP else "use" if word or given else None
    if verdict == "use" and given:
        label = _label(given, candidate, asked, where, strict=True)
    else:
        label = candidate.label
    return Reviewed(
        candidate,
        label,
        verdict,
        bool(given),
        row["check"] != _check(row),
        plain_cell(row["comment"]).strip(),
        where,
    )


def _label(text: str, candidate: Candidate, asked: Asked, where: str, *, strict: bool) -> Any:
    """A label as the suite has it. What is none: an error where a person wrote it, else None."""
    if not text:
        return None
    read, problem, fix = _reader(asked)
    label = read(text, candidate)
    if label is None and strict:
        raise DataError(f"the label {text[:40]!r} {problem}", where=where, fix=fix)
    return label


def _reader(asked: Asked) -> tuple[Callable[[str, Candidate], Any], str, str]:
    """How labels of a task type are read (None for what is none), what is wrong then, the fix."""
    answers = (*asked.answers, "tie") if asked.kind == "compare" else asked.answers
    if answers:
        known = {answer.casefold(): answer for answer in answers}
        fix = " | ".join(answers)
        return lambda text, _: known.get(text.casefold()), "is none of the answers", fix
    if asked.scale is not None:
        low, high = asked.scale
        fix = f"{low:g} to {high:g}"
        return lambda text, _: _number(text, low, high), "is no number of the scale", fix
    if asked.kind == "rank":
        return _order, "is no order of the items", "their numbers, best first: 2>1>3"
    if asked.output_schema is not None:
        return _json, "is not JSON", "the object that is right"
    return lambda text, _: text, "", ""


def _number(text: str, low: float, high: float) -> float | None:
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return None
    return number if low <= number <= high else None


def _order(text: str, candidate: Candidate) -> list[str] | None:
    items = candidate.fields.get("items", [])
    places = [part.strip() for part in text.replace(",", ">").split(">")]
    if sorted(places) != sorted(str(number) for number in range(1, len(items) + 1)):
        return None
    return [items[int(place) - 1] for place in places]


def _json(text: str, _: Candidate) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def review_counts(rows: Sequence[Reviewed]) -> Counter[str]:
    """How many rows are used, dropped, not reviewed; and of those used, confirmed and corrected."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.verdict or "unreviewed"] += 1
        if row.verdict == "use":
            changed = row.own_label and row.label != row.candidate.label
            counts["corrected" if changed else "confirmed"] += 1
            counts["edited"] += row.edited
    return counts
