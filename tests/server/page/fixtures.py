"""A ledger of some days and a policy with a certified row, small enough to reckon with."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from consensus.ballots import Answer, Cost
from consensus.decisions import Frontier
from consensus.ledger import Ledger
from consensus.policy.load import load_policy
from consensus.policy.table import PolicyTable
from consensus.tasks import Approve, Generate, Task
from tests.ledger.records import call, receipt_of

DAY = 86_400
NOON = (int(time.time()) // DAY - 3) * DAY + DAY // 2
"""Three days ago, at noon, UTC."""

EVIL = (
    '</style><script>document.title="owned"</script><img src=x onerror=alert(1)> '
    "\u202efdp.exe\x1b[2J"
)
"""Markup, a direction mark that turns a name round, and a terminal's escape."""

POLICY = f"""
version = 1
[tiers]
small = ["scripted/a"]
frontier = ["scripted/f"]
[prices."scripted/f"]
input = 15.0
output = 75.0
[defaults]
strategy = "single"
tier = "small"
[tasks.refund]
kind = "approve"
owner = "payments"
consequence = "medium"
escalate_to = ["frontier"]
[tasks.refund.certificate]
status = "certified"
n = 200
passes = 198
bound = 0.96
floor = 0.95
delta = 0.05
method = "clopper-pearson"
route = "{"a" * 64}"
oracle = "{"a" * 64}"
prompts = "{"a" * 64}"
suite = "{"a" * 64}"
date = 2026-11-02
[tasks.refund.profile]
n = 100
escalations = 10
usd_per_decision = 0.001
frontier_n = 100
frontier_agreed = 90
"""


def table(folder: Path, text: str = POLICY) -> PolicyTable:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return load_policy(path, strict=False)


def decide(
    ledger: Ledger,
    name: str,
    *,
    task: Task | None = None,
    answers: list[Answer] | None = None,
    at: float = NOON,
    cost: int = 10**9,
    seats: int = 2,
    hops: int = 1,
    agrees: bool | None = None,
    escalate: bool = False,
    **fields: Any,
) -> str:
    """A kept decision; ``agrees`` (not None): the frontier was asked beside it."""
    asked = task or Approve(type="refund", id=f"id-{name}", subject="Unused.", criteria="30 days.")
    records = [
        call(name, seat=i, cost_pico=cost, task_type=asked.type, started_at=at, **fields)
        for i in range(seats)
    ]
    beside = None
    if agrees is not None:
        beside = Frontier(model="scripted/f", agrees=agrees, cost=Cost(pico_usd=7 * cost))
        records.append(
            call(
                name, seat=9, purpose="frontier", cost_pico=7 * cost, task_type=asked.type,
                started_at=at,
            )
        )  # fmt: skip
    for record in records:
        ledger.record_here(record)
    receipt = receipt_of(
        records, receipt_id=name, task=asked, answers=answers, frontier=beside, hops=hops,
        created_at=at,
    )  # fmt: skip
    if escalate:
        decision = receipt.decision.model_copy(update={"action": "escalate", "outcome": None})
        receipt = receipt.model_copy(update={"decision": decision})
    ledger.keep_here(receipt)
    return name


def usual(ledger: Ledger) -> None:
    """Twelve refunds over three days, five of them escalated; a hostile text among them."""
    for place in range(12):
        decide(
            ledger, f"refund-{place:02}", at=NOON + (place // 4) * DAY + place,
            hops=2 if place % 2 and place < 10 else 1,
            agrees=place != 6 if place in {2, 4, 6} else None,
        )  # fmt: skip
    decide(ledger, "waiting-1", at=NOON + 2 * DAY + 50, escalate=True)
    evil = Approve(type="refund", id=EVIL, subject=EVIL, criteria="None.")
    decide(ledger, "hostile-1", task=evil, at=NOON + 2 * DAY + 60)
    text = Generate.model_validate(
        {"type": "reply", "messages": [{"role": "user", "content": f"Say {EVIL}"}]}
    )
    decide(ledger, "written-1", task=text, answers=[EVIL, EVIL], at=NOON + 2 * DAY + 70)
