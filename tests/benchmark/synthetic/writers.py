"""A scripted model that writes cases, and what a test needs around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from consensus.benchmark.synthetic.sampling import SamplePlan, plan_sample
from consensus.benchmark.synthetic.words import load_words
from consensus.benchmark.synthetic.writing import Written, write_candidates
from consensus.models.prices import PriceBook
from consensus.models.protocol import Request
from consensus.models.scripted import ScriptedClient
from consensus.panel.book import load_prompts
from consensus.policy.audit import Audit
from consensus.policy.load import load_policy
from consensus.policy.table import PolicyTable

POLICY = """
version = 1
[tiers]
small = ["scripted/a"]
[prices."scripted/a"]
input = 1.0
output = 5.0
[oracles.refunds]
kind = "exact"
"""

Case = dict[str, Any]

THINGS = (
    "kettle", "lamp", "rucksack", "pair of running shoes", "vase", "drill", "novel", "tent",
    "keyboard", "bicycle pump", "scarf", "garden chair",
)  # fmt: skip


def novel_case(number: int, label: str = "approve") -> Case:
    """A case that is like no other."""
    thing = THINGS[number % len(THINGS)]
    return {
        "subject": f"{thing} number {number}: bought {number} days ago by customer {number * 7}, "
        f"reason {number * 13} was given for sending the {thing} back to shelf {number * 17}.",
        "label": label,
        "why": f"It was bought {number} days ago.",
    }


class Writer:
    """Answers each request with the next cases; ``make`` says what they are."""

    def __init__(self, make: Callable[[int], Case] = novel_case, count: int = 4) -> None:
        self.make, self.count = make, count
        self.requests: list[Request] = []
        self.written = 0

    def __call__(self, request: Request) -> dict[str, Any]:
        self.requests.append(request)
        cases = [self.make(self.written + place) for place in range(self.count)]
        self.written += self.count
        return {"cases": cases}

    @property
    def prompts(self) -> list[str]:
        return [request.turns[-1].text for request in self.requests]


def table_of(folder: Path, text: str = POLICY) -> PolicyTable:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return load_policy(path)


def small_plan(audit: Audit, cases: int = 8, **options: Any) -> SamplePlan:
    return plan_sample(audit, cases=cases, per_category=0, certify=False, **options)


async def write(
    audit: Audit, plan: SamplePlan, folder: Path, writer: Any, **options: Any
) -> Written:
    table = options.pop("table", None) or table_of(folder)
    return await write_candidates(
        audit,
        plan,
        folder / "profiling",
        model=options.pop("model", "scripted/a"),
        table=table,
        prices=PriceBook(overrides=table.price_overrides()),
        book=load_prompts(None),
        words=load_words(),
        clients=options.pop("clients", {"scripted": ScriptedClient(writer)}),
        waits_s=(),
        **options,
    )
