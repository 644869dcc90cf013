from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.ballots import Cost
from consensus.decisions import Frontier
from consensus.errors import DataError
from consensus.ledger import receipts
from consensus.ledger.receipts import Receipt, ReceiptHop, replay, task_sha256
from consensus.tasks import Approve, Choose, Compare, Generate, Message, Rank, Score, Task
from tests.ledger.records import call, conclude, receipt_of

SECRET = "the customer's IBAN is DE02 1203 0000"

TASKS: list[Task] = [
    Approve(type="t", subject=SECRET, criteria=SECRET),
    Choose(type="t", subject=SECRET, options=("bug", "billing"), criteria=SECRET),
    Compare(type="t", subject=SECRET, a=f"{SECRET} a", b=f"{SECRET} b", criteria=SECRET),
    Rank(type="t", subject=SECRET, items=("one", "two"), criteria=SECRET),
    Score(type="t", subject=SECRET, scale=(0, 10), criteria=SECRET),
    Generate(type="t", messages=(Message(role="user", content=SECRET),), schema={"type": "object"}),
]
ANSWERS = {
    "approve": "approve",
    "choose": "bug",
    "compare": "A",
    "rank": ("two", "one"),
    "score": 7.5,
    "generate": {"list": ["a", "b"]},
}


def one(task: Task) -> Receipt:
    answer = ANSWERS[task.kind]
    return receipt_of([call(), call(seat=1)], task=task, answers=[answer, answer])  # type: ignore[list-item]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_a_receipt_read_back_is_equal_and_has_the_same_bytes(task: Task) -> None:
    receipt = one(task)
    again = Receipt.from_bytes(receipt.to_bytes())
    assert again == receipt
    assert again.to_bytes() == receipt.to_bytes()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
@pytest.mark.parametrize("kept", [True, False], ids=["text", "no text"])
def test_replay_from_the_bytes_alone_is_identical(task: Task, kept: bool) -> None:
    receipt = one(task) if kept else one(task).without_text()
    result = replay(Receipt.from_bytes(receipt.to_bytes()), conclude)
    assert result.identical
    assert result.decision.canonical_json() == receipt.decision.canonical_json()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_without_text_no_judged_text_and_no_rationale_is_left(task: Task) -> None:
    data = one(task).without_text().to_bytes().decode()
    assert SECRET not in data
    assert "it was unused" not in data


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_without_text_the_question_keeps_its_options(task: Task) -> None:
    question = one(task).without_text().question()
    assert question.options == task.options
    assert question.kind == task.kind


def test_a_rankings_answers_are_tuples_again_after_reading() -> None:
    receipt = Receipt.from_bytes(one(TASKS[3]).to_bytes())
    assert receipt.hops[0].ballots[0].answer == ("two", "one")
    assert receipt.decision.ballots[0].answer == ("two", "one")
    assert receipt.decision.outcome == ("two", "one")


def test_ballots_are_written_once() -> None:
    receipt = one(TASKS[0])
    assert receipt.to_bytes().count(b"it was unused") == 2  # one for each of two ballots


def test_a_decision_with_other_ballots_than_its_hops_keeps_its_own() -> None:
    receipt = one(TASKS[0])
    own = receipt.model_copy(
        update={"decision": receipt.decision.model_copy(update={"ballots": ()})}
    )
    assert Receipt.from_bytes(own.to_bytes()).decision.ballots == ()


def test_replay_names_the_field_that_differs() -> None:
    receipt = one(TASKS[0])
    changed = receipt.decision.model_copy(
        update={"agreement": 0.25, "cost": Cost(pico_usd=1), "reasons": ("another",)}
    )
    result = replay(receipt.model_copy(update={"decision": changed}), conclude)
    assert not result.identical
    assert result.differences == ("agreement", "cost.pico_usd", "reasons[0]")


def test_a_long_receipt_is_packed_small_and_read_back() -> None:
    receipt = receipt_of([call()], task=Approve(type="t", subject="word " * 20_000))
    packed, digest = receipt.pack()
    assert len(packed) < 10_000
    assert Receipt.from_bytes(packed) == receipt
    assert digest == receipt.sha256


def test_a_receipt_that_unfolds_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "MAX_RECEIPT_BYTES", 1_000)
    with pytest.raises(DataError, match="unfolds to more than"):
        Receipt.from_bytes(zlib.compress(b'{"a":"' + b"x" * 100_000))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\x78\x9cgarbage",
        b'{"decision":1}',
        b'{"decision":{}}',
        b'{"decision":{},"task":1}',
        b'{"decision":{},"task":{},"hops":[{}]}',
        b'{"decision":{},"task":{"kind":"rank"},"hops":3}',
        b'{"decision":' + b"[" * 100_000,
    ],
)
def test_what_is_no_receipt_is_one_clear_error(data: bytes) -> None:
    with pytest.raises(DataError, match="not a receipt") as caught:
        Receipt.from_bytes(data, where="ledger.db")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("ledger.db: ")


@given(st.binary(max_size=200))
def test_no_bytes_at_all_crash_the_reader(data: bytes) -> None:
    with pytest.raises(DataError):
        Receipt.from_bytes(data)


def test_a_receipt_of_a_newer_version_says_to_upgrade() -> None:
    data = json.loads(one(TASKS[0]).to_bytes())
    data["version"] = 99
    with pytest.raises(DataError, match=r"version 99.*upgrade consensus-engine"):
        Receipt.from_bytes(json.dumps(data).encode())


def test_a_lone_surrogate_does_not_lose_the_receipt() -> None:
    receipt = one(TASKS[5])
    hop = receipt.hops[0]
    odd = hop.ballots[0].model_copy(update={"answer": {"text": "a\ud800b"}})
    receipt = receipt.model_copy(
        update={"hops": (hop.model_copy(update={"ballots": (odd, hop.ballots[1])}),)}
    )
    again = Receipt.from_bytes(receipt.to_bytes())
    assert again.hops[0].ballots[0].answer == {"text": "a?b"}


def test_equal_questions_have_equal_hashes_whoever_asks() -> None:
    mine = Approve(type="t", id="1", subject="s")
    yours = Approve(type="t", id="2", subject="s")
    assert task_sha256(mine) == task_sha256(yours)
    assert task_sha256(mine) != task_sha256(Approve(type="t", subject="other"))


def test_a_choice_hashes_as_it_did_before_its_options_could_be_judged_texts() -> None:
    before = "67afa074d42ed41b4a98b08ca663aa8a5c3071fcc0b52b5e0da3db9ebfc2587e"
    task = Choose(type="t", subject="s", options=("a", "b"))
    assert task_sha256(task) == before
    assert task_sha256(task.model_copy(update={"judged_options": True})) != before


def test_the_frontier_beside_it_is_an_input_of_the_replay() -> None:
    beside = Frontier(model="anthropic/claude-opus-5-5", outcome="reject", cost=Cost(pico_usd=9))
    receipt = receipt_of([call()], frontier=beside)
    assert receipt.frontier == beside
    assert replay(Receipt.from_bytes(receipt.to_bytes()), conclude).identical


def test_a_hop_without_seats_is_refused() -> None:
    with pytest.raises(ValueError, match="seats"):
        ReceiptHop(name="vote", strategy={}, seats=0)
