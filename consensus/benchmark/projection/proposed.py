"""The policy as it would be once a proposal is accepted, as far as its cost goes."""

from __future__ import annotations

from typing import Any

from consensus.benchmark.proposals.candidates import CHOICE_KEYS
from consensus.benchmark.proposals.model import Proposal, RowProposal
from consensus.errors import PolicyError
from consensus.policy.rows import StrategyTable, TaskRow
from consensus.policy.table import PolicyTable

__all__ = ["with_proposal"]

_NO_COST = ("calibration", "aggregator", "conformal", "accept")
"""How ballots are combined; what it costs was measured, and stands in the row's profile."""


def with_proposal(table: PolicyTable, proposal: Proposal) -> PolicyTable:
    """The table with the proposal's rows, certificates and profiles.

    Calibration files are not there before the proposal is accepted, and are left out.

    Raises:
        PolicyError: the proposal is for another table, or one of its rows is no row.
    """
    if table.version_hash != proposal.policy_version:
        raise PolicyError(
            "is not the table that the proposal is for",
            where=table.source,
            fix=f"consensus policy propose {proposal.run}",
        )
    tasks = dict(table.tasks)
    named = dict(table.strategies)
    for row in proposal.rows:
        for name, strategy in row.strategies.items():
            kept = {key: value for key, value in strategy.items() if key not in _NO_COST}
            named[name] = StrategyTable.model_validate(kept)
        tasks[row.task_type] = _row(tasks.get(row.task_type), row)
    fields: dict[str, Any] = {name: getattr(table, name) for name in PolicyTable.model_fields}
    return PolicyTable(**{**fields, "tasks": tasks, "strategies": named}).located(
        {}, f"{table.source} with the proposal"
    )


def _row(old: TaskRow | None, row: RowProposal) -> TaskRow:
    kept: dict[str, Any] = {"kind": row.kind}
    if old is not None:
        kept |= old.model_dump(mode="json", exclude_unset=True, exclude_none=True, by_alias=True)
        for key in (*CHOICE_KEYS, *_NO_COST, "certificate", "profile", "shadow"):
            kept.pop(key, None)
    new = {key: value for key, value in row.new.items() if key not in _NO_COST}
    return TaskRow.model_validate(
        {**kept, **new, "certificate": row.certificate, "profile": row.profile}
    )
