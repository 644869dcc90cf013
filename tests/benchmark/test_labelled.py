from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from consensus.benchmark.labelled import export_labelled
from consensus.benchmark.run_format.run import RecordedRun
from consensus.cli import ledger as command
from consensus.errors import DataError
from consensus.ledger import Ledger
from consensus.ledger.feedback import give_label
from consensus.models.protocol import Request
from consensus.models.scripted import Reply
from consensus.tasks import Approve, Choose, Generate, Message, Rank, Score, Task
from tests.engine_fixtures import engine_of

ROWS = '[tasks.t]\nstrategy = "vote"\nseats = 3\nframings = ["plain"]\n'


async def decided(folder: Path, tasks: list[Task], behaviour: Any, **options: Any) -> list[str]:
    """Receipts of a panel's decisions on these tasks, in the folder's ledger."""
    engine, _ = engine_of(folder, ROWS, behaviour)
    async with engine:
        return [str((await engine.decide(task, **options)).receipt_id) for task in tasks]


def approve(number: int) -> Task:
    return Approve(type="t", subject=f"case {number}", criteria="c")


async def test_labelled_receipts_are_a_run_that_can_be_loaded(tmp_path: Path) -> None:
    def says(request: Request) -> Any:
        if request.model == "scripted/b":
            return Reply(failure="refusal")
        return "approve"

    names = await decided(tmp_path, [approve(1), approve(2), approve(3)], says)
    with Ledger(tmp_path / "ledger.db") as book:
        give_label(book, names[0], "approve", probability=0.5)
        give_label(book, names[1], "reject", probability=0.1)
        exported = export_labelled(book, tmp_path / "run", task_type="t")
    run = RecordedRun.load(tmp_path / "run")
    assert run.report.broken == {}
    assert (exported.cases, exported.answers) == (2, 6)
    assert run.cases.ids == (names[0], names[1])
    assert run.cases.credit.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert [record["weight"] for record in run.cases.records] == [2.0, 10.0]
    assert run.cases.strata == ("t", "t")
    assert run.cases.visible(0)["subject"] == "case 1"
    assert [member.name for member in run.members] == ["scripted/a@plain", "scripted/b@plain"]
    assert sorted(run.rows.sample.tolist()) == [0, 0, 0, 0, 1, 1]
    assert run.report.failures == {"refusal": 2}


async def test_a_label_without_a_chance_is_left_out_and_counted_unless_asked_for(
    tmp_path: Path,
) -> None:
    names = await decided(tmp_path, [approve(1), approve(2)], lambda _: "approve")
    with Ledger(tmp_path / "ledger.db") as book:
        give_label(book, names[0], "approve")
        with pytest.raises(DataError, match="--unweighted"):
            export_labelled(book, tmp_path / "none")
        give_label(book, names[1], "approve", probability=1)
        assert export_labelled(book, tmp_path / "one").left_out.total() == 1
        assert export_labelled(book, tmp_path / "both", unweighted=True).cases == 2
    assert not (tmp_path / "none").exists()


async def test_scores_and_rankings_have_the_answers_that_were_given_as_options(
    tmp_path: Path,
) -> None:
    tasks: list[Task] = [
        Score(type="t", subject="s", scale=(0, 100), criteria="c"),
        Rank(type="t", subject="s", items=["x", "y"], criteria="c"),
        Choose(type="t", subject="s", options=["red", "blue"], criteria="c"),
    ]

    names = [
        (await decided(tmp_path, [task], lambda _, said=said: said))[0]
        for task, said in zip(tasks, (70, Reply(), "red"), strict=True)
    ]
    with Ledger(tmp_path / "ledger.db") as book:
        give_label(book, names[0], 75, probability=1)
        give_label(book, names[1], ["y", "x"], probability=1)
        give_label(book, names[2], "blue", probability=1)
        export_labelled(book, tmp_path / "run")
    run = RecordedRun.load(tmp_path / "run")
    assert run.report.broken == {}
    assert run.cases.options[0] == ("70", "75")
    assert run.cases.credit[0].tolist() == [1.0, 1.0]  # 70 is within a tenth of the scale
    assert "2>1" in run.cases.options[1]
    assert run.cases.options[2] == ("red", "blue")
    assert run.cases.credit[2].tolist() == [0.0, 1.0]


async def test_generated_answers_are_left_out_with_the_reason(tmp_path: Path) -> None:
    task = Generate(type="t", messages=[Message(role="user", content="q")])
    names = await decided(tmp_path, [task, approve(1)], lambda _: "approve")
    with Ledger(tmp_path / "ledger.db") as book:
        give_label(book, names[0], False, probability=1)
        give_label(book, names[1], "approve", probability=1)
        exported = export_labelled(book, tmp_path / "run")
    assert list(exported.left_out.elements()) == [
        "its answers are open: what is right is no option"
    ]


async def test_the_frontier_beside_a_decision_is_an_answer_of_its_own(tmp_path: Path) -> None:
    names = await decided(tmp_path, [approve(1)], lambda _: "approve", frontier="scripted/f")
    with Ledger(tmp_path / "ledger.db") as book:
        give_label(book, names[0], "approve", probability=1)
        assert export_labelled(book, tmp_path / "run").answers == 4
    run = RecordedRun.load(tmp_path / "run")
    assert run.models() == ("scripted/a", "scripted/b", "scripted/f")


async def test_the_command_writes_a_run_and_never_over_one(tmp_path: Path) -> None:
    names = await decided(tmp_path, [approve(1)], lambda _: "approve")
    place = tmp_path / "ledger.db"
    with Ledger(place) as book:
        give_label(book, names[0], "approve", probability=1)
    arguments = ["export", "--labelled", "--out", str(tmp_path / "run"), "--ledger", str(place)]
    result = CliRunner().invoke(command.app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["cases"] == 1
    again = CliRunner().invoke(command.app, arguments)
    assert isinstance(again.exception, DataError)
    assert "name another folder" in str(again.exception)
    assert (
        CliRunner().invoke(command.app, [one for one in arguments if one != "--labelled"]).exit_code
        == 2
    )
