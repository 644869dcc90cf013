"""From a run to a proposal: candidates chosen on one half of the cases, certified on the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from consensus.benchmark.proposals.candidates import Candidate, choice_of, single
from consensus.benchmark.proposals.halves import (
    TypeRun,
    comparable,
    frontier_of,
    left_out,
    notes_of,
    recordings_of,
    split_type,
)
from consensus.benchmark.proposals.model import Measured, Proposal, RowProposal
from consensus.benchmark.proposals.proposed_rows import row_proposal
from consensus.benchmark.proposals.serving import NotRecordedError
from consensus.benchmark.proposals.settings import ProposalSettings
from consensus.benchmark.proposals.trying import (
    Tried,
    coins,
    first_line,
    in_time,
    searched,
    sequence_of,
    try_candidate,
)
from consensus.benchmark.recorded import load_run
from consensus.benchmark.run_format.run import RecordedRun
from consensus.errors import ConsensusError, DataError
from consensus.models.prices import PriceBook
from consensus.panel.book import PromptBook
from consensus.policy.audit.model import Audit
from consensus.policy.certifying import Ruling, certify
from consensus.policy.table import PolicyTable

__all__ = ["propose"]


def propose(
    folder: str | Path,
    table: PolicyTable,
    settings: ProposalSettings,
    *,
    book: PromptBook,
    audit: Audit | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Proposal:
    """Propose a row for every task type of a run.

    Args:
        folder: a run of ``consensus bench``, or a folder of recorded answers.
        table: the policy in force; its rows say what stays.
        settings: see :class:`ProposalSettings`.
        book: the project's prompts.
        audit: volumes, and consequences of task types without a row.
        progress: told what is being done.

    Raises:
        DataError: the run cannot be read, or has nothing of what was asked for.
    """
    path = Path(folder)
    run = load_run(path)
    prices = PriceBook(overrides=table.price_overrides())
    skipped: dict[str, str] = {}
    recordings = recordings_of(run, path, table, settings, book, prices, skipped)
    named: Mapping[str, Sequence[Candidate]] | None = None
    if settings.namer is not None:
        named = settings.namer(recordings, table)
    rows = []
    frontier = ""
    notes = notes_of(run, path)
    for recording in recordings:
        name = recording.task_type
        progress(f"{name}: {len(recording):,} cases, {len(recording.models)} models")
        try:
            left = left_out(recording)
            if left:
                notes.append(f"{name}: {left}")
            frontier = frontier_of(recording, table, settings)
            known, unpriced = comparable(recording, frontier)
            if unpriced:
                notes.append(f"{name}: no known price, left out: {', '.join(unpriced)}")
            split = split_type(known, path, table, book, prices, frontier, settings, audit)
            given = None if named is None else named.get(name, ())
            rows.append(_propose_row(run, split, settings, audit, given, progress))
        except (DataError, NotRecordedError) as error:
            skipped[name] = str(error)
    if not rows and not skipped:
        raise DataError("has no task type to propose a row for", where=str(path))
    rows.sort(key=lambda row: (-(row.saving_usd or 0.0), -(row.monthly_volume or 0), row.task_type))
    return Proposal(
        policy=table.source,
        policy_version=table.version_hash,
        run=str(folder),
        frontier=settings.frontier or frontier,
        by=settings.by,
        seed=settings.seed,
        date=settings.today.isoformat(),
        rows=tuple(rows),
        skipped=skipped,
        notes=tuple(notes),
    )


def _propose_row(
    run: RecordedRun,
    split: TypeRun,
    settings: ProposalSettings,
    audit: Audit | None,
    named: Sequence[Candidate] | None,
    progress: Callable[[str], None],
) -> RowProposal:
    recording, table = split.recording, split.table
    left_out: list[Measured] = []
    plain = single(recording, split.frontier)
    top = try_candidate(split, plain)
    row = table.tasks.get(recording.task_type)
    now: Tried | None = None
    tried = [top]
    if row is not None:
        current = Candidate("the row in force", choice_of(row), source="current")
        try:
            now = try_candidate(split, current)
            tried.append(now)
        except (NotRecordedError, ConsensusError) as error:
            left_out.append(Measured(name=current.name, source="current", row=dict(current.row),
                                     left_out=first_line(error)))  # fmt: skip
    candidates = named if named is not None else list(searched(run, split, settings))
    for candidate in candidates:
        if candidate.row == plain.row:
            continue
        try:
            tried.append(try_candidate(split, candidate))
        except (NotRecordedError, ConsensusError, ValueError) as error:
            left_out.append(
                Measured(
                    name=candidate.name,
                    source=candidate.source,
                    row=dict(candidate.row),
                    left_out=first_line(error),
                )
            )
    if named is None:
        tried += coins(split, tried, top, progress)
    quick = in_time(split, tried, left_out)
    sequence = sequence_of(quick)
    credits_ = [t.served.credit[split.test] for t in sequence]
    cheaper = next((i for i, t in enumerate(sequence) if t.cost < top.cost), len(sequence))
    ruling = certify(credits_, split.bar, cheaper=cheaper, grid=settings.grid)
    chosen = _serving(ruling, sequence, [one for one in (now, top) if one in quick])
    return row_proposal(split, settings, audit, ruling, sequence, chosen, now, top, quick, left_out)


def _serving(ruling: Ruling, sequence: Sequence[Tried], fast: Sequence[Tried]) -> Tried:
    """Who serves: the route ruled for; uncertifiable: the row in force; failed: the frontier.

    Args:
        ruling: of the sequence.
        sequence: the best and dearest first.
        fast: of the row in force and the frontier, in this order, what callers can wait for; the
            best of the rest where that is neither.
    """
    if ruling.chosen is not None:
        return sequence[ruling.chosen]
    if not fast:
        return sequence[0]
    return fast[0] if ruling.status == "uncertifiable" else fast[-1]
