"""Existing traffic as cases and recorded answers (design/runs.md).

:func:`import_traffic` reads logs, guesses task types, and writes a folder: the run format (so that
``bench replay`` reads it), ``types.toml`` for review, the draft of a suite, and what it all cost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consensus.benchmark.importing.building import Built, build
from consensus.benchmark.importing.costing import TypeCost, cost_table
from consensus.benchmark.importing.grouping import Group, find_groups
from consensus.benchmark.importing.reading import FORMATS, LogFormat, read_logs
from consensus.benchmark.importing.sheet import apply_sheet, sheet_text
from consensus.benchmark.results import json_line, write_whole
from consensus.benchmark.run_format.reading import FORMAT
from consensus.benchmark.run_format.report import ImportReport
from consensus.errors import DataError
from consensus.models.prices import PriceBook

__all__ = ["FORMATS", "Imported", "LogFormat", "import_traffic"]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import found and wrote."""

    folder: Path
    report: ImportReport
    groups: tuple[Group, ...]
    costs: tuple[TypeCost, ...]
    cases: int
    answers: int
    labelled: int
    referenced: int


def import_traffic(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    prices: PriceBook,
    alternatives: Sequence[str] = (),
    grader: str = "anthropic/claude-opus-5-5",
    types: Path | None = None,
    form: LogFormat = "auto",
    reference: str | None = None,
    limit: int = 200_000,
) -> Imported:
    """Import logs into a folder.

    Args:
        paths: log files: our own shape, LiteLLM's standard logging payload, OpenAI's request and
            response or batch files, OTLP JSON with GenAI spans; JSONL, plain or ``.gz``.
        out: the folder; an earlier import there is replaced, anything else is not.
        prices: today's prices, for costs that the logs do not give.
        alternatives: models whose price for the same tokens is worked out.
        grader: named in the draft suite where free text must be graded.
        types: a reviewed sheet.
        form: what the rows are; ``auto`` looks at each.
        reference: the model whose recorded answer stands for a missing label; None: the first.
        limit: the most calls that are read.

    Raises:
        DataError: a file or the sheet cannot be read, nothing in it can be used, or the folder
            holds something else.
        PriceError: an alternative has no known price.
    """
    folder = Path(out)
    _check_folder(folder)
    report = ImportReport()
    files = [Path(path) for path in paths]
    exchanges = read_logs(files, report, form=form, limit=limit)
    if not exchanges:
        first = f": {report.messages[0]}" if report.messages else ""
        raise DataError(f"nothing that can be used{first}", where=", ".join(map(str, files)))
    groups = find_groups(exchanges)
    notes = apply_sheet(groups, types) if types is not None else []
    costs = cost_table(groups, exchanges, prices, alternatives)
    built = build(groups, exchanges, report, prices, reference=reference)
    if built.referenced:
        notes.append(
            f"{built.referenced:,} of {len(built.cases):,} cases have no label: a recorded answer "
            "stands for it, so accuracy means agreement with that answer"
        )
    report.notes += notes
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "types.toml", [sheet_text(groups, exchanges)])
    write_whole(folder / "cases.jsonl", map(json_line, built.cases))
    write_whole(folder / "answers.jsonl", map(json_line, built.answers))
    _write_suite(folder / "suite", built, grader)
    manifest = _manifest(folder, files, report, costs, prices, exchanges)
    text = json.dumps(manifest, ensure_ascii=False, indent=1, sort_keys=True)
    write_whole(folder / "manifest.json", [text + "\n"])
    return Imported(
        folder,
        report,
        tuple(groups),
        tuple(costs),
        len(built.cases),
        len(built.answers),
        built.labelled,
        built.referenced,
    )


def _check_folder(folder: Path) -> None:
    manifest = folder / "manifest.json"
    if not manifest.exists():
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "types.toml").exists():
            raise DataError("is not empty", where=str(folder), fix="name another folder")
        return
    try:
        source = json.loads(manifest.read_text(encoding="utf-8")).get("source", {})
    except (OSError, ValueError, AttributeError):
        source = {}
    if not isinstance(source, dict) or source.get("import") is not True:
        raise DataError("holds a run already", where=str(folder), fix="name another folder")


def _manifest(
    folder: Path,
    files: Sequence[Path],
    report: ImportReport,
    costs: Sequence[TypeCost],
    prices: PriceBook,
    exchanges: Sequence[Any],
) -> dict[str, Any]:
    known = {}
    for model in sorted({e.model for e in exchanges}):
        if prices.knows(model):
            rates = prices.price(model).per_million()
            known[model] = {"input": rates["input"], "output": rates["output"]}
    return {
        "format": FORMAT,
        "name": folder.name,
        "prices": known,
        "sample_is_order": False,
        "source": {
            "import": True,
            "files": {path.name: _digest(path) for path in files},
            "prices_sha256": prices.sha256,
            "prices_date": prices.date.isoformat(),
        },
        "report": report.to_dict(),
        "traffic": [cost.to_json() for cost in costs],
    }


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_suite(folder: Path, built: Built, grader: str) -> None:
    """The draft of a suite: every case that has a label, or an answer that stands for one."""
    if not built.suite_cases:
        return
    lines = [
        '# Drafted from a log. Labels marked "a recorded answer" in cases.jsonl are what a model\n',
        "# said, and were checked by nobody: read them before you trust a figure.\n",
        "version = 1\n",
        f"name = {json.dumps('imported-' + hashlib.sha256(_names(built)).hexdigest()[:8])}\n",
    ]
    for name, known in sorted(built.types.items()):
        lines += ["\n", f"[types.{json.dumps(name)}]\n", f"kind = {json.dumps(known['kind'])}\n"]
        if known["kind"] == "score":
            low, high = known["scale"]
            lines.append(f'oracle = {{ kind = "numeric", absolute = {(high - low) / 10!r} }}\n')
        elif known["kind"] == "generate":
            lines.append(_generate_oracle(known, grader))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "suite.toml", lines)
    write_whole(folder / "cases.jsonl", map(json_line, built.suite_cases))


def _names(built: Built) -> bytes:
    return "\0".join(case["id"] for case in built.suite_cases).encode(errors="replace")


SHORT = 80
"""Characters of an answer that may be compared word by word."""


def _generate_oracle(known: dict[str, Any], grader: str) -> str:
    if known["json"]:
        return 'oracle = { kind = "fields" }\n'
    if known["longest"] <= SHORT:
        return 'oracle = { kind = "exact", normalisation = ["unicode", "space", "case"] }\n'
    return f'oracle = {{ kind = "rubric", grader = {json.dumps(grader)} }}\n'
