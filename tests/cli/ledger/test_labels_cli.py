from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from consensus.cli import ledger as command
from consensus.errors import DataError, TaskError
from consensus.ledger import Ledger
from consensus.ledger.feedback import labels_in_force, labels_of
from consensus.tasks import Approve
from tests.ledger.records import call, receipt_of

SECRET = "\x1b[31mthe judged text\u202e"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with a decision that acted and two that wait for a person."""
    place = tmp_path / "own.db"
    task = Approve(type="refund", subject=SECRET, criteria="c")
    with Ledger(place) as book:
        for at, (name, action) in enumerate(
            (("acted-1", "act"), ("waits-1", "escalate"), ("waits-2", "escalate"))
        ):
            receipt = receipt_of(
                [call(name, task_type="refund")], receipt_id=name, task=task, created_at=at + 1.0
            )
            update: dict[str, Any] = {"action": action}
            if action != "act":
                update["outcome"] = None
            left = receipt.decision.model_copy(update=update)
            book.keep_here(receipt.model_copy(update={"decision": left}))
    return place


def run(path: Path, *arguments: object, code: int = 0, typed: str | None = None) -> str:
    given = [str(one) for one in (*arguments, "--ledger", path)]
    result = CliRunner().invoke(command.app, given, input=typed)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def test_label_keeps_one_label_and_says_whether_the_decision_agrees(path: Path) -> None:
    said = run(path, "label", "acted-1", "reject", "--by", "ada", "--probability", 0.1)
    assert said == "acted-1: reject (disagrees)\n"
    with Ledger(path) as book:
        (kept,) = labels_of(book, "acted-1")
    assert (kept.given_by, kept.source, kept.inclusion) == ("ada", "human", 0.1)


def test_a_label_that_is_none_is_one_line_that_says_what_it_may_be(path: Path) -> None:
    with pytest.raises(TaskError, match="one of approve, reject"):
        run(path, "label", "acted-1", "maybe")


@pytest.mark.parametrize(
    "arguments", [["label"], ["label", "acted-1"], ["label", "a", "b", "--file", "x.csv"]]
)
def test_label_wants_either_a_receipt_or_a_file(path: Path, arguments: list[str]) -> None:
    assert "--file" in run(path, *arguments, code=2)


def test_a_file_keeps_its_good_lines_and_names_the_bad_ones(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(
        "receipt_id,label,by,probability\n"
        "acted-1,approve,ada,0.5\n"
        "waits-1,maybe,ada,\n"
        "nowhere,reject,ada,\n"
        "waits-2,reject,ada,often\n"
        "waits-2,reject,,\n",
        encoding="utf-8",
    )
    document = json.loads(run(path, "label", "--file", file, "--by", "bob", "--json", code=1))
    assert [one["receipt_id"] for one in document["labels"]] == ["acted-1", "waits-2"]
    assert [one["given_by"] for one in document["labels"]] == ["ada", "bob"]
    assert [error.split(": ")[0] for error in document["errors"]] == [
        f"{file}:{line}" for line in (3, 4, 5)
    ]


def test_the_same_file_again_changes_nothing(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("receipt_id,label\nacted-1,approve\nwaits-1,reject\n", encoding="utf-8")
    for _ in range(2):
        run(path, "label", "--file", file)
    with Ledger(path) as book:
        assert len(labels_of(book, "acted-1")) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,label\n", "receipt_id and label"),
        ("receipt_id,label,mood\n", "what you like"),
        ("", "its columns are none"),
        ('receipt_id,label\nacted-1,"open\n', "is not CSV"),
    ],
)
def test_a_file_of_another_shape_is_refused_by_its_line(
    path: Path, tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as raised:
        run(path, "label", "--file", file)
    assert said in str(raised.value)
    assert str(file) in str(raised.value)


def test_queue_lists_what_waits_without_judged_text(path: Path) -> None:
    page = run(path, "queue")
    assert page.index("waits-1") < page.index("waits-2")
    assert "refund 2" in page
    assert "acted-1" not in page
    assert "judged" not in page
    found = json.loads(run(path, "queue", "--json", "--audit", 1, "--type", "refund"))
    assert [(one["receipt_id"], one["why"]) for one in found] == [
        ("acted-1", "audit"),
        ("waits-1", "escalated"),
        ("waits-2", "escalated"),
    ]


def test_nothing_waits_is_said(path: Path) -> None:
    assert run(path, "queue", "--type", "another") == "nothing waits\n"


def test_labels_can_be_given_from_the_queue_with_their_chance(path: Path) -> None:
    page = run(
        path, "queue", "--audit", 1, "--label", "--by", "ada", typed="nonsense\nreject\n\nq\n"
    )
    assert "error: receipt acted-1: the label is no answer" in page
    assert page.rstrip().endswith("1 of 3 labelled")
    assert "\x1b[31m" not in page
    assert "\\x1b[31mthe judged text\\u202e" in page
    with Ledger(path) as book:
        (kept,) = labels_in_force(book)
    assert (kept.receipt_id, kept.label, kept.source, kept.inclusion) == (
        "acted-1",
        "reject",
        "queue",
        1.0,
    )


def test_blind_hides_what_the_models_said(path: Path) -> None:
    shown = run(path, "queue", "--label", typed="q\n")
    blind = run(path, "queue", "--label", "--blind", typed="q\n")
    assert "it was unused" in shown
    assert "it was unused" not in blind
    assert "the judged text" in blind


def test_quality_is_a_sentence_with_its_bound_and_what_does_not_count(path: Path) -> None:
    assert "nothing is proved" in run(path, "quality", "refund")
    run(path, "label", "acted-1", "approve", "--probability", 1)
    run(path, "label", "waits-1", "approve")
    page = run(path, "quality", "refund")
    assert "acceptable: 33.3%" in page
    assert "right when it acted: 100.0%" in page
    found = json.loads(run(path, "quality", "refund", "--json", "--audit", 1))
    assert (found["design"], found["looked_at"], found["missing"]) == ("draw", 1, 0)


def test_show_tells_every_label_and_which_one_holds(path: Path) -> None:
    run(path, "label", "acted-1", "reject", "--by", "ada")
    run(path, "label", "acted-1", "approve", "--by", "bob")
    page = run(path, "show", "acted-1")
    assert "label reject (human by ada" in page
    assert page.count("superseded") == 1
    document = json.loads(run(path, "show", "acted-1", "--json"))
    assert [one["label"] for one in document["labels"]] == ["reject", "approve"]
    assert document["shadow"] is None
