"""A benchmark run: cases, answers and prices as columns, and the folder that keeps them.

Live runs and imported recordings have one format; everything a figure needs is in the folder:

``manifest.json``
    format version, name, prices, where it came from, the import report.
``cases.jsonl``
    one object a case: ``case_id``, ``task_kind``, ``options``, the gold (``label``, or ``credits``:
    option → share of a right answer), and whatever else the source had.
``answers.jsonl`` (or ``answers.jsonl.gz``)
    one object an answer. Lines, because a live run appends and may be killed: a torn last line
    costs that line. Imported runs are written once and compressed.

An answer line: ``case``, ``model``, ``variant``, ``sample``, ``answer`` (option → share of the
vote, or one option's name, or null for a failure), ``failure`` (its class), ``scores`` (a number or
null for each option), ``confidence``, ``prompt_tokens``, ``completion_tokens``, ``cost_usd``,
``latency_s``, ``served_model``, ``extra`` (name → number). Missing keys are null.
"""

from __future__ import annotations

import gzip
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consensus.errors import DataError
from consensus.strangers import numbered_lines, parse_json, read_json

__all__ = [
    "FORMAT",
    "VISIBLE_FIELDS",
    "CaseTable",
    "ImportReport",
    "Member",
    "Price",
    "RecordedRun",
    "RowColumns",
    "RunWriter",
]

FORMAT = 1

MAX_OPTIONS = 1_000
MAX_CELLS = 200_000_000
"""Cases times options, and answers times options: what a table may hold of a stranger's run."""

MAX_SAMPLE = 1_000_000
MAX_EXTRA_NAMES = 200
MAX_CLASSES = 100

VISIBLE_FIELDS = frozenset(
    {"question", "text", "subject", "criteria", "input", "a", "b", "items", "messages", "scale"}
)
"""What an engine under test may see of a case, besides its options. Everything else may be gold."""

STRATUM_FIELDS = ("task_type", "dataset", "category", "subset")
"""Fields of a case that name its task type: known before any answer, so routes may use them."""

Floats = NDArray[np.float64]


class Member(NamedTuple):
    """Who answered: a model under one variant (prompt or method)."""

    model: str
    variant: str

    @property
    def name(self) -> str:
        """``model@variant``."""
        return f"{self.model}@{self.variant}"


class Price(NamedTuple):
    """What a model costs: dollars per million tokens, or dollars per call."""

    input: float | None = None
    output: float | None = None
    call: float | None = None

    def cost(self, prompt: Floats, completion: Floats) -> Floats:
        """Dollars of each call; NaN where the tokens are not known."""
        if self.call is not None:
            return np.full(prompt.shape, self.call)
        if self.input is None or self.output is None:
            return np.full(prompt.shape, np.nan)
        return (prompt * self.input + completion * self.output) / 1e6


@dataclass
class ImportReport:
    """What reading found: nothing is dropped without being counted and named here.

    Attributes:
        rows: answer rows read, good or bad.
        kept: answer rows that became answers (failures included).
        broken: reason → rows (or cases) that could not be used.
        failures: class → answers kept as failures (no readable answer).
        filtered: reason → cases left out on purpose.
        messages: the first ``limit`` broken rows, each ``file:line: what``.
        notes: what a reader of the figures must know.
    """

    rows: int = 0
    kept: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    filtered: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    limit: int = 20

    def complain(self, where: str, reason: str, detail: str = "") -> None:
        """Count one broken row, and name it while there is room."""
        self.broken[reason] += 1
        if len(self.messages) < self.limit:
            self.messages.append(f"{where}: {reason}{': ' + detail if detail else ''}")

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "rows": self.rows,
            "kept": self.kept,
            "broken": dict(sorted(self.broken.items())),
            "failures": dict(sorted(self.failures.items())),
            "filtered": dict(sorted(self.filtered.items())),
            "messages": list(self.messages),
            "notes": list(self.notes),
        }

    def summary(self) -> str:
        """One line."""
        parts = [f"{self.rows:,} rows, {self.kept:,} answers"]
        parts += [f"{n:,} failed ({why})" for why, n in sorted(self.failures.items())]
        parts += [f"{n:,} cases left out ({why})" for why, n in sorted(self.filtered.items())]
        parts += [f"{n:,} broken ({why})" for why, n in sorted(self.broken.items())]
        return "; ".join(parts)


@dataclass(frozen=True)
class CaseTable:
    """The cases.

    Attributes:
        ids: n case ids.
        options: the option names of each case; K is the longest.
        valid: (n, K) whether a case has that option.
        credit: (n, K) how right each option is, 0 … 1; a label is a row with a single 1.
        kinds: the task kind of each case, as the source names it.
        strata: the task type of each case ("" where the source has none).
        records: each case as the source has it. May hold gold: show an engine :meth:`visible`.
    """

    ids: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    valid: NDArray[np.bool_]
    credit: Floats
    kinds: tuple[str, ...]
    strata: tuple[str, ...]
    records: tuple[Mapping[str, Any], ...]

    def __len__(self) -> int:
        return len(self.ids)

    def visible(self, index: int) -> dict[str, Any]:
        """What an engine under test may be shown of a case: never its gold."""
        record = self.records[index]
        shown = {key: record[key] for key in record if key in VISIBLE_FIELDS}
        texts = record.get("options")
        if isinstance(texts, dict):
            shown["option_texts"] = [texts.get(name) for name in self.options[index]]
        elif isinstance(texts, list):
            shown["option_texts"] = list(texts)
        return {"options": list(self.options[index]), **shown}

    def take(self, rows: NDArray[np.int64]) -> CaseTable:
        """The cases at ``rows``, in that order."""
        return CaseTable(
            tuple(self.ids[i] for i in rows),
            tuple(self.options[i] for i in rows),
            self.valid[rows],
            self.credit[rows],
            tuple(self.kinds[i] for i in rows),
            tuple(self.strata[i] for i in rows),
            tuple(self.records[i] for i in rows),
        )

    @classmethod
    def build(
        cls, records: Iterable[tuple[str, Mapping[str, Any], tuple[str, ...]]], report: ImportReport
    ) -> CaseTable:
        """Check and stack cases given as (``file:line``, record, option names)."""
        ids: dict[str, int] = {}
        rows: list[tuple[Mapping[str, Any], tuple[str, ...], dict[str, float]]] = []
        for where, record, options in records:
            case_id = record.get("case_id")
            if not isinstance(case_id, str) or not case_id:
                report.complain(where, "a case without a case_id")
            elif case_id in ids:
                report.complain(where, "a case_id given twice", case_id)
            elif len(options) > MAX_OPTIONS:
                report.complain(where, f"a case with more than {MAX_OPTIONS:,} options", case_id)
            elif len(options) < 1 or len(set(options)) != len(options):
                report.complain(where, "a case without distinct options", case_id)
            else:
                gold = _gold(record, options)
                if gold is None:
                    report.complain(where, "a case whose label is not among its options", case_id)
                    continue
                ids[case_id] = len(rows)
                rows.append((record, options, gold))
        width = max((len(options) for _, options, _ in rows), default=1)
        if width * len(rows) > MAX_CELLS:
            raise DataError(
                f"{len(rows):,} cases of up to {width:,} options are more than fit a table"
            )
        valid = np.zeros((len(rows), width), dtype=bool)
        credit = np.zeros((len(rows), width))
        for i, (_, options, gold) in enumerate(rows):
            valid[i, : len(options)] = True
            for name, value in gold.items():
                credit[i, options.index(name)] = value
        return cls(
            tuple(ids),
            tuple(options for _, options, _ in rows),
            valid,
            credit,
            tuple(str(record.get("task_kind", "choice")) for record, _, _ in rows),
            tuple(_stratum(record) for record, _, _ in rows),
            tuple(record for record, _, _ in rows),
        )


def _gold(record: Mapping[str, Any], options: tuple[str, ...]) -> dict[str, float] | None:
    credits_ = record.get("credits")
    if isinstance(credits_, dict):
        known = all(
            name in options and isinstance(value, int | float) and 0 <= value <= 1
            for name, value in credits_.items()
        )
        return {name: float(value) for name, value in credits_.items()} if known else None
    label = record.get("label")
    return {label: 1.0} if isinstance(label, str) and label in options else None


def _stratum(record: Mapping[str, Any]) -> str:
    for name in STRATUM_FIELDS:
        value = record.get(name)
        if isinstance(value, str) and value:
            return value
    return ""


@dataclass(frozen=True)
class RowColumns:
    """The answers, a row each; all arrays have one length.

    Attributes:
        case, member, sample: indices.
        votes: (rows, K) shares of one vote; a failure is all zeros.
        scores: (rows, K) the score of each option, NaN where none; None if no row has any.
        failure: index into ``failure_classes``; 0 is no failure.
        confidence, prompt_tokens, completion_tokens, cost_usd, latency_s: NaN where not known.
            ``cost_usd`` here is what the source itself recorded; :meth:`RecordedRun.cost` prices
            the rest.
        extra: further numbers by name, NaN where none.
    """

    case: NDArray[np.int32]
    member: NDArray[np.int32]
    sample: NDArray[np.int32]
    votes: NDArray[np.float32]
    scores: NDArray[np.float32] | None
    failure: NDArray[np.int8]
    confidence: Floats
    prompt_tokens: Floats
    completion_tokens: Floats
    cost_usd: Floats
    latency_s: Floats
    extra: Mapping[str, Floats]
    failure_classes: tuple[str, ...] = ("", "unreadable", "off_list")

    def __len__(self) -> int:
        return len(self.case)

    def take(self, rows: NDArray[np.int64], case: NDArray[np.int32] | None = None) -> RowColumns:
        """The answers at ``rows``; ``case`` gives their new case indices."""
        return RowColumns(
            self.case[rows] if case is None else case,
            self.member[rows],
            self.sample[rows],
            self.votes[rows],
            None if self.scores is None else self.scores[rows],
            self.failure[rows],
            self.confidence[rows],
            self.prompt_tokens[rows],
            self.completion_tokens[rows],
            self.cost_usd[rows],
            self.latency_s[rows],
            {name: column[rows] for name, column in self.extra.items()},
            self.failure_classes,
        )


@dataclass(frozen=True)
class RecordedRun:
    """Everything a replay needs, in columns."""

    name: str
    cases: CaseTable
    members: tuple[Member, ...]
    rows: RowColumns
    prices: Mapping[str, Price]
    report: ImportReport
    source: Mapping[str, Any] = field(default_factory=dict)
    sample_is_order: bool = False
    """Samples are presentation orders (0 as shown, 1 swapped), not independent repetitions."""

    def models(self) -> tuple[str, ...]:
        """Model names, sorted."""
        return tuple(sorted({member.model for member in self.members}))

    def variants(self, model: str | None = None) -> tuple[str, ...]:
        """Variants of one model, or of all, sorted."""
        return tuple(sorted({m.variant for m in self.members if model in (None, m.model)}))

    def cost(self) -> Floats:
        """Dollars of each answer row: recorded, else priced by tokens; NaN where unknown."""
        result = self.rows.cost_usd.copy()
        for index, member in enumerate(self.members):
            price = self.prices.get(member.model)
            if price is None:
                continue
            here = (self.rows.member == index) & np.isnan(result)
            result[here] = price.cost(
                self.rows.prompt_tokens[here], self.rows.completion_tokens[here]
            )
        return result

    def take_cases(self, keep: NDArray[np.int64]) -> RecordedRun:
        """The run on some of its cases, in the given order."""
        new = np.full(len(self.cases), -1, dtype=np.int32)
        new[keep] = np.arange(len(keep), dtype=np.int32)
        rows = np.flatnonzero(new[self.rows.case] >= 0)
        return RecordedRun(
            self.name,
            self.cases.take(keep),
            self.members,
            self.rows.take(rows, new[self.rows.case[rows]]),
            self.prices,
            self.report,
            self.source,
            self.sample_is_order,
        )

    def save(self, folder: str | Path) -> Path:
        """Write the run to a folder (made if needed); an existing run there is an error."""
        path = Path(folder)
        if (path / "manifest.json").exists():
            raise DataError("holds a run already", where=str(path), fix="name another folder")
        writer = RunWriter(path, name=self.name, prices=self.prices, compress=True)
        writer.manifest.update(
            source=dict(self.source),
            report=self.report.to_dict(),
            sample_is_order=self.sample_is_order,
        )
        with writer:
            for i, record in enumerate(self.cases.records):
                writer.case({**record, "options_order": list(self.cases.options[i])})
            for line in self._lines():
                writer.answer(line)
        return path

    def _lines(self) -> Iterator[dict[str, Any]]:
        rows = self.rows
        for i in range(len(rows)):
            case = int(rows.case[i])
            options = self.cases.options[case]
            member = self.members[rows.member[i]]
            votes = rows.votes[i]
            named = np.flatnonzero(votes)
            answer: Any = None
            if len(named) == 1:
                answer = options[named[0]]
            elif len(named):
                answer = {options[k]: float(votes[k]) for k in named}
            line: dict[str, Any] = {
                "case": self.cases.ids[case],
                "model": member.model,
                "variant": member.variant,
                "sample": int(rows.sample[i]),
                "answer": answer,
            }
            if rows.failure[i]:
                line["failure"] = rows.failure_classes[rows.failure[i]]
            if rows.scores is not None:
                scores = rows.scores[i, : len(options)]
                if not np.isnan(scores).all():
                    line["scores"] = [None if np.isnan(s) else float(s) for s in scores]
            for key in _NUMBERS:
                value = getattr(rows, key)[i]
                if not np.isnan(value):
                    line[key] = float(value)
            extra = {k: float(v[i]) for k, v in rows.extra.items() if not np.isnan(v[i])}
            if extra:
                line["extra"] = extra
            yield line

    @classmethod
    def load(cls, folder: str | Path) -> RecordedRun:
        """Read a run's folder.

        Raises:
            DataError: naming the file, for a folder that holds no run or one of another version.
        """
        path = Path(folder)
        manifest = _manifest(path)
        report = ImportReport()
        cases = CaseTable.build(_case_lines(path / "cases.jsonl", report), report)
        builder = RowBuilder(cases, report)
        for where, line in _answer_lines(path, report):
            builder.add(where, line)
        try:
            prices = {
                str(name): Price(**{key: _number(each) for key, each in value.items()})
                for name, value in manifest.get("prices", {}).items()
            }
        except (ValueError, TypeError, AttributeError, OverflowError):
            where = str(path / "manifest.json")
            raise DataError("prices is not a table of prices", where=where) from None
        members, rows = builder.finish()
        return cls(
            str(manifest.get("name", path.name)),
            cases,
            members,
            rows,
            prices,
            report,
            manifest.get("source", {}),
            bool(manifest.get("sample_is_order", False)),
        )


_NUMBERS = ("confidence", "prompt_tokens", "completion_tokens", "cost_usd", "latency_s")


class RowBuilder:
    """Collects answer lines into columns; broken ones are counted and named in the report."""

    def __init__(self, cases: CaseTable, report: ImportReport) -> None:
        self.cases, self.report = cases, report
        self._case = {case_id: i for i, case_id in enumerate(cases.ids)}
        self._members: dict[Member, int] = {}
        self._seen: set[tuple[int, int, int]] = set()
        self._keys: list[tuple[int, int, int]] = []
        self._votes: list[NDArray[np.float32]] = []
        self._scores: list[NDArray[np.float32] | None] = []
        self._failure: list[int] = []
        self._classes: dict[str, int] = {"": 0, "unreadable": 1, "off_list": 2}
        self._numbers: list[list[float]] = []
        self._extra: list[Mapping[str, float]] = []
        self._extra_names: set[str] = set()

    def add(self, where: str, line: Mapping[str, Any]) -> None:
        """Take one answer line, or count it as broken."""
        self.report.rows += 1
        try:
            case = self._case[line["case"]]
            member = Member(str(line["model"]), str(line.get("variant") or ""))
            sample = int(line.get("sample") or 0)
            if not 0 <= sample <= MAX_SAMPLE:
                raise ValueError(f"a sample is a number from 0 to {MAX_SAMPLE:,}")
            numbers = [_number(line.get(key)) for key in _NUMBERS]
            extra = {str(k): _number(v) for k, v in (line.get("extra") or {}).items()}
            self._extra_names |= extra.keys()
            if len(self._extra_names) > MAX_EXTRA_NAMES:
                raise DataError(f"has more than {MAX_EXTRA_NAMES} extra columns", where=where)
            votes, failure = self._vote(case, line.get("answer"), line.get("failure"))
            scores = self._score_row(case, line.get("scores"))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            self.report.complain(where, "an answer that cannot be read", f"{error}")
            return
        index = self._members.setdefault(member, len(self._members))
        if (case, index, sample) in self._seen:
            self.report.complain(where, "an answer given twice", f"{line['case']} {member.name}")
            return
        self._seen.add((case, index, sample))
        self._keys.append((case, index, sample))
        self._votes.append(votes)
        if len(self._votes) * len(votes) > MAX_CELLS:
            raise DataError("more answers times options than fit a table", where=where)
        self._scores.append(scores)
        if failure not in self._classes and len(self._classes) >= MAX_CLASSES:
            failure = "unreadable"
        self._failure.append(self._classes.setdefault(failure, len(self._classes)))
        self._numbers.append(numbers)
        self._extra.append(extra)
        self.report.kept += 1
        if failure:
            self.report.failures[failure] += 1

    def _vote(self, case: int, answer: Any, failure: Any) -> tuple[NDArray[np.float32], str]:
        votes = np.zeros(self.cases.valid.shape[1], dtype=np.float32)
        options = self.cases.options[case]
        if answer is None or failure:
            return votes, str(failure or "unreadable")
        shares = {answer: 1.0} if isinstance(answer, str) else dict(answer)
        if not set(shares) <= set(options):
            return votes, "off_list"
        for name, share in shares.items():
            votes[options.index(name)] = share
        total = float(votes.sum())
        if not math.isclose(total, 1.0, abs_tol=1e-4) or votes.min() < 0:
            raise ValueError("the shares of a vote must sum to one")
        return votes, ""

    def _score_row(self, case: int, scores: Any) -> NDArray[np.float32] | None:
        if scores is None:
            return None
        if len(scores) != len(self.cases.options[case]):
            raise ValueError("scores must have one number an option")
        row = np.full(self.cases.valid.shape[1], np.nan, dtype=np.float32)
        row[: len(scores)] = [_number(value) for value in scores]
        return row

    def finish(self) -> tuple[tuple[Member, ...], RowColumns]:
        """The members and the columns, sorted by case, member name and sample."""
        names = sorted(self._members)
        rank = {self._members[m]: i for i, m in enumerate(names)}
        width = self.cases.valid.shape[1]
        keys = np.array(self._keys, dtype=np.int32).reshape(-1, 3)
        keys[:, 1] = [rank[int(i)] for i in keys[:, 1]]
        order = np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0]))
        numbers = np.array(self._numbers, dtype=float).reshape(-1, len(_NUMBERS))[order]
        scores = None
        if any(row is not None for row in self._scores):
            blank = np.full(width, np.nan, dtype=np.float32)
            scores = np.array([blank if r is None else r for r in self._scores])[order]
        extra_names = sorted(self._extra_names)
        rows = RowColumns(
            keys[order, 0],
            keys[order, 1],
            keys[order, 2],
            np.array(self._votes, dtype=np.float32).reshape(-1, width)[order],
            scores,
            np.array(self._failure, dtype=np.int8)[order],
            numbers[:, 0],
            numbers[:, 1],
            numbers[:, 2],
            numbers[:, 3],
            numbers[:, 4],
            {n: np.array([x.get(n, np.nan) for x in self._extra])[order] for n in extra_names},
            tuple(self._classes),
        )
        return tuple(names), rows


class RunWriter:
    """Writes a run's folder, a line at a time.

    A live run opens it again after a crash: cases and answers that are there already stay, and
    :attr:`done` says which answers need no further call. A torn last line is cut off first.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        prices: Mapping[str, Price] | None = None,
        compress: bool = False,
    ) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = {
            "format": FORMAT,
            "name": name,
            "prices": {
                model: {k: v for k, v in price._asdict().items() if v is not None}
                for model, price in sorted((prices or {}).items())
            },
        }
        self.done: set[tuple[str, str, str, int]] = set()
        self._compress = compress
        self._cases: IO[str] | None = None
        self._answers: IO[str] | None = None
        self._known: set[str] = set()

    def __enter__(self) -> RunWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        cases = self.folder / "cases.jsonl"
        report = ImportReport()
        if (self.folder / "manifest.json").exists():
            _manifest(self.folder)
            _mend(cases)
            _mend(self.folder / "answers.jsonl")
            self._known = {str(r.get("case_id")) for _, r, _ in _case_lines(cases, report)}
            for _, line in _answer_lines(self.folder, report):
                self.done.add(
                    (
                        str(line["case"]),
                        str(line["model"]),
                        str(line.get("variant") or ""),
                        int(line.get("sample") or 0),
                    )
                )
        self._cases = cases.open("a", encoding="utf-8")
        if self._compress:
            # A fixed time stamp keeps the same run byte-identical.
            raw = gzip.GzipFile(self.folder / "answers.jsonl.gz", "wb", compresslevel=6, mtime=0)
            import io

            self._answers = io.TextIOWrapper(raw, encoding="utf-8")
        else:
            self._answers = (self.folder / "answers.jsonl").open("a", encoding="utf-8")
        self.write_manifest()
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._cases, self._answers):
            if stream is not None:
                stream.close()
        self.write_manifest()

    def write_manifest(self) -> None:
        """Write ``manifest.json`` whole, or not at all."""
        target = self.folder / "manifest.json"
        temporary = target.with_suffix(".json.part")
        text = json.dumps(self.manifest, ensure_ascii=False, indent=1, sort_keys=True)
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(target)

    def case(self, record: Mapping[str, Any]) -> None:
        """Add a case; one that is there already is left as it is."""
        case_id = str(record["case_id"])
        if self._cases is None:
            raise RuntimeError("open the writer with a with statement first")
        if case_id not in self._known:
            self._known.add(case_id)
            self._cases.write(_line(record))

    def answer(self, line: Mapping[str, Any], *, durable: bool = False) -> None:
        """Append an answer line; ``durable`` waits until it is on disk."""
        if self._answers is None:
            raise RuntimeError("open the writer with a with statement first")
        self._answers.write(_line(line))
        if durable:
            self._answers.flush()
            os.fsync(self._answers.fileno())


def options_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The option names of a case record, in order; a list holds names."""
    given = record.get("options_order", record.get("options"))
    if isinstance(given, str):
        return split_options(given)
    return tuple(str(name) for name in given) if isinstance(given, dict | list) else ()


def split_options(text: str) -> tuple[str, ...]:
    """``A|B|C`` or the letters run together."""
    return tuple(text.split("|")) if "|" in text else tuple(text)


def _number(value: Any) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected a number, found {value!r}")
    return float(value)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.exists():
        raise DataError("no run here: manifest.json is missing", where=str(folder))
    try:
        manifest = read_json(path)
    except ValueError:
        raise DataError("is not JSON", where=str(path)) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"is not a run of format {FORMAT}", where=str(path))
    return manifest


def _mend(path: Path) -> None:
    """Cut off a last line that a crash left without its end."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as stream:
        data = stream.read()
        if not data.endswith(b"\n"):
            stream.truncate(data.rfind(b"\n") + 1)


def _json_lines(
    path: Path, report: ImportReport, what: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not path.exists():
        raise DataError("is missing", where=str(path))
    for number, raw in numbered_lines(path):
        where = f"{path}:{number}"
        try:
            record = parse_json(raw or b"")
        except UnicodeDecodeError as error:
            raise DataError(f"is not UTF-8 (byte {error.start})", where=where) from None
        except ValueError:
            report.complain(where, f"{what} that is not JSON")
            continue
        if isinstance(record, dict):
            yield where, record
        else:
            report.complain(where, f"{what} that is not an object")


def _case_lines(
    path: Path, report: ImportReport
) -> Iterator[tuple[str, Mapping[str, Any], tuple[str, ...]]]:
    for where, record in _json_lines(path, report, "a case"):
        yield where, record, options_of(record)


def _answer_lines(folder: Path, report: ImportReport) -> Iterator[tuple[str, Mapping[str, Any]]]:
    paths: Sequence[Path] = [
        path for path in (folder / "answers.jsonl.gz", folder / "answers.jsonl") if path.exists()
    ]
    if not paths:
        raise DataError("answers.jsonl is missing", where=str(folder))
    for path in paths:
        yield from _json_lines(path, report, "an answer")
