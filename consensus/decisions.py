"""What the engine says: act, escalate or abstain, with its reasons."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from consensus.ballots import PICO, Answer, Ballot, Cost, Failure, Usage
from consensus.errors import FailureClass
from consensus.tasks import Kind

__all__ = ["Action", "Decision", "Frontier"]

Action = Literal["act", "escalate", "abstain"]


class Frontier(BaseModel):
    """What one call of the frontier model said beside the decision.

    ``agrees`` is None where either side has no outcome: no agreement can be claimed then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    served_model: str | None = None
    outcome: Answer | None = None
    agrees: bool | None = None
    cost: Cost = Cost()
    usage: Usage = Usage()
    latency_s: float = 0.0
    failure: FailureClass | None = None


class Decision(BaseModel):
    """One task's decision.

    Attributes:
        action: ``act`` (the outcome stands), ``escalate`` (there is evidence, not enough for this
            task's losses or rules, and the stronger routes were tried: a person should settle it),
            ``abstain`` (no basis for any outcome).
        outcome: the answer; None unless ``action`` is ``act``.
        posterior: option → probability after the ballots; sums to one, or is empty.
        probability: the leader's; None without a posterior.
        agreement: share of the configured seats that voted for the leader.
        tied: the options that share first place, where there is no single leader.
        calibrated: whether the posterior was calibrated on this task type's own cases.
        cost: everything this decision paid for, retries and escalations included. The frontier
            call beside it is not part of it: it has its own.
        partial: a budget or a deadline cut the decision short.
        error: why this task could not be asked at all (``decide_many`` and files); else None.
        policy_version: hash of the policy table that ruled.
        receipt_id: where the ledger keeps it; None where no ledger is kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Action
    outcome: Answer | None = None
    posterior: dict[str, float] = {}
    probability: float | None = None
    agreement: float = 0.0
    tied: tuple[str, ...] = ()
    calibrated: bool = False
    ballots: tuple[Ballot, ...] = ()
    failures: tuple[Failure, ...] = ()
    cost: Cost = Cost()
    usage: Usage = Usage()
    latency_s: float = 0.0
    reasons: tuple[str, ...] = ()
    partial: bool = False
    error: str | None = None
    task_type: str
    kind: Kind
    task_id: str | None = None
    strategy: str = ""
    route: tuple[str, ...] = ()
    policy_version: str = ""
    receipt_id: str | None = None
    frontier: Frontier | None = None

    def canonical_json(self) -> str:
        """The decision as JSON with one spelling: same decision, same bytes."""
        return json.dumps(
            self.model_dump(mode="json"),
            ensure_ascii=False,
            sort_keys=True,
            separators=(",", ":"),
            allow_nan=False,
        )

    def to_row(self, *, index: int) -> dict[str, Any]:
        """The decision as a row of an output file."""
        data = self.model_dump(mode="json")
        row: dict[str, Any] = {
            "id": self.task_id,
            "index": index,
            "action": self.action,
            "outcome": data["outcome"],
            "probability": self.probability,
            "posterior": data["posterior"],
            "agreement": self.agreement,
            "cost": {"usd": self.cost.usd},
            "ballots": [_public(b) for b in data["ballots"]],
            "failures": [_public(f) for f in data["failures"]],
            "reasons": data["reasons"],
            "receipt_id": self.receipt_id,
            "error": self.error,
        }
        if self.frontier is not None:
            row["frontier"] = _public(data["frontier"])
        return row


def _public(item: dict[str, Any]) -> dict[str, Any]:
    """Show a cost in dollars, as every published row does."""
    return {**item, "cost": {"usd": item["cost"]["pico_usd"] / PICO}}
