"""Cases and answers as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.run_format.report import ImportReport
from consensus.errors import DataError

__all__ = [
    "MAX_CELLS",
    "VISIBLE_FIELDS",
    "CaseTable",
    "Member",
    "Price",
    "RowColumns",
    "options_of",
    "split_options",
]

MAX_OPTIONS = 1_000

MAX_CELLS = 200_000_000
"""Cases times options, and answers times options: what a table may hold of a stranger's run."""

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


def options_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The option names of a case record, in order; a list holds names."""
    given = record.get("options_order", record.get("options"))
    if isinstance(given, str):
        return split_options(given)
    return tuple(str(name) for name in given) if isinstance(given, dict | list) else ()


def split_options(text: str) -> tuple[str, ...]:
    """``A|B|C`` or the letters run together."""
    return tuple(text.split("|")) if "|" in text else tuple(text)
