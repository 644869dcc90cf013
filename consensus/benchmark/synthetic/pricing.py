"""What measuring the sample on every tier will take, before a single case is written.

Cases that are still to be written are stood for by texts of the audit's median length; answers by
its median output. The rest is :func:`consensus.benchmark.estimate.estimate_run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from consensus.benchmark.cases import Case
from consensus.benchmark.estimate import RunEstimate, estimate_run
from consensus.benchmark.plan import Plan, make_jobs
from consensus.benchmark.suites import Suite, TaskType
from consensus.benchmark.synthetic.batches import OWN_WORDING, Asked, asked_of
from consensus.benchmark.synthetic.sampling import SamplePlan
from consensus.benchmark.synthetic.sieve import defaults_of
from consensus.models.prices import PriceBook
from consensus.oracles import Exact, Oracle
from consensus.panel.book import PromptBook
from consensus.policy.audit.model import Audit, AuditTask
from consensus.policy.oracles import oracle_of
from consensus.policy.route import BYTES_PER_TOKEN
from consensus.policy.rows import TaskRow
from consensus.policy.table import PolicyTable
from consensus.tasks import parse_task

__all__ = ["estimate_profiling", "stand_in"]


def estimate_profiling(
    audit: Audit,
    plan: SamplePlan,
    models: Sequence[str],
    *,
    table: PolicyTable,
    prices: PriceBook,
    book: PromptBook,
    concurrency: int = 100,
) -> RunEstimate:
    """Calls, tokens, money and time of the benchmark that the sample is for.

    Raises:
        PriceError: a model has no known price.
        PolicyError: a task type that could not be asked.
    """
    for model in models:
        prices.price(model)
    suite = stand_in(audit, plan, table)
    rows = {
        name: (table.tasks.get(name) or TaskRow()).model_copy(
            update={"expected_output_tokens": audit.tasks[name].output_tokens.p50}
        )
        for name in suite.types
    }
    assumed = table.model_copy(update={"tasks": {**table.tasks, **rows}})
    jobs = make_jobs(suite, Plan(tuple(models)), book)
    return estimate_run(
        suite, jobs, book=book, prices=prices, table=assumed, concurrency=concurrency
    )


def stand_in(audit: Audit, plan: SamplePlan, table: PolicyTable) -> Suite:
    """A suite of the plan's size whose texts are only as long as the real ones."""
    types: dict[str, TaskType] = {}
    cases: list[Case] = []
    for each in plan.types:
        task = audit.tasks[each.name]
        asked = asked_of(audit, each.name, table)
        oracle: Oracle = Exact()
        if task.oracle in table.oracles:
            oracle = oracle_of(table, task.oracle)
        types[each.name] = TaskType(each.name, defaults_of(asked), oracle)
        for number in range(each.wanted):
            fields = _fields(task, asked, number)
            made = parse_task({**defaults_of(asked).fields, **fields, "type": each.name})
            cases.append(Case(f"{each.name}-{number}", made))
    return Suite(Path(), "stand-in", "", "", types, tuple(cases), "")


def _fields(task: AuditTask, asked: Asked, number: int) -> dict[str, Any]:
    tokens = max(8, task.input_tokens.p50 - OWN_WORDING)
    text = f"{number} ".ljust(tokens * BYTES_PER_TOKEN, ".")
    fields: dict[str, Any] = {"kind": asked.kind}
    if asked.kind == "compare":
        half = text[: len(text) // 2]
        fields |= {"a": f"a{half}", "b": f"b{half}"}
    elif asked.kind == "rank":
        part = text[: len(text) // 4]
        fields |= {"items": [f"{place}{part}" for place in range(4)]}
    elif asked.kind == "generate":
        fields |= {"messages": [{"role": "user", "content": text}]}
    else:
        fields |= {"subject": text}
    return fields
