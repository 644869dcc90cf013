"""A row with a profile, and days of decisions to hold against it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from consensus.ballots import Usage
from consensus.ledger import Ledger
from consensus.ledger.receipts import Receipt
from consensus.orchestrators.checks import Check, Judgement
from consensus.policy.load import load_policy
from consensus.policy.table import PolicyTable
from tests.ledger.records import call, receipt_of

DAY = 86_400.0
START = datetime(2026, 11, 2, tzinfo=UTC).timestamp()
"""Of the first watched day; the certificate is of this day."""

HEAD = """
version = 1
[tiers]
small = ["scripted/a"]
frontier = ["scripted/f"]
[defaults]
strategy = "single"
tier = "small"
"""

CERTIFICATE = """
[tasks.refund_approval.certificate]
status = "certified"
n = 200
passes = 198
bound = 0.96
floor = 0.95
delta = 0.05
method = "clopper-pearson"
route = "{a}"
oracle = "{a}"
prompts = "{a}"
suite = "{a}"
served = {{ "openai/gpt-5.4-nano" = ["openai/gpt-5.4-nano-2026-03-05"] }}
run = "runs/refunds"
date = 2026-11-02
""".format(a="a" * 64)


def policy(
    folder: Path, *, profile: str = "", row: str = "", more: str = "", certificate: bool = True
) -> Path:
    """A policy's folder with one watched row, whose profile is 50 of 500 unless it says more."""
    folder.mkdir(exist_ok=True)
    (folder / "policy.toml").write_text(
        f"""{HEAD}
{more}
[tasks.refund_approval]
kind = "approve"
escalate_to = ["frontier"]
{row}
{CERTIFICATE if certificate else ""}
[tasks.refund_approval.profile]
n = 500
escalations = 50
undecided = 10
usd_per_decision = 0.001
usd_sd = 0.0005
output_tokens = 90.0
output_tokens_sd = 20.0
frontier_n = 500
frontier_agreed = 480
{profile}
""",
        encoding="utf-8",
    )
    return folder


def table_of(folder: Path, **options: Any) -> PolicyTable:
    """The table of :func:`policy`."""
    return load_policy(policy(folder, **options), strict=False)


def decision(
    name: str,
    at: float,
    *,
    hops: int = 1,
    usd: float = 0.001,
    output: int = 90,
    checks: Sequence[Check] = (),
    judgements: Sequence[Judgement] = (),
    **fields: Any,
) -> tuple[Any, Receipt]:
    """A decision's call and receipt."""
    usage = Usage(input=500, output=output)
    one = call(name, cost_pico=round(usd * 1e12), usage=usage, started_at=at, **fields)
    receipt = receipt_of([one], receipt_id=name, hops=hops, created_at=at)
    if checks or judgements:
        last = receipt.hops[-1].model_copy(
            update={"checks": tuple(checks), "judgements": tuple(judgements)}
        )
        receipt = receipt.model_copy(update={"hops": (*receipt.hops[:-1], last)})
    return one, receipt


def keep(ledger: Ledger, made: Iterable[tuple[Any, Receipt]]) -> None:
    """Keep decisions with their calls."""
    for one, receipt in made:
        ledger.record_here(one)
        ledger.keep_here(receipt)


def day_of(day: int, n: int, further: int, **fields: Any) -> list[tuple[Any, Receipt]]:
    """One day's decisions, of which the first so many needed another hop."""
    return [
        decision(
            f"d{day:03d}-{i:05d}",
            START + day * DAY + 60 + i,
            hops=2 if i < further else 1,
            **fields,
        )
        for i in range(n)
    ]
