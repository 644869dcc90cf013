"""What stands between a row's hops and an action: its gate, its triggers, its oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from consensus.orchestrators.checks import Check
from consensus.policy.oracles import gate_name, scored_by
from consensus.policy.rows import TaskRow
from consensus.policy.table import PolicyTable

if TYPE_CHECKING:
    from consensus.policy.resolve import Hop

__all__ = ["armed"]


def armed(table: PolicyTable, row: TaskRow, hops: Sequence[Hop]) -> tuple[Hop, ...]:
    """The hops with everything that must hold before they act.

    The gate and the quality floor bind every hop, the last one too: behind it stands a person. The
    failures that send a task on bind those that have a next hop.
    """
    gate, judge = gate_name(table, row), scored_by(table, row)
    common = [] if gate is None else [Check(purpose="gate", oracle=gate)]
    triggers = row.triggers
    if triggers is not None and triggers.quality is not None and judge is not None:
        common.append(Check(purpose="quality", oracle=judge, floor=triggers.quality))
    sent_on = triggers.on if triggers is not None else ()
    made = []
    for place, hop in enumerate(hops):
        spec = hop.spec
        if sent_on and place < len(hops) - 1:
            spec = spec.model_copy(update={"escalate_on": sent_on})
        asks = judge if spec.orchestrator == "best_of_n" else None
        made.append(replace(hop, spec=spec, checks=(*hop.checks, *common), oracle=asks))
    return tuple(made)
