from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consensus.errors import LedgerError, TaskError
from consensus.ledger import Ledger
from consensus.ledger.feedback import (
    check_label,
    give_label,
    label_outcomes,
    labels_in_force,
    labels_of,
    queue,
    read_label,
)
from consensus.ledger.quality import label_evidence
from consensus.ledger.shadows import Shadow, keep_shadow
from consensus.ledger.verify import verify
from consensus.models.coins import drawn
from consensus.statistics import beta_lcb
from consensus.tasks import Approve, Choose, Compare, Generate, Message, Rank, Score, Task
from tests.ledger.records import call, receipt_of

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
APPROVE = Approve(type="refund_approval", subject="s", criteria="c")
CHOOSE = Choose(type="t", subject="s", options=["red", "blue"], criteria="c")
COMPARE = Compare(type="t", subject="s", a="x", b="y", criteria="c")
RANK = Rank(type="t", subject="s", items=["x", "y", "z"], criteria="c")
TOP = Rank(type="t", subject="s", items=["x", "y", "z"], criteria="c", top=1)
SCORE = Score(type="t", subject="s", scale=(1, 5), criteria="c")
TEXT = Generate(type="t", messages=[Message(role="user", content="q")])
OBJECT = Generate(type="t", messages=[Message(role="user", content="q")], schema=SCHEMA)


@pytest.fixture
def book(tmp_path: Path) -> Any:
    with Ledger(tmp_path / "ledger.db") as ledger:
        yield ledger


def keep(book: Ledger, name: str, *, action: str = "act", at: float = 1000.0) -> None:
    """A decision that approved, or that was left to a person."""
    receipt = receipt_of([call(name)], receipt_id=name, task=APPROVE, created_at=at)
    if action != "act":
        left = receipt.decision.model_copy(update={"action": action, "outcome": None})
        receipt = receipt.model_copy(update={"decision": left})
    book.keep_here(receipt)


@pytest.mark.parametrize(
    ("task", "label", "kept"),
    [
        (APPROVE, "reject", "reject"),
        (CHOOSE, "blue", "blue"),
        (COMPARE, "tie", "tie"),
        (RANK, ["z", "x", "y"], ("z", "x", "y")),
        (TOP, ["z"], ("z",)),
        (TOP, ["z", "y", "x"], ("z", "y", "x")),
        (SCORE, 4, 4.0),
        (TEXT, "an answer", "an answer"),
        (TEXT, False, False),
        (OBJECT, {"n": 1}, {"n": 1}),
    ],
)
def test_a_label_is_an_answer_of_the_tasks_own(task: Task, label: Any, kept: Any) -> None:
    assert check_label(task, label) == kept


@pytest.mark.parametrize(
    ("task", "label", "said"),
    [
        (APPROVE, "yes", "one of approve, reject"),
        (APPROVE, True, "one of approve, reject"),
        (CHOOSE, "green", "one of red, blue"),
        (RANK, ["x", "y"], "every item once"),
        (RANK, ["x", "y", "y"], "every item once"),
        (RANK, "x", "best first"),
        (TOP, ["z", "y"], "the best 1 items"),
        (SCORE, 6, "a number from 1 to 5"),
        (SCORE, float("nan"), "a number from 1 to 5"),
        (SCORE, True, "a number from 1 to 5"),
        (TEXT, "  ", "right or wrong"),
        (OBJECT, {"n": "one"}, "right or wrong"),
    ],
)
def test_anything_else_is_refused_with_what_it_may_be(task: Task, label: Any, said: str) -> None:
    with pytest.raises(TaskError, match="label") as raised:
        check_label(task, label)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("task", "typed", "kept"),
    [
        (SCORE, "3.5", 3.5),
        (RANK, '["z", "x", "y"]', ("z", "x", "y")),
        (OBJECT, '{"n": 2}', {"n": 2}),
        (TEXT, "right", True),
        (OBJECT, "wrong", False),
    ],
)
def test_a_typed_label_is_read_by_the_tasks_kind(task: Task, typed: str, kept: Any) -> None:
    assert read_label(task, typed) == kept


def test_a_later_label_supersedes_and_the_earlier_one_is_kept(book: Ledger) -> None:
    keep(book, "decision-1")
    first = give_label(book, "decision-1", "reject", by="ada", at=1.0)
    second = give_label(book, "decision-1", "approve", by="bob", probability=0.5, at=2.0)
    history = labels_of(book, "decision-1")
    assert [one.label for one in history] == ["reject", "approve"]
    assert [one.superseded_at for one in history] == [2.0, None]
    assert (first.agrees, second.agrees) == (False, True)
    assert [one.given_by for one in labels_in_force(book)] == ["bob"]


def test_the_same_label_again_changes_nothing(book: Ledger) -> None:
    keep(book, "decision-1")
    first = give_label(book, "decision-1", "reject", by="ada")
    assert give_label(book, "decision-1", "reject", by="ada") == first
    assert len(labels_of(book, "decision-1")) == 1


def test_a_label_finds_its_receipt_by_how_it_begins_and_must_find_one(book: Ledger) -> None:
    keep(book, "decision-1")
    assert give_label(book, "decisi", "reject").receipt_id == "decision-1"
    with pytest.raises(LedgerError, match="no receipt"):
        give_label(book, "another", "reject")


@pytest.mark.parametrize("chance", [0.0, -0.1, 1.1])
def test_a_probability_that_is_none_is_refused(book: Ledger, chance: float) -> None:
    keep(book, "decision-1")
    with pytest.raises(TaskError, match="probability"):
        give_label(book, "decision-1", "reject", probability=chance)


def test_the_queue_holds_what_was_escalated_the_oldest_first_until_it_is_labelled(
    book: Ledger,
) -> None:
    for name, action, at in (
        ("late", "escalate", 30.0),
        ("early", "escalate", 10.0),
        ("acted", "act", 5.0),
        ("none", "abstain", 6.0),
    ):
        keep(book, name, action=action, at=at)
    assert [one.receipt_id for one in book.queue()] == ["early", "late"]
    assert [one.receipt_id for one in queue(book, limit=1)] == ["early"]
    assert queue(book, since=20.0)[0].receipt_id == "late"
    assert book.queue(task_type="another") == ()
    give_label(book, "early", "reject")
    assert [one.receipt_id for one in book.queue()] == ["late"]


def test_an_audit_adds_the_same_share_of_what_acted_every_time(book: Ledger) -> None:
    names = [f"decision-{i}" for i in range(60)]
    for name in names:
        keep(book, name)
    found = book.queue(audit=0.3)
    assert {one.receipt_id for one in found} == {name for name in names if drawn(name, 0.3)}
    assert 0 < len(found) < 60
    assert {(one.why, one.inclusion) for one in found} == {("audit", 0.3)}
    smaller = {one.receipt_id for one in book.queue(audit=0.1)}
    assert smaller < {one.receipt_id for one in found}


def test_label_outcomes_are_what_watching_needs(book: Ledger) -> None:
    keep(book, "decision-1", at=10.0)
    keep(book, "decision-2", action="escalate", at=20.0)
    give_label(book, "decision-1", "reject", probability=0.1, at=100.0)
    give_label(book, "decision-2", "reject", at=200.0)
    first, second = label_outcomes(book, "refund_approval")
    assert (first.action, first.agrees, first.inclusion) == ("act", False, 0.1)
    assert (second.action, second.agrees, second.decided_at) == ("escalate", None, 20.0)
    assert [one.receipt_id for one in label_outcomes(book, since=150.0)] == ["decision-2"]
    assert label_outcomes(book, "another") == ()


def test_an_audits_bound_is_exact_and_what_has_no_label_yet_counts_as_wrong(book: Ledger) -> None:
    names = [f"decision-{i}" for i in range(80)]
    for i, name in enumerate(names):
        keep(book, name, action="escalate" if i % 8 == 0 else "act")
    looked = [one.receipt_id for one in book.queue(audit=0.5) if one.why == "audit"]
    for name in looked[1:]:
        give_label(book, name, "approve", probability=0.5)
    # A complaint about a decision that was not drawn is heard, and does not count.
    undrawn = next(n for i, n in enumerate(names) if i % 8 and not drawn(n, 0.5))
    give_label(book, undrawn, "reject")
    found = label_evidence(book, "refund_approval", share=0.5, delta=0.1)
    chosen = sum(drawn(name, 0.5) for name in names)
    assert (found.decisions, found.acted, found.missing, found.unweighted) == (80, 70, 1, 1)
    assert found.bound == beta_lcb(len(looked) - 1, chosen, delta=0.1)
    assert found.right_when_acted == 1.0
    assert found.mean == pytest.approx(len(looked) / chosen)


def test_labels_with_chances_of_their_own_are_weighed_by_them(book: Ledger) -> None:
    for i in range(10):
        keep(book, f"decision-{i}", action="escalate" if i == 0 else "act")
    give_label(book, "decision-1", "reject", probability=0.5)
    give_label(book, "decision-2", "approve", probability=0.25)
    give_label(book, "decision-3", "reject")
    found = label_evidence(book, "refund_approval", delta=0.1)
    assert (found.looked_at, found.unweighted, found.least) == (2, 1, 0.25)
    assert found.mean == pytest.approx(1 - (1 + 2) / 10)
    assert found.right_when_acted == pytest.approx(4 / 6)
    assert 0 <= found.bound < 0.7


def test_without_a_label_nothing_is_proved(book: Ledger) -> None:
    keep(book, "decision-1")
    found = label_evidence(book, "refund_approval")
    assert (found.mean, found.bound, found.right_when_acted) == (None, 0.0, None)


def test_shadow_calls_that_a_kill_left_without_a_row_are_no_fault_and_a_wrong_sum_is(
    book: Ledger,
) -> None:
    keep(book, "decision-1")
    book.record_here(call("decision-1"))
    book.record_here(call("decision-1", purpose="shadow", seat=1))
    assert verify(book).problems == ()
    shadow = Shadow(
        receipt_id="decision-1",
        task_type="refund_approval",
        route="frontier",
        inclusion=0.1,
        status="answered",
        outcome="approve",
    )
    kept = keep_shadow(book, shadow, kind="approve")
    assert kept.cost_pico == 123_456_789
    assert verify(book).problems == ()
    book.record_here(call("decision-1", purpose="shadow", seat=2))
    (problem,) = verify(book).problems
    assert "its shadow cost 123456789 pico-dollars, its calls 246913578" in problem


def test_a_decision_has_one_shadow(book: Ledger) -> None:
    keep(book, "decision-1")
    shadow = Shadow(
        receipt_id="decision-1", task_type="t", route="f", inclusion=1.0, status="dropped"
    )
    keep_shadow(book, shadow, kind="approve")
    with pytest.raises(LedgerError, match="holds this record already"):
        keep_shadow(book, shadow, kind="approve")
