from __future__ import annotations

from datetime import date

import pytest

from consensus.models.prices import PriceBook
from consensus.panel.book import load_prompts
from consensus.policy import PolicyTable, check, load_policy, route_type
from consensus.resources import packaged
from consensus.tasks import KINDS


@pytest.fixture(scope="module")
def table() -> PolicyTable:
    return load_policy(packaged("strategies"), prompts=load_prompts(None))


def test_the_shipped_table_loads_without_a_key_and_has_no_fault(table: PolicyTable) -> None:
    faults = check(table, prompts=load_prompts(None), today=date(2026, 11, 22))
    assert [f.as_dict() for f in faults] == []


def test_the_shipped_rows_cover_every_kind(table: PolicyTable) -> None:
    assert {row.kind for row in table.tasks.values()} == set(KINDS)


@pytest.mark.parametrize(
    "task_type",
    [
        "classification",
        "extraction",
        "summarisation",
        "rag_answer",
        "reasoning",
        "code_generation",
        "refund_approval",
    ],
)
def test_the_usual_task_types_have_a_row(table: PolicyTable, task_type: str) -> None:
    assert route_type(table, task_type).reasons[0].startswith(f"row tasks.{task_type}")


def test_every_shipped_row_has_a_description_and_a_consequence(table: PolicyTable) -> None:
    assert [
        name
        for name, row in table.tasks.items()
        if not row.description or route_type(table, name).row.consequence is None
    ] == []


def test_the_tiers_go_from_cheap_to_dear(table: PolicyTable) -> None:
    book = PriceBook()

    def dearest(tier: str) -> float:
        return max(book.price(m).per_million()["output"] for m in table.tiers[tier])

    def cheapest(tier: str) -> float:
        return min(book.price(m).per_million()["output"] for m in table.tiers[tier])

    assert dearest("small") < cheapest("mid")
    assert dearest("mid") < cheapest("frontier")


def test_a_type_without_a_row_goes_to_the_middle_tier(table: PolicyTable) -> None:
    assert route_type(table, "never-heard-of").hops[0].models[0] in table.tiers["mid"]
