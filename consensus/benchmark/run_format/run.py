"""A benchmark run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.run_format.columns import CaseTable, Member, Price, RowColumns
from consensus.benchmark.run_format.reading import (
    NUMBERS,
    RowBuilder,
    answer_lines,
    case_lines,
    manifest_of,
    number_of,
)
from consensus.benchmark.run_format.report import ImportReport
from consensus.benchmark.run_format.writing import RunWriter
from consensus.errors import DataError

__all__ = ["RecordedRun"]

Floats = NDArray[np.float64]


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
            for key in NUMBERS:
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
        manifest = manifest_of(path)
        report = ImportReport()
        cases = CaseTable.build(case_lines(path / "cases.jsonl", report), report)
        builder = RowBuilder(cases, report)
        for where, line in answer_lines(path, report):
            builder.add(where, line)
        try:
            prices = {
                str(name): Price(**{key: number_of(each) for key, each in value.items()})
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
