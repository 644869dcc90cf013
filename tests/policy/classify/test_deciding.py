"""From a task's words to its row, through the engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consensus import Approve, Choose, Engine
from consensus.assembly import conclude_receipt
from consensus.ballots import Usage
from consensus.ledger.receipts import replay
from consensus.models.protocol import Request
from consensus.models.scripted import Reply
from consensus.policy.classify import Classified
from consensus.policy.classify.deciding import by_probabilities
from tests.engine_fixtures import engine_of
from tests.policy.classify.test_linear import DATA

FILE = '[classifier]\nkind = "tfidf"\nfile = "c.json"\n'
ROWS = """
[tasks.refund]
kind = "approve"
criteria = "Within 30 days."
models = ["scripted/a"]
[tasks.bug]
kind = "choose"
models = ["scripted/b"]
"""
PRICED = "".join(
    f'[prices."scripted/{name}"]\ninput = 1.0\noutput = 1.0\n' for name in ("a", "b", "f", "c")
)


def engine_with(folder: Path, rows: str, behaviour: Any = None, **changes: object) -> Any:
    (folder / "c.json").write_text(json.dumps({**DATA, **changes}), encoding="utf-8")
    return engine_of(folder, rows, behaviour or {})


async def test_a_task_of_type_auto_gets_the_row_that_its_words_name(tmp_path: Path) -> None:
    engine, client = engine_with(tmp_path, FILE + ROWS)
    async with engine:
        decision = await engine.decide(Approve(type="auto", subject="money money"))
    assert decision.task_type == "refund"
    assert [r.model for r in client.requests] == ["scripted/a"]
    assert "Within 30 days." in client.requests[0].turns[0].text
    assert decision.reasons[0].startswith("classifier tfidf ")
    assert ": refund at 0.982 ≥ 0.700" in decision.reasons[0]


async def test_what_is_not_sure_enough_goes_to_the_default_row(tmp_path: Path) -> None:
    engine, _client = engine_with(tmp_path, FILE + ROWS)
    async with engine:
        decision = await engine.decide(Approve(type="auto", subject="neither word"))
    assert decision.task_type == "auto"
    assert "so no class" in decision.reasons[0]
    assert 'no row for type "auto"' in decision.reasons[1]


async def test_a_class_whose_row_is_of_another_kind_is_not_taken(tmp_path: Path) -> None:
    engine, _ = engine_with(tmp_path, FILE + ROWS)
    async with engine:
        decision = await engine.decide(Approve(type="auto", subject="crash"))
    assert decision.task_type == "auto"
    assert "is for tasks of kind choose, not approve" in decision.reasons[1]


async def test_a_rule_on_a_category_changes_the_row(tmp_path: Path) -> None:
    rows = (
        '[tasks.ticket]\nkind = "choose"\nmodels = ["scripted/a"]\n'
        '[[tasks.ticket.when]]\ncategory = "bug"\nmodels = ["scripted/f"]\n'
    )
    engine, client = engine_with(tmp_path, FILE + rows)
    async with engine:
        for text in ("crash crash", "money", "neither"):
            said = await engine.decide(Choose(type="ticket", subject=text, options=["x", "y"]))
            if text == "crash crash":
                assert any('category = "bug"' in reason for reason in said.reasons)
    models = [r.model for r in client.requests]
    assert models == ["scripted/f", "scripted/a", "scripted/a"]


async def test_a_task_whose_route_does_not_depend_on_it_is_not_classified(tmp_path: Path) -> None:
    engine, _ = engine_with(tmp_path, FILE + ROWS)
    async with engine:
        decision = await engine.decide(Approve(type="refund", subject="crash"))
    assert not any("classifier" in reason for reason in decision.reasons)


MODEL = (
    '[classifier]\nkind = "model"\nmodel = "scripted/c"\n'
    '[classifier.classes]\nrefund = "money back"\nbug = "something broke"\n'
)


async def test_a_models_class_is_priced_and_on_the_receipt(tmp_path: Path) -> None:
    def answer(request: Request) -> Reply:
        said = "refund" if request.model == "scripted/c" else "approve"
        return Reply(said, usage=Usage(input=100, output=10))

    engine, client = engine_with(tmp_path, PRICED + MODEL + ROWS, answer)
    async with engine:
        decision = await engine.decide(Approve(type="auto", subject="I want it back."))
        assert engine.ledger is not None
        receipt = engine.ledger.receipt(str(decision.receipt_id))
        calls = engine.ledger.calls_of(str(decision.receipt_id))
    assert decision.task_type == "refund"
    assert decision.reasons[0] == "classifier model scripted/c: refund"
    assert [call.purpose for call in calls] == ["classify", "ballot"]
    assert decision.cost.pico_usd == sum(call.cost_pico for call in calls) == 220 * 1_000_000
    assert receipt.measured["routing_pico"] == 110 * 1_000_000
    assert replay(receipt, conclude_receipt).identical
    assert "money back" in client.requests[0].turns[0].text


async def test_a_model_that_fails_leaves_the_default_row(tmp_path: Path) -> None:
    def answer(request: Request) -> Reply:
        return Reply(failure="auth") if request.model == "scripted/c" else Reply("approve")

    engine, _ = engine_with(tmp_path, MODEL + ROWS, answer)
    async with engine:
        decision = await engine.decide(Approve(type="auto", subject="I want it back."))
    assert (decision.action, decision.task_type) == ("act", "auto")
    assert decision.reasons[0] == "classifier model scripted/c: no class (auth)"


async def test_a_model_reads_no_more_than_the_limit(tmp_path: Path) -> None:
    engine, client = engine_with(tmp_path, MODEL + ROWS)
    async with engine:
        await engine.decide(Approve(type="auto", subject="words " * 50_000))
    assert len(client.requests[0].turns[0].text) < 10_000


async def test_the_cap_of_a_decision_covers_the_call_that_classified_it(tmp_path: Path) -> None:
    def answer(request: Request) -> Reply:
        said = "refund" if request.model == "scripted/c" else "approve"
        return Reply(said, usage=Usage(input=900_000, output=10))

    rows = ROWS.replace('models = ["scripted/a"]', 'models = ["scripted/a"]\nmax_usd = 0.5')
    engine, _ = engine_with(tmp_path, PRICED + MODEL + rows, answer)
    async with engine:
        decision = await engine.decide(Approve(type="auto", subject="I want it back."))
    assert {f.failure for f in decision.failures} == {"budget"}


async def test_a_new_classifier_file_comes_with_the_next_table(tmp_path: Path) -> None:
    engine, _ = engine_with(tmp_path, FILE + ROWS)
    assert isinstance(engine, Engine)
    async with engine:
        first = await engine.decide(Approve(type="auto", subject="money"))
        (tmp_path / "c.json").write_text(json.dumps({**DATA, "threshold": 0.999}))
        still = await engine.decide(Approve(type="auto", subject="money"))
        assert (await engine.reload()).reloads == 1
        after = await engine.decide(Approve(type="auto", subject="money"))
    assert [d.task_type for d in (first, still, after)] == ["refund", "refund", "auto"]


def test_two_classes_that_share_first_place_are_no_class() -> None:
    seen = by_probabilities({"a": 0.5, "b": 0.5}, 0.4, "x")
    assert seen.label is None


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (Classified("a", "a", 0.91, 0.9, "t"), "classifier t: a at 0.910 ≥ 0.900"),
        (Classified(None, "a", 0.5, 0.9, "t"), "classifier t: a at 0.500 < 0.900, so no class"),
        (
            Classified(None, "a", 0.5, 1.01, "t"),
            "classifier t: a at 0.500 < any threshold: it was never good enough to name a class",
        ),
    ],
)
def test_the_reason_says_class_probability_and_threshold(seen: Classified, said: str) -> None:
    assert seen.reason == said
