"""Candidate cases, written by a model: resumable, capped, priced before.

The folder is worked on as a run's is (``design/runs.md``): ``tape.jsonl`` and ``attempts.jsonl``
hold what was paid for, so the same command goes on where it was stopped and pays for nothing twice.
Strata are worked on side by side; within one, requests follow each other, because each shows what
the earlier ones wrote.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from consensus.ballots import PICO, Failure, Usage
from consensus.benchmark.calling import HaltedError, RunBudget, RunCaller
from consensus.benchmark.estimate import (
    LATENCY_S,
    LOCAL_IN_PER_S,
    LOCAL_OUT_PER_S,
    ModelEstimate,
    RunEstimate,
)
from consensus.benchmark.paid import PaidAnswers
from consensus.benchmark.results import json_line, write_whole
from consensus.benchmark.synthetic.batches import (
    Asked,
    Candidate,
    asked_of,
    batch_of,
    make_request,
    read_cases,
)
from consensus.benchmark.synthetic.sampling import Cell, SamplePlan
from consensus.benchmark.synthetic.sieve import Sieve, unusable
from consensus.benchmark.synthetic.words import CaseWords
from consensus.errors import DataError
from consensus.models.context import CallContext
from consensus.models.factory import ClientFactory, provider_of
from consensus.models.gateway import Gateway
from consensus.models.prices import PriceBook
from consensus.models.protocol import Deadline, ModelClient
from consensus.oracles import Oracle, Ranking
from consensus.panel.asking import ask
from consensus.panel.book import PromptBook
from consensus.panel.framings import PLAIN
from consensus.panel.rendering import render
from consensus.panel.seats import Seat
from consensus.policy.audit.model import Audit
from consensus.policy.oracles import oracle_of
from consensus.policy.route import BYTES_PER_TOKEN
from consensus.policy.table import PolicyTable
from consensus.strangers import numbered_lines, parse_json

__all__ = [
    "CANDIDATES",
    "MARGIN",
    "Progress",
    "Written",
    "estimate_writing",
    "load_candidates",
    "write_candidates",
]

CANDIDATES = "candidates.jsonl"

MARGIN = 3
"""So many times the requests that would do if every case were of use; then a stratum is given up.
Small models repeat themselves."""

LOCAL_TEMPERATURE = 0.9

UNASKED = frozenset({"budget", "deadline", "cancelled"})

WHY_TOKENS = 60
"""Tokens of a case's label and reason."""

Progress = Callable[[Cell, int], None]
"""Told of every usable case of a stratum: how many it has now."""


@dataclass(slots=True)
class Written:
    """What became of the requests.

    Attributes:
        candidates: usable cases, in the plan's order.
        refused: why the others were not, with how many, by task type.
        short: strata that have fewer than was wanted, with what they lack.
        failed: replies that were no cases at all, by class of failure.
        spent_pico: everything paid for in this folder, in pico-dollars.
        sent: calls that were made this time.
        halted: why the model could not be asked to the end.
        over_budget: whether the cap ended it.
    """

    candidates: list[Candidate] = field(default_factory=list)
    refused: dict[str, Counter[str]] = field(default_factory=dict)
    short: dict[str, int] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    spent_pico: int = 0
    sent: int = 0
    halted: HaltedError | None = None
    over_budget: bool = False

    @property
    def complete(self) -> bool:
        """Whether nothing stopped it: strata may still be short of usable cases."""
        return self.halted is None and not self.over_budget

    def to_json(self) -> dict[str, Any]:
        """Counts as JSON values; the cases are in the folder."""
        return {
            "usable": len(self.candidates),
            "by_type": dict(Counter(each.task_type for each in self.candidates)),
            "refused": {name: dict(counts) for name, counts in self.refused.items()},
            "failed": dict(self.failed),
            "short": self.short,
            "calls": self.sent,
            "spent_usd": self.spent_pico / PICO,
            "complete": self.complete,
        }


@dataclass(slots=True)
class _Stratum:
    """One cell at work."""

    cell: Cell
    asked: Asked
    oracle: Oracle | None
    sieve: Sieve
    kept: list[Candidate] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)


async def write_candidates(
    audit: Audit,
    plan: SamplePlan,
    folder: Path,
    *,
    model: str,
    table: PolicyTable,
    prices: PriceBook,
    book: PromptBook,
    words: CaseWords,
    known: Mapping[str, Sequence[str]] | None = None,
    clients: Mapping[str, ModelClient] | None = None,
    batch: int | None = None,
    temperature: float | None = None,
    max_usd: float | None = None,
    concurrency: int = 8,
    progress: Progress | None = None,
    waits_s: tuple[float, ...] | None = None,
) -> Written:
    """Write the cases that a plan misses, and keep them in ``candidates.jsonl``.

    Args:
        audit, plan: what of.
        folder: made if needed; one that holds a part of it is gone on with.
        model: who writes.
        table: the policy: providers, oracles, what rows supply.
        prices, book, words: of the model; how it is asked.
        known: task type → texts that a new case may not repeat.
        clients: provider → client, in place of the real ones.
        batch: cases a request; None: four, one on this machine.
        temperature: None for the provider's default; .9 on this machine, where that is greedy.
        max_usd: the most that this folder may ever cost.
        concurrency: strata at work at once.
        progress: told of every usable case.
        waits_s: how long a busy provider is waited for; None for the usual waits.

    Raises:
        DataError: the folder is in use, or cannot be written.
        PolicyError: a task type whose cases nobody could write.
        PriceError: the model has no known price.
    """
    prices.price(model)
    size = batch or batch_of(model)
    if temperature is None and provider_of(model) == "local":
        temperature = LOCAL_TEMPERATURE
    strata = [
        _stratum(audit, cell, table, (known or {}).get(cell.task_type, ())) for cell in plan.cells
    ]
    with PaidAnswers(folder) as paid:
        factory = ClientFactory(table.provider_settings(), prices, overrides=clients or {})
        gateway = Gateway(factory, prices, sink=paid, tape=paid.tape)
        caller = RunCaller(gateway, paid)
        if waits_s is not None:
            caller = RunCaller(gateway, paid, waits_s=waits_s)
        cap = None if max_usd is None else round(max_usd * PICO)
        budget = RunBudget(cap, spent_pico=paid.spent_pico)
        written = Written()
        places = asyncio.Semaphore(concurrency)

        async def one(stratum: _Stratum) -> None:
            async with places:
                await _fill(
                    stratum, written, audit, words, model, caller, budget, book, table, size,
                    temperature, progress,
                )  # fmt: skip

        try:
            async with asyncio.TaskGroup() as group:
                for stratum in strata:
                    group.create_task(one(stratum))
        finally:
            _gather(written, strata, known or {})
            written.spent_pico, written.sent = paid.spent_pico, caller.sent
            write_whole(folder / CANDIDATES, (json_line(asdict(c)) for c in written.candidates))
            await gateway.aclose()
    return written


def _stratum(audit: Audit, cell: Cell, table: PolicyTable, known: Sequence[str]) -> _Stratum:
    task = audit.tasks[cell.task_type]
    oracle = oracle_of(table, task.oracle) if task.oracle in table.oracles else None
    if oracle is None and task.kind == "rank":
        oracle = Ranking()
    asked = asked_of(audit, cell.task_type, table)
    # small models hand back what they were shown
    shown = (*known, *task.examples, task.description, asked.criteria or "")
    return _Stratum(cell, asked, oracle, Sieve(text for text in shown if text))


async def _fill(
    stratum: _Stratum,
    written: Written,
    audit: Audit,
    words: CaseWords,
    model: str,
    caller: RunCaller,
    budget: RunBudget,
    book: PromptBook,
    table: PolicyTable,
    batch: int,
    temperature: float | None,
    progress: Progress | None,
) -> None:
    """Ask for cases until a stratum has what it wants, or is given up."""
    cell = stratum.cell
    for index in range(MARGIN * math.ceil(cell.missing / batch)):
        if len(stratum.kept) >= cell.missing or not written.complete:
            return
        task = make_request(
            audit, cell, stratum.asked, words, index=index, count=batch,
            avoid=[each.text for each in stratum.kept],
        )  # fmt: skip
        seat = Seat(0, model, PLAIN, temperature=temperature, sample=index)
        seat = replace(seat, max_output_tokens=_room(audit, cell, batch))
        context = CallContext(
            decision_id=f"{cell.name}/{index:03d}",
            seat=0,
            purpose="candidate",
            task_type=cell.task_type,
            budget=budget,
            deadline=Deadline(None),
            context_guard=table.defaults.context_guard or 0.8,
        )
        try:
            reply = await ask(task, seat, caller, context, book)
        except HaltedError as error:
            written.halted = written.halted or error
            return
        if isinstance(reply, Failure):
            if reply.failure in UNASKED:
                written.over_budget = True
                return
            stratum.failed[reply.failure] += 1
            continue
        complexity = audit.tasks[cell.task_type].complexity
        for candidate in read_cases(
            reply.answer, cell, stratum.asked, complexity=complexity, index=index,
            model=reply.served_model or model,
        ):  # fmt: skip
            _sift(stratum, candidate, progress)


def _sift(stratum: _Stratum, candidate: Candidate, progress: Progress | None) -> None:
    if unusable(candidate, stratum.asked, stratum.oracle) is not None:
        stratum.refused["unusable"] += 1
    elif (why := stratum.sieve.refuses(candidate.text)) is not None:
        stratum.refused[why] += 1
    elif len(stratum.kept) < stratum.cell.missing:
        stratum.sieve.add(candidate.text)
        stratum.kept.append(candidate)
        if progress is not None:
            progress(stratum.cell, len(stratum.kept))


def _gather(
    written: Written, strata: Sequence[_Stratum], known: Mapping[str, Sequence[str]]
) -> None:
    """All strata together: what two of them wrote alike stays with the first."""
    sieves = {stratum.cell.task_type: Sieve() for stratum in strata}
    for stratum in strata:
        name = stratum.cell.task_type
        counts = written.refused.setdefault(name, Counter())
        counts.update(stratum.refused)
        written.failed.update(stratum.failed)
        kept = 0
        for candidate in stratum.kept:
            why = sieves[name].refuses(candidate.text)
            if why is not None:
                counts[why] += 1
                continue
            sieves[name].add(candidate.text)
            written.candidates.append(candidate)
            kept += 1
        if kept < stratum.cell.missing:
            written.short[stratum.cell.name] = stratum.cell.missing - kept


def _case_tokens(audit: Audit, cell: Cell, *, long: bool = False) -> int:
    task = audit.tasks[cell.task_type]
    text = task.input_tokens.p95 if long else task.input_tokens.p50
    answer = task.output_tokens.p95 if task.kind == "generate" else 0
    return min(text, 600) + min(answer, 1_000) + WHY_TOKENS


def _room(audit: Audit, cell: Cell, batch: int) -> int:
    """Output tokens to reserve: twice the long end, within what small models can give."""
    return min(4_096, max(512, 2 * batch * _case_tokens(audit, cell, long=True)))


def estimate_writing(
    audit: Audit,
    plan: SamplePlan,
    *,
    model: str,
    table: PolicyTable,
    prices: PriceBook,
    book: PromptBook,
    words: CaseWords,
    batch: int | None = None,
    concurrency: int = 8,
) -> RunEstimate:
    """What writing the missing cases would take if every case were of use; nothing is asked.

    ``worst_usd`` is with every stratum going on until it is given up.

    Raises:
        As :func:`write_candidates`.
    """

    price = prices.price(model)
    batch = batch or batch_of(model)
    own = ModelEstimate(model, "writes")
    longest = 0.0
    total = 0.0
    for cell in plan.cells:
        calls = math.ceil(cell.missing / batch)
        if not calls:
            continue
        task = make_request(
            audit, cell, asked_of(audit, cell.task_type, table), words, index=0, count=batch
        )
        request = render(task, Seat(0, model, PLAIN), book)
        size = request.input_bytes()
        output = batch * _case_tokens(audit, cell)
        own.wanted += cell.missing
        own.calls += calls
        own.input_tokens += calls * (size // BYTES_PER_TOKEN)
        own.output_tokens += calls * output
        usage = Usage(input=size // BYTES_PER_TOKEN, output=output)
        own.usd += calls * price.cost_pico(usage) / PICO
        worst = price.worst_pico(2 * size, _room(audit, cell, batch))
        own.worst_usd += MARGIN * calls * worst / PICO
        seconds = LATENCY_S + output / 80
        if provider_of(model) == "local":
            seconds = size / BYTES_PER_TOKEN / LOCAL_IN_PER_S + output / LOCAL_OUT_PER_S
        elif provider_of(model) == "scripted":
            seconds = 0.0
        longest = max(longest, calls * seconds)
        total += calls * seconds
    at_once = 1 if provider_of(model) == "local" else concurrency
    own.seconds = max(longest, total / at_once)
    return RunEstimate([own], own.usd, own.worst_usd, own.seconds)


def load_candidates(folder: Path) -> list[Candidate]:
    """What a folder holds.

    Raises:
        DataError: it holds none, or they cannot be read.
    """
    path = folder / CANDIDATES
    try:
        return [Candidate(**parse_json(line or b"")) for _, line in numbered_lines(path)]
    except (ValueError, TypeError) as error:
        raise DataError(f"is no file of candidates: {error}", where=str(path)) from None
