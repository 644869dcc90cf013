"""The study: a fixed set of replays over the recorded data sets, written as Markdown.

Every figure is measured when the command runs; the declared questions are in
:mod:`consensus.benchmark.studies`. A results file may hold sections of other writers: a run
replaces what lies between its own ``<!-- study:NAME -->`` and ``<!-- /study:NAME -->`` and leaves
the rest as it is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consensus.benchmark._study_page import render_header, render_study
from consensus.benchmark.evidence import complete_cases, evidence_of, resolve_members
from consensus.benchmark.recorded import load_run
from consensus.benchmark.replay import Replay, Replayer
from consensus.benchmark.run_format.run import RecordedRun
from consensus.benchmark.strategy import leaders, mean_scores
from consensus.benchmark.studies import STUDIES
from consensus.benchmark.studies.declared import SHIPPED, Passes, Row, Single, Study, Table
from consensus.errors import DataError

__all__ = [
    "STUDIES",
    "Found",
    "Passes",
    "Row",
    "Single",
    "Study",
    "Table",
    "data_folder",
    "first_passes",
    "measure_study",
    "replace_sections",
    "select",
    "write_study",
]

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Found:
    """What one study measured.

    Attributes:
        study: what was asked.
        hashes: file name → sha256 of each file that was read.
        summary: what reading the data set found, in one line.
        singles: for each single model, the replay on complete cases and the one on all.
        first: (model, k) → cases, tie-split and strict accuracy of the first k passes' mean score,
            on the cases that all models of the table answered in full.
        passes: the replays of the same with resampled orders.
        tables: the replays of each table.
    """

    study: Study
    hashes: Mapping[str, str]
    summary: str
    singles: tuple[tuple[Replay, Replay], ...]
    first: Mapping[tuple[str, int], tuple[int, float, float]]
    passes: tuple[Replay, ...]
    tables: tuple[tuple[Replay, ...], ...]


def data_folder(given: Path | None) -> Path:
    """The folder of the data sets: as given, else ``CONSENSUS_DATA``, else beside the checkout.

    Raises:
        DataError: where there is no such folder.
    """
    named = os.environ.get("CONSENSUS_DATA")
    beside = CHECKOUT.parent / "shared" / "data"
    folder = given or (Path(named) if named else beside)
    if not folder.is_dir():
        raise DataError(
            "no such folder", where=str(folder), fix="name it with --data or CONSENSUS_DATA"
        )
    return folder


def select(names: Sequence[str], *, auto: bool = False) -> tuple[Study, ...]:
    """The studies of these names; none: all, those that search only with ``auto``.

    Raises:
        DataError: for an unknown name.
    """
    known = {study.name: study for study in STUDIES}
    for name in names:
        if name not in known:
            raise DataError(f'no study "{name}"', where="--only", fix=f"one of {', '.join(known)}")
    if names:
        wanted = {*names, *(f"{name}-auto" for name in names if auto)}
        return tuple(study for study in STUDIES if study.name in wanted)
    return tuple(study for study in STUDIES if auto or not study.searches)


def measure_study(run: RecordedRun, study: Study, hashes: Mapping[str, str]) -> Found:
    """Run a study's replays over a data set.

    Raises:
        DataError: for a model or variant that the data set does not have.
    """

    ask = Replayer(run)
    passes = study.passes
    return Found(
        study,
        hashes,
        run.report.summary(),
        tuple((ask(single.settings), ask(single.everywhere)) for single in study.singles),
        first_passes(run, passes) if passes else {},
        tuple(ask(settings) for _, _, settings in passes.rows()) if passes else (),
        tuple(tuple(ask(row.settings) for row in table.rows) for table in study.tables),
    )


def first_passes(
    run: RecordedRun, passes: Passes
) -> dict[tuple[str, int], tuple[int, float, float]]:
    """Mean score of the first k passes: (model, k) → cases, tie-split and strict accuracy.

    This is the definition of the published figures; a replay resamples the order of the passes and
    keeps the cases of two models rather than all.
    """
    found = resolve_members(run, passes.models, passes.variant)
    members = {name: found[name][0] for name in passes.models}
    part = run.take_cases(np.flatnonzero(complete_cases(run, list(members.values()))))
    result: dict[tuple[str, int], tuple[int, float, float]] = {}
    for name, member in members.items():
        evidence = evidence_of(part, [member])
        for k in passes.published[name]:
            order = np.broadcast_to(np.arange(k), (len(evidence), 1, k))
            shares = leaders(mean_scores(evidence.samples(order)), evidence.valid)
            credit = (shares * evidence.credit).sum(axis=1)
            strict = float((credit == 1).mean())
            result[name, k] = (len(evidence), float(credit.mean()), strict)
    return result


def write_study(
    data: Path,
    out: Path,
    studies: Sequence[Study],
    *,
    date: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Measure ``studies`` on the data sets in ``data`` and put their sections into ``out``.

    Args:
        data: holds a folder a data set.
        out: the results; made where it does not exist, else only these sections are replaced.
        studies: what to ask.
        date: written into the header; None: no date, and the same bytes every time.
        progress: told what is being done.

    Raises:
        DataError: for a data set that is missing, and for a results file with a section that is
            opened and not closed. Then nothing is written.
    """
    where = {study.name: _place(data, study.folder) for study in studies}
    for study in studies:
        if study.folder and not where[study.name].is_dir():
            raise DataError("no such data set", where=str(where[study.name]))
    old = out.read_text(encoding="utf-8") if out.exists() else ""
    replace_sections(old, {study.name: "" for study in studies}, where=str(out))
    sections = {"header": render_header(date)}
    loaded: tuple[str, RecordedRun] | None = None
    for study in studies:
        progress(f"{study.name}: {study.folder or 'nothing is read'}")
        if study.folder and (loaded is None or loaded[0] != study.folder):
            loaded = study.folder, load_run(where[study.name])
        if study.writer is not None:
            sections[study.name] = study.writer(loaded[1] if study.folder and loaded else None)
        elif loaded is not None:
            found = measure_study(loaded[1], study, _hashes(where[study.name]))
            sections[study.name] = render_study(found)
    # Minutes may have passed: what other writers put in meanwhile is kept.
    old = out.read_text(encoding="utf-8") if out.exists() else ""
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f"{out.name}.new")
    order = ["header", *(study.name for study in STUDIES)]
    text = replace_sections(old, sections, where=str(out), order=order)
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(out)


def replace_sections(
    text: str, sections: Mapping[str, str], *, where: str, order: Sequence[str] = ()
) -> str:
    """``text`` with these sections replaced in place.

    A new one goes after the nearest that stands before it in ``order``, else to the end.

    Raises:
        DataError: for a section that is opened and not closed, or opened twice.
    """
    for name, body in sections.items():
        start, end = f"<!-- study:{name} -->", f"<!-- /study:{name} -->"
        block = f"{start}\n{body.strip()}\n{end}"
        if text.count(start) != text.count(end) or text.count(start) > 1:
            raise DataError(
                f"the section {name} must open and close once",
                where=where,
                fix=f"{start} … {end}",
            )
        if start in text:
            head, _, rest = text.partition(start)
            if end not in rest:
                raise DataError(f"the section {name} closes before it opens", where=where)
            text = head + block + rest.partition(end)[2]
        elif before := _last_before(text, name, order):
            text = text.replace(before, f"{before}\n\n{block}", 1)
        else:
            text = f"{text.rstrip()}\n\n{block}\n" if text.strip() else f"{block}\n"
    return text


def _last_before(text: str, name: str, order: Sequence[str]) -> str:
    """The closing mark of the nearest earlier section that is there; else nothing."""
    earlier = order[: order.index(name)] if name in order else ()
    marks = (f"<!-- /study:{other} -->" for other in reversed(earlier))
    return next((mark for mark in marks if mark in text), "")


def _place(data: Path, folder: str) -> Path:
    """A data set's folder: of the data, or of the checkout where it is shipped."""
    return CHECKOUT / folder if folder.startswith(SHIPPED) else data / folder


_READ = ("answers.csv", "cases.jsonl")


def _hashes(folder: Path) -> dict[str, str]:
    names = [*(f"{name}{ending}" for name in _READ for ending in (".gz", "")), "prices.json"]
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in names
        if (folder / name).exists()
    }
