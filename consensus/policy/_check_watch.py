"""Checks of what is watched: demotions that hold nothing, and rows that have nowhere to go."""

from __future__ import annotations

from consensus.errors import ConsensusError
from consensus.policy._checking import Findings
from consensus.policy.demotion import demotion_of, serves_by
from consensus.policy.resolve import hops_of, resolve
from consensus.policy.table import PolicyTable

__all__ = ["check_watch"]


def check_watch(table: PolicyTable, found: Findings) -> None:
    """Demotions of rows that are not there, or that are over; histories of no row; ``demote``
    without anything to go back to; an alarm that nobody hears.
    """
    for name in table.demoted:
        if name not in table.tasks:
            found.add(
                "warning",
                "demoted",
                ("demoted", name),
                "is of a task type without a row",
                f"consensus policy promote {name}",
            )
        elif demotion_of(table, name) is None:
            found.add(
                "warning",
                "demoted",
                ("demoted", name),
                "is over: the row has new evidence, or allows no demotion any more",
                f"consensus policy promote {name}",
            )
        else:
            found.add(
                "warning",
                "demoted",
                ("demoted", name),
                f"is in force: the row serves by {serves_by(table, name)}",
                f"measure it again, or consensus policy promote {name}",
            )
    for name in table.history:
        if name not in table.tasks:
            found.add(
                "warning",
                "demoted",
                ("history", name),
                "is of a task type without a row",
                "take it out, or give the row back",
            )
    for name, row in table.tasks.items():
        if (
            name not in table.history
            and row.demote
            and "frontier" not in table.tiers
            and _steps(table, name) == 1
        ):
            found.add(
                "warning",
                "demoted",
                ("tasks", name, "demote"),
                "has no effect: the row escalates to nobody, and there is no tier frontier",
                'escalate_to = ["…"], or a tier frontier',
            )
    alarms = table.alarms
    if "alarms" in table.model_fields_set and not (alarms.log or alarms.webhook or alarms.command):
        found.add(
            "warning",
            "alarms",
            ("alarms",),
            "tells nobody: the log is off, and there is neither a webhook nor a command",
            "log = true, or a webhook or command",
        )


def _steps(table: PolicyTable, name: str) -> int:
    try:
        return len(hops_of(table, resolve(table, name)))
    except ConsensusError:
        return 0  # said by the checks of the row itself
