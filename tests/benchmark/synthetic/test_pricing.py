from __future__ import annotations

from pathlib import Path

import pytest

from consensus.benchmark.synthetic.pricing import estimate_profiling, stand_in
from consensus.errors import PriceError
from consensus.models.prices import PriceBook
from consensus.panel.book import load_prompts
from tests.benchmark.synthetic.test_batches import KINDS
from tests.benchmark.synthetic.writers import small_plan, table_of
from tests.policy.audit.audits import audit_of, task_text


def usd(folder: Path, cases: int = 8, **changes: str) -> float:
    audit = audit_of(folder, task_text("refund", **changes))
    table = table_of(folder)
    prices = PriceBook(overrides=table.price_overrides())
    found = estimate_profiling(
        audit,
        small_plan(audit, cases),
        ["scripted/a"],
        table=table,
        prices=prices,
        book=load_prompts(None),
    )
    assert found.models[0].calls == cases
    return found.usd


@pytest.mark.parametrize("kind", KINDS)
def test_a_stand_in_of_every_kind_has_the_plans_size(tmp_path: Path, kind: str) -> None:
    audit = audit_of(tmp_path, task_text("refund", **KINDS[kind]))
    suite = stand_in(audit, small_plan(audit, 5), table_of(tmp_path))
    assert len({case.id for case in suite.cases}) == 5


def test_more_cases_cost_more_in_proportion(tmp_path: Path) -> None:
    assert usd(tmp_path, 16) == pytest.approx(2 * usd(tmp_path, 8), rel=0.02)


def test_longer_answers_and_longer_inputs_cost_more(tmp_path: Path) -> None:
    usual = usd(tmp_path)
    assert usd(tmp_path, output_tokens="{ p50 = 500, p95 = 900 }") > 2 * usual
    assert usd(tmp_path, input_tokens="{ p50 = 4000, p95 = 9000 }") > 2 * usual


def test_a_tier_with_an_unpriced_model_is_refused(tmp_path: Path) -> None:
    audit = audit_of(tmp_path)
    with pytest.raises(PriceError):
        estimate_profiling(
            audit,
            small_plan(audit),
            ["openai/nobody-knows"],
            table=table_of(tmp_path),
            prices=PriceBook(),
            book=load_prompts(None),
        )
