"""Do people agree with the oracle? A stratified sample as a sheet, and what its verdicts say.

The sample is drawn without replacement within strata (task type × complexity × passed × model), at
least one from each where there is room, the rest by the square root of a stratum's size: small
strata are not overlooked, large ones not neglected. Each answer's chance of being drawn is in the
sheet, and agreement is estimated with its inverse (Horvitz and Thompson 1952, as the ratio of
Hájek), so a stratum that was looked at more often does not count more. The sheet does not show what
the oracle said: a reviewer who knows it is no second opinion.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from consensus.benchmark.spreadsheet import cell, read_csv
from consensus.errors import DataError
from consensus.statistics import wilson
from consensus.strangers import numbered_lines, parse_json

__all__ = ["COLUMNS", "Agreement", "Review", "read_sheet", "sample_sheet"]

COLUMNS = (
    "item",
    "verdict",
    "comment",
    "task_type",
    "complexity",
    "question",
    "criteria",
    "options",
    "answer",
    "reference",
    "probability",
    "stratum",
    "stratum_size",
    "check",
)
"""``verdict`` (acceptable / not acceptable) and ``comment`` are the reviewer's."""

COLUMNS_READ = (
    "item",
    "verdict",
    "comment",
    "probability",
    "stratum",
    "stratum_size",
    "check",
)

YES = frozenset({"acceptable", "yes", "y", "1", "pass", "true"})
NO = frozenset({"not acceptable", "no", "n", "0", "fail", "false"})

_LEVELS = (
    ("task_type", "complexity", "passed", "model"),
    ("task_type", "complexity", "passed"),
    ("task_type", "passed"),
    ("passed",),
)
"""What strata are made of: the first that gives no more strata than answers are wanted."""


@dataclass(frozen=True, slots=True)
class _Item:
    name: str
    passed: bool
    case: Mapping[str, Any]
    line: Mapping[str, Any]

    @property
    def shown(self) -> str:
        """The answer as a person reads it."""
        value = self.line.get("value", self.line.get("answer"))
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    @property
    def check(self) -> str:
        """Ties a row of the sheet to the answer that it shows."""
        text = json.dumps([self.name, self.shown, self.case.get("reference")], sort_keys=True)
        return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Agreement:
    """A weighted share with its 95 % interval (Wilson at the effective number of answers)."""

    share: float
    low: float
    high: float
    n: int
    effective: float


@dataclass(slots=True)
class Review:
    """What a filled sheet says of the oracle.

    Attributes:
        agreement: how often the oracle and the person say the same, over all judged answers of the
            run.
        right_passes: of the answers that the oracle passes, the share that the person accepts.
        right_failures: of those that it fails, the share that the person does not accept.
        by_type: agreement by task type.
        judged, empty: rows with and without a verdict.
        disagreements: (item, the oracle's word, the person's comment).
        notes: what a reader must know.
    """

    agreement: Agreement
    right_passes: Agreement | None
    right_failures: Agreement | None
    by_type: dict[str, Agreement]
    judged: int
    empty: int
    disagreements: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        from dataclasses import asdict

        return asdict(self)


def sample_sheet(
    run: str | Path, *, n: int, seed: int = 0, references: bool = False
) -> tuple[str, dict[str, int]]:
    """A sheet of ``n`` judged answers of a run, as CSV text, and how many each stratum gave.

    Args:
        run: the folder of a live run or of an import.
        n: how many answers; fewer where there are not so many.
        seed: the same seed draws the same answers.
        references: show what the suite takes to be right. A reviewer who sees it judges the
            matching, and no longer the suite.

    Raises:
        DataError: the folder holds no run, or nothing in it was judged.
    """
    if n < 1:
        raise DataError(f"so few answers are none: {n}", where="--n")
    items = _items(Path(run))
    strata = _stratify(items, n)
    drawn: list[tuple[_Item, str, int, float]] = []
    sizes = _allocate({name: len(group) for name, group in strata.items()}, n)
    for name, group in sorted(strata.items()):
        # a generator of its own: another stratum's size does not change who is drawn here
        dice = random.Random(f"{seed}:{name}")  # noqa: S311 - a sample, not a secret
        chosen = dice.sample(sorted(group, key=lambda item: item.name), sizes[name])
        share = sizes[name] / len(group)
        drawn += [(item, name, len(group), share) for item in chosen]
    random.Random(f"{seed}:order").shuffle(drawn)  # noqa: S311
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for item, name, size, probability in drawn:
        # the oracle's word is part of a stratum's name, and is not shown
        hidden = hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()[:8]
        sampling = [repr(probability), hidden, str(size), item.check]
        writer.writerow([*_row(item, references=references), *sampling])
    return text.getvalue(), {name: sizes[name] for name in sorted(sizes)}


def read_sheet(run: str | Path, sheet: str | Path) -> Review:
    """Read a filled sheet back and hold it against what the oracle said.

    Raises:
        DataError: naming ``file:line``: an unknown or changed row, one that stands twice, a verdict
            that is none, a column that is missing; or no row with a verdict.
    """
    items = {item.name: item for item in _items(Path(run))}
    path = Path(sheet)
    rows = read_csv(path, COLUMNS_READ)
    judged: list[_Judged] = []
    strata: dict[str, _Stratum] = {}
    rows_of: Counter[str] = Counter()
    seen: set[str] = set()
    empty = 0
    for where, row in rows:
        item = items.get(row["item"]) or items.get(row["item"].removeprefix("'"))
        if item is None:
            raise DataError("is no answer of this run", where=where, fix="name the sheet's own run")
        if item.name in seen:
            raise DataError("stands twice", where=where)
        seen.add(item.name)
        if row["check"] != item.check:
            raise DataError("the answer behind this row is another one now", where=where)
        stratum = _stratum(row, where)
        if strata.setdefault(row["stratum"], stratum) != stratum:
            raise DataError("its stratum was changed", where=where, fix="leave it as it was")
        rows_of[row["stratum"]] += 1
        word = " ".join(row["verdict"].split()).casefold()
        if not word:
            empty += 1
        elif word in YES or word in NO:
            judged.append(_Judged(item, word in YES, row["stratum"], row["comment"]))
        else:
            raise DataError(
                f"the verdict {row['verdict'][:40]!r} is none",
                where=where,
                fix='"acceptable" or "not acceptable"',
            )
    if not judged:
        raise DataError("holds no verdict", where=str(path), fix='fill the column "verdict"')
    removed = sum(stratum.drawn for stratum in strata.values()) - sum(rows_of.values())
    return _estimate(judged, strata, empty, removed)


class _Stratum(NamedTuple):
    """How many answers it has, and how many of them were drawn."""

    size: int
    drawn: int


class _Judged(NamedTuple):
    item: _Item
    accepted: bool
    stratum: str
    comment: str

    @property
    def same(self) -> bool:
        """Whether the person and the oracle say the same."""
        return self.item.passed == self.accepted


def _estimate(
    judged: Sequence[_Judged], strata: Mapping[str, _Stratum], empty: int, removed: int
) -> Review:
    answered = Counter(row.stratum for row in judged)
    # Rows without a verdict are taken as missing at random within their stratum: the ones that
    # have one stand for all of it.
    weighed = [(row, strata[row.stratum].size / answered[row.stratum]) for row in judged]
    notes = []
    if silent := sum(not answered[name] for name in strata):
        notes.append(f"{silent} strata have no verdict at all and are left out")
    if empty:
        notes.append(f"{empty} rows are still empty")
    if removed > 0:
        notes.append(f"{removed} rows were removed from the sheet")
    types: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    for row, weight in weighed:
        types[str(row.item.case.get("task_type", ""))].append((row.same, weight))
    return Review(
        _agreement([(row.same, w) for row, w in weighed]),
        _maybe([(row.accepted, w) for row, w in weighed if row.item.passed]),
        _maybe([(not row.accepted, w) for row, w in weighed if not row.item.passed]),
        {name: _agreement(group) for name, group in sorted(types.items())},
        len(judged),
        empty,
        [
            {"item": row.item.name, "oracle": _word(row.item.passed), "comment": row.comment}
            for row in judged
            if not row.same
        ],
        notes,
    )


def _word(passed: bool) -> str:
    return "acceptable" if passed else "not acceptable"


def _maybe(rows: Sequence[tuple[bool, float]]) -> Agreement | None:
    return _agreement(rows) if rows else None


def _agreement(rows: Sequence[tuple[bool, float]]) -> Agreement:
    """A weighted share; Kish's effective size takes the weights into the interval."""
    total = sum(weight for _, weight in rows)
    share = sum(weight for good, weight in rows if good) / total
    effective = total**2 / sum(weight**2 for _, weight in rows)
    low, high = wilson(share * effective, effective)
    return Agreement(share, low, high, len(rows), effective)


# -- drawing ---------------------------------------------------------------------------------------


def _items(run: Path) -> list[_Item]:
    cases = {str(case.get("case_id")): case for case in _lines(run / "cases.jsonl")}
    items = []
    for line in _lines(run / "answers.jsonl"):
        case = cases.get(str(line.get("case")))
        if case is None or not isinstance(line.get("passed"), bool):
            continue
        name = "/".join(str(line.get(key, "")) for key in ("case", "model", "variant", "sample"))
        items.append(_Item(name, line["passed"], case, line))
    if not items:
        raise DataError("holds no judged answer", where=str(run), fix="bench run, or bench import")
    return items


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for number, raw in numbered_lines(path):
        try:
            row = parse_json(raw or b"")
        except ValueError:
            raise DataError("is not JSON", where=f"{path}:{number}") from None
        if not isinstance(row, dict):
            raise DataError("is not an object", where=f"{path}:{number}")
        found.append(row)
    return found


def _stratify(items: Sequence[_Item], n: int) -> dict[str, list[_Item]]:
    for level in _LEVELS:
        strata: dict[str, list[_Item]] = defaultdict(list)
        for item in items:
            values = {
                "task_type": item.case.get("task_type", ""),
                "complexity": item.case.get("complexity", ""),
                "passed": _word(item.passed),
                "model": item.line.get("model", ""),
            }
            strata[" / ".join(str(values[key]) for key in level)].append(item)
        if len(strata) <= n:
            return strata
    return {"all": list(items)}


def _allocate(sizes: Mapping[str, int], n: int) -> dict[str, int]:
    """How many of each: one, then by the root of the size (largest remainder), never all twice."""
    n = min(n, sum(sizes.values()))
    given = dict.fromkeys(sizes, 1)
    while (left := n - sum(given.values())) > 0:
        room = {name: size for name, size in sizes.items() if given[name] < size}
        roots = {name: size**0.5 for name, size in room.items()}
        total = sum(roots.values())
        wanted = {name: left * root / total for name, root in roots.items()}
        whole = {name: min(int(share), room[name] - given[name]) for name, share in wanted.items()}
        if not any(whole.values()):
            order = sorted(wanted, key=lambda name: (int(wanted[name]) - wanted[name], name))
            for name in order[:left]:
                given[name] += 1
            continue
        for name, count in whole.items():
            given[name] += count
    return given


def _row(item: _Item, *, references: bool) -> list[str]:
    case = item.case
    question = "\n\n".join(
        f"{key}: {_text(case[key])}" if key != "subject" else _text(case[key])
        for key in ("messages", "subject", "a", "b", "items", "scale", "question", "text")
        if key in case
    )
    closed = case.get("task_kind") in ("approve", "choose", "compare")
    options = " | ".join(map(str, case.get("options", ()))) if closed else ""
    reference = _text(case["reference"]) if references and "reference" in case else ""
    return [
        cell(item.name),
        "",
        "",
        *(
            cell(text)
            for text in (
                str(case.get("task_type", "")),
                str(case.get("complexity", "")),
                question,
                str(case.get("criteria", "")),
                options,
                item.shown,
                reference,
            )
        ),
    ]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(v, dict) and "content" in v for v in value):
        return "\n\n".join(f"{turn.get('role')}: {turn['content']}" for turn in value)
    return json.dumps(value, ensure_ascii=False)


# -- reading ---------------------------------------------------------------------------------------


def _stratum(row: Mapping[str, str], where: str) -> _Stratum:
    try:
        size = int(row["stratum_size"])
        drawn = float(row["probability"].replace(",", ".")) * size
    except ValueError:
        size, drawn = 0, 0.0
    if not 0 < drawn <= size + 1e-6 or abs(drawn - round(drawn)) > 1e-6:
        raise DataError(
            "its probability or its stratum_size was changed", where=where, fix="leave them"
        )
    return _Stratum(size, round(drawn))
