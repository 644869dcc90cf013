"""Candidates named by the engine's own agents, who judge the audit.

What they name is a candidate and no more: it is measured and certified like any other. One call,
a panel or a debate decides which strategy suits a task type, on the policy's own models; every
strategy that any seat voted for is tried, so that a split panel names more than one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from consensus.benchmark.proposals.candidates import Candidate, search, short
from consensus.benchmark.proposals.figures import money, typical
from consensus.benchmark.proposals.recording import Recording
from consensus.engine import Engine
from consensus.errors import DataError, PolicyError
from consensus.ledger import Ledger
from consensus.models.protocol import ModelClient
from consensus.policy.audit.model import Audit, AuditTask
from consensus.policy.rows import TaskRow
from consensus.policy.table import PolicyTable
from consensus.tasks import Choose

__all__ = ["JUDGING_TYPE", "Judging", "judging_row", "named_by", "namer_of"]

Judging = Literal["single", "consensus", "debate"]

JUDGING_TYPE = "strategy_proposal"
"""The task type under which the engine is asked; a policy may have its own row for it."""

CRITERIA = (
    "Choose the strategy that is likely to answer these tasks acceptably at the lowest cost. "
    "A single small model is enough for simple, well-defined questions. A vote of several models "
    "helps where their errors differ. A cascade helps where most tasks are easy and some are not. "
    "How hard a task is and how much an error costs are two questions: where an error costs much, "
    "prefer what is certain."
)

MOST_OPTIONS = 24


def namer_of(
    by: str,
    audit: Audit | None,
    *,
    clients: Mapping[str, ModelClient] | None = None,
    ledger: Ledger | bool | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Callable[[Sequence[Recording], PolicyTable], Mapping[str, Sequence[Candidate]]]:
    """Who names candidates in place of the search.

    Args:
        by: ``single``, ``consensus`` or ``debate``.
        audit: what the agents judge.
        clients, ledger: of the engine; its own by default.
        told: what was named, and what that cost.

    Raises:
        DataError: another word, or no audit to judge.
    """
    if by not in get_args(Judging):
        raise DataError(
            f'unknown "{by}"', where="--by", fix=f"search, {', '.join(get_args(Judging))}"
        )
    if audit is None:
        raise DataError(
            "agents judge the audit, and there is none",
            where="--by",
            fix="consensus audit init, or --audit FILE",
        )
    asked: Audit = audit

    def name(
        recordings: Sequence[Recording], table: PolicyTable
    ) -> Mapping[str, Sequence[Candidate]]:
        return asyncio.run(
            named_by(by, recordings, table, asked, clients=clients, ledger=ledger, told=told)  # type: ignore[arg-type] # checked above
        )

    return name


async def named_by(
    by: Judging,
    recordings: Sequence[Recording],
    table: PolicyTable,
    audit: Audit,
    *,
    clients: Mapping[str, ModelClient] | None = None,
    ledger: Ledger | bool | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> dict[str, tuple[Candidate, ...]]:
    """Ask the engine once for each task type; task type → the candidates that were voted for.

    Raises:
        PolicyError: the policy has no models to ask.
    """
    rows = {**table.tasks, JUDGING_TYPE: judging_row(by, table)}
    fields = {name: getattr(table, name) for name in PolicyTable.model_fields}
    asking = PolicyTable(**{**fields, "tasks": rows}).located(table._places, table.source)
    found: dict[str, tuple[Candidate, ...]] = {}
    async with Engine(asking, clients=clients, ledger=ledger) as engine:
        for recording in recordings:
            offered = _offered(recording)
            task = Choose(
                type=JUDGING_TYPE,
                id=recording.task_type,
                subject=describe_type(recording, audit),
                options=list(offered),
                criteria=CRITERIA,
            )
            decision = await engine.decide(task)
            voted = {str(ballot.answer) for ballot in decision.ballots}
            if decision.outcome is not None:
                voted.add(str(decision.outcome))
            found[recording.task_type] = tuple(
                Candidate(c.name, c.row, source=by) for name, c in offered.items() if name in voted
            )
            who = ", ".join(sorted(voted)) or "nothing"
            told(f"{recording.task_type}: {by} names {who} (${decision.cost.usd:.6f})")
    return found


def judging_row(by: Judging, table: PolicyTable) -> TaskRow:
    """The row that judges: the policy's own of :data:`JUDGING_TYPE`, else one made of its tiers.

    One call goes to the strongest tier, a panel to the cheapest.

    Raises:
        PolicyError: the policy has no tier.
    """
    own = table.tasks.get(JUDGING_TYPE)
    if own is not None:
        return own
    tiers = [name for name, models in table.tiers.items() if models]
    if not tiers:
        raise PolicyError("has no tier whose models could judge", where=table.source, fix="[tiers]")
    strongest = "frontier" if "frontier" in tiers else tiers[-1]
    cheapest = "small" if "small" in tiers else tiers[0]
    rows: dict[Judging, dict[str, Any]] = {
        "single": {"strategy": "single", "tier": strongest},
        "consensus": {"strategy": "vote", "tier": cheapest, "seats": 5},
        "debate": {"strategy": "debate", "tier": cheapest, "seats": 3},
    }
    return TaskRow.model_validate({"kind": "choose", "consequence": "low", **rows[by]})


def _offered(recording: Recording) -> dict[str, Candidate]:
    """The strategies to choose from, by name: of each sort, the ones with the cheapest models."""
    cost = typical(recording)
    ordered = sorted(recording.models, key=lambda m: (0.0 if math.isnan(cost[m]) else cost[m], m))
    frontier = ordered[-1]
    by_name = {
        candidate.name: candidate
        for candidate in search(
            recording, dict.fromkeys(ordered, 1.0) | cost, frontier, keep=ordered[:-1][:3]
        )
    }
    return dict(list(by_name.items())[:MOST_OPTIONS])


def describe_type(recording: Recording, audit: Audit) -> str:
    """A task type as its judges see it: the audit's words, and what each model costs a call."""
    lines = [f"task type: {recording.task_type}", f"kind: {recording.kind}"]
    asked = audit.tasks.get(recording.task_type)
    if asked is not None:
        lines += _audited(asked)
    cost = typical(recording)
    for model in sorted(recording.models, key=lambda m: (cost[m], m)):
        price = "unknown" if math.isnan(cost[model]) else money(cost[model])
        lines.append(f"model {short(model)}: {price} a call")
    return "\n".join(lines)


def _audited(asked: AuditTask) -> list[str]:
    said = {
        "description": asked.description,
        "complexity": asked.complexity,
        "consequence": asked.consequence,
        "what happens on a wrong answer": asked.on_wrong,
        "requests a month": f"{asked.monthly_volume:,}",
        "input tokens": f"{asked.input_tokens.p50:,} (p95 {asked.input_tokens.p95:,})",
        "output tokens": f"{asked.output_tokens.p50:,} (p95 {asked.output_tokens.p95:,})",
        "share of misleading inputs": f"{asked.adversarial_share:.0%}",
        "a person waits": str(asked.latency.interactive).lower() if asked.latency else "",
    }
    return [f"{name}: {value}" for name, value in said.items() if value]
