"""A new model or price: which rows it touches, and the part of the benchmark that is missing.

The run's own folder grows by the new model's answers (its plan, prompts and suite stay), so nothing
that was paid for is asked again; then the rows are proposed anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from consensus.benchmark.estimate import RunEstimate, estimate_run
from consensus.benchmark.plan import Plan
from consensus.benchmark.runs import Run, RunOutcome, open_run
from consensus.benchmark.suites import load_suite
from consensus.errors import DataError
from consensus.models.prices import PriceBook
from consensus.models.protocol import ModelClient
from consensus.panel.book import PromptBook
from consensus.policy.route import route_type
from consensus.policy.staleness import Current, deaths, price_changes
from consensus.policy.table import PolicyTable
from consensus.strangers import read_json

__all__ = ["Touched", "ask_new_model", "estimate_new_model", "touched_rows"]


@dataclass(frozen=True)
class Touched:
    """A row that should be chosen again, and why."""

    task_type: str
    why: tuple[str, ...]


def touched_rows(
    table: PolicyTable,
    run: Path,
    *,
    new_model: str | None,
    current: Current,
) -> tuple[Touched, ...]:
    """The rows of a run's task types that a new model, a price or a change touches.

    Args:
        table: the policy in force.
        run: a live run's folder.
        new_model: asked of every task type of the run that does not use it yet.
        current: what holds today.

    Raises:
        DataError: the folder holds no live run.
    """
    suite = load_suite(_suite_of(run))
    found = []
    for name in suite.types:
        why: list[str] = []
        row = table.tasks.get(name)
        if row is None:
            why.append("it has no row yet")
        else:
            if new_model is not None and new_model not in route_type(table, name).models:
                why.append(f"{new_model} was not there when it was chosen")
            why += deaths(table, name, current)
            if row.certificate is not None:
                why += price_changes(row.certificate, current)
            else:
                why.append("it is unproven")
        if why:
            found.append(Touched(name, tuple(why)))
    return tuple(found)


async def estimate_new_model(
    run: Path, model: str, *, table: PolicyTable, book: PromptBook
) -> RunEstimate:
    """Calls, money and time of the missing part; nothing is called.

    Raises:
        DataError, PriceError: as :func:`ask_new_model`.
    """
    prices = PriceBook(overrides=table.price_overrides())
    with await _opened(run, model, table, book, prices, None) as held:
        return estimate_run(
            held.suite, held.jobs, book=book, prices=prices, table=table, paid=held.paid
        )


async def ask_new_model(
    run: Path,
    model: str,
    *,
    table: PolicyTable,
    book: PromptBook,
    max_usd: float | None = None,
    clients: Mapping[str, ModelClient] | None = None,
) -> RunOutcome:
    """Put the run's cases to one more model, in the run's own folder; can be gone on with.

    Args:
        run: the folder.
        model: as the policy names it; with a price.
        table, book: the policy and the prompts in force.
        max_usd: the most that the folder may ever cost, what it has cost already included.
        clients: provider → client, in place of the real ones.

    Raises:
        DataError: no live run, another suite or other prompts than it was begun with.
        PriceError: the model has no known price.
    """
    prices = PriceBook(overrides=table.price_overrides())
    with await _opened(run, model, table, book, prices, clients) as held:
        return await held.go(max_usd=max_usd)


async def _opened(
    run: Path,
    model: str,
    table: PolicyTable,
    book: PromptBook,
    prices: PriceBook,
    clients: Mapping[str, ModelClient] | None,
) -> Run:
    earlier = _plan_of(run)
    plan = Plan(
        (model,),
        earlier.framings,
        earlier.samples,
        earlier.ballot,
        earlier.temperature,
        earlier.max_output_tokens,
    )
    suite = load_suite(_suite_of(run))
    return await open_run(suite, plan, run, table=table, prices=prices, book=book, clients=clients)


def _suite_of(run: Path) -> Path:
    if not (run / "run.json").exists() or not (run / "suite" / "suite.toml").exists():
        raise DataError(
            "is no run of consensus bench: it cannot be continued with another model",
            where=str(run),
            fix="consensus bench run SUITE --out RUN",
        )
    return run / "suite"


def _plan_of(run: Path) -> Plan:
    _suite_of(run)
    where = run / "run.json"
    try:
        return Plan.from_json(read_json(where)["plan"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot be read: {error}", where=str(where)) from None
