from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.benchmark.synthetic.sampling import plan_sample
from consensus.errors import PolicyError
from consensus.policy.audit import Audit
from tests.policy.audit.audits import audit_of, task_text

CATEGORIES = "{ unused = { share = 0.75 }, used = { share = 0.25 } }"


def test_the_sample_follows_the_traffic(tmp_path: Path) -> None:
    audit = audit_of(
        tmp_path, task_text("a", monthly_volume="700"), task_text("b", monthly_volume="300")
    )
    plan = plan_sample(audit, cases=200, per_category=0, certify=False)
    assert [each.wanted for each in plan.types] == [140, 60]


def test_each_category_without_earlier_data_gets_its_least(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, task_text("a", categories=CATEGORIES))
    plan = plan_sample(audit, cases=20, per_category=50, certify=False)
    assert {cell.category: cell.wanted for cell in plan.cells} == {"unused": 75, "used": 50}


def test_earlier_data_needs_no_least(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, task_text("a", categories=CATEGORIES, prior_data="true"))
    assert plan_sample(audit, cases=20, certify=False).wanted == 20


def test_a_certificate_asks_for_both_halves(tmp_path: Path) -> None:
    (each,) = plan_sample(audit_of(tmp_path), cases=20, per_category=0).types
    assert (each.by_certificate, each.wanted) == (2 * 93, 2 * 93)
    (none,) = plan_sample(audit_of(tmp_path), cases=20, per_category=0, failures=0).types
    assert none.wanted == 2 * 59


def test_misleading_inputs_are_in_every_category_and_in_no_audit_without_them(
    tmp_path: Path,
) -> None:
    some = audit_of(tmp_path, task_text("a", categories=CATEGORIES, adversarial_share="0.02"))
    cells = plan_sample(some, cases=80, per_category=20, certify=False).cells
    assert {c.category: c.wanted for c in cells if c.adversarial} == {"unused": 5, "used": 5}
    none = audit_of(tmp_path, task_text("a", categories=CATEGORIES))
    assert not any(c.adversarial for c in plan_sample(none, certify=False).cells)


def test_what_a_suite_holds_is_not_written_again(tmp_path: Path) -> None:
    audit = audit_of(tmp_path)
    plan = plan_sample(
        audit, cases=20, per_category=0, certify=False, have={"refund": Counter({("", False): 15})}
    )
    assert (plan.wanted, plan.missing, plan.types[0].have) == (20, 5, 15)


def test_a_type_without_traffic_is_left_out_and_an_audit_without_any_refused(
    tmp_path: Path,
) -> None:
    idle = task_text("a", monthly_volume="0")
    assert [t.name for t in plan_sample(audit_of(tmp_path, idle, task_text("b"))).types] == ["b"]
    with pytest.raises(PolicyError, match="no task type has any traffic"):
        plan_sample(audit_of(tmp_path, idle))


def test_an_unknown_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match='no task type "nope"'):
        plan_sample(audit_of(tmp_path), types=("nope",))


@given(
    shares=st.lists(st.floats(0.01, 1), min_size=1, max_size=5),
    adversarial=st.floats(0, 1),
    cases=st.integers(1, 400),
    least=st.integers(0, 60),
)
def test_no_plan_wants_less_than_asked_and_strata_shares_sum_to_one(
    shares: list[float], adversarial: float, cases: int, least: int
) -> None:
    audit = Audit.model_validate(
        {
            "tasks": {
                "a": {
                    "kind": "approve",
                    "complexity": "low",
                    "consequence": "low",
                    "structured": True,
                    "monthly_volume": 10,
                    "input_tokens": {"p50": 10, "p95": 20},
                    "output_tokens": {"p50": 10, "p95": 20},
                    "adversarial_share": adversarial,
                    "categories": {f"c{i}": {"share": s} for i, s in enumerate(shares)},
                }
            }
        }
    )
    (each,) = plan_sample(audit, cases=cases, per_category=least, certify=False).types
    assert each.wanted >= max(cases, least * len(shares))
    assert sum(cell.wanted for cell in each.cells) == each.wanted
    if adversarial == 0 or all(cell.wanted for cell in each.cells if cell.adversarial):
        named = {cell.category for cell in each.cells}
        assert named == set(audit.tasks["a"].categories)
