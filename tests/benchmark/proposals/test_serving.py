from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus.benchmark.proposals.candidates import Candidate, table_with
from consensus.benchmark.proposals.recording import Recording, recording_of
from consensus.benchmark.proposals.serving import NotRecordedError, Served, serve
from consensus.benchmark.recorded import load_run
from consensus.decisions import Decision
from consensus.engine import Engine
from consensus.errors import DataError
from consensus.models.prices import PriceBook
from consensus.panel.book import load_prompts
from consensus.policy.load import load_policy
from consensus.policy.table import PolicyTable
from tests.benchmark.fit_fixtures import recorded
from tests.benchmark.proposals.fixtures import POLICY, QUALITY, answering, run_on

BOOK = load_prompts(None)
ALL = ["scripted/cheap", "scripted/good", "scripted/best"]


def recording(folder: Path, policy: str = POLICY, count: int = 40) -> tuple[Recording, PolicyTable]:
    run_on(folder, count, policy=policy)
    table = load_policy(folder / "strategies")
    made = recording_of(
        load_run(folder / "run"),
        "refund",
        folder=folder / "run",
        book=BOOK,
        prices=PriceBook(overrides=table.price_overrides()),
    )
    return made, table


def served(made: Recording, table: PolicyTable, row: dict[str, Any]) -> Served:
    return serve(made, table_with(table, made, Candidate("x", row)), BOOK)


async def _decide(table: PolicyTable, made: Recording) -> list[Decision]:
    async with Engine(table, clients={"scripted": answering(QUALITY)}, ledger=False) as engine:
        return [decision async for decision in engine.decide_many(made.tasks)]


@pytest.mark.parametrize(
    "row",
    [
        {"strategy": "single", "models": ["scripted/good"]},
        {"strategy": "vote", "models": ALL, "seats": 3, "framings": ["plain"]},
        {"strategy": "vote", "models": ALL[:2], "seats": 2, "framings": ["plain"]},
        {
            "strategy": "vote",
            "models": ALL[:2],
            "seats": 2,
            "framings": ["plain"],
            "escalate_to": ["scripted/best"],
        },
        {
            "strategy": "cascade",
            "models": ALL[:2],
            "seats": 2,
            "framings": ["plain"],
            "escalate_to": ["scripted/best"],
            "cascade": {"accept": "agreement", "thresholds": [1.0]},
        },
        {"strategy": "vote", "models": ALL, "seats": 3, "framings": ["plain"], "waves": [2, 1]},
        {"strategy": "vote", "models": ALL, "seats": 3, "framings": ["plain"], "latency": "fast"},
    ],
)
def test_a_row_does_on_the_recording_what_the_engine_does_live(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    made, table = recording(tmp_path)
    trial = table_with(table, made, Candidate("x", row))
    replayed = serve(made, trial, BOOK)
    live = asyncio.run(_decide(trial, made))
    assert list(replayed.outcomes) == [decision.outcome for decision in live]
    assert replayed.hops.tolist() == [len(decision.route) for decision in live]
    assert replayed.calls.tolist() == [
        float(len(decision.ballots) + len(decision.failures)) for decision in live
    ]
    assert replayed.usd == pytest.approx([decision.cost.usd for decision in live], rel=0.02)


def test_what_is_left_to_a_person_is_no_pass(tmp_path: Path) -> None:
    made, table = recording(tmp_path)
    split = served(
        made, table, {"strategy": "vote", "models": ALL[:2], "seats": 2, "framings": ["plain"]}
    )
    assert (~split.acted).any()
    assert np.all(split.credit[~split.acted] == 0)


def test_more_seats_than_answers_are_not_invented(tmp_path: Path) -> None:
    made, table = recording(tmp_path)
    row = {"strategy": "vote", "models": ["scripted/good"], "seats": 3, "framings": ["plain"]}
    with pytest.raises(NotRecordedError, match="1 answers to a case; 2 are needed"):
        served(made, table, row)


def test_a_framing_that_was_not_asked_is_not_invented(tmp_path: Path) -> None:
    made, table = recording(tmp_path)
    row = {"strategy": "vote", "models": ALL, "seats": 3, "framings": ["auditor"]}
    with pytest.raises(NotRecordedError, match="under the framing auditor"):
        served(made, table, row)


def test_a_gate_that_is_code_stops_what_it_refuses(tmp_path: Path) -> None:
    oracle = '[oracles.no]\nkind = "json_schema"\nschema = { const = "reject" }\n'
    policy = POLICY.replace("[tasks.refund]", f"{oracle}[tasks.refund]")
    policy = policy.replace("owner =", 'gate = "no"\nowner =')
    made, table = recording(tmp_path, policy)
    found = served(made, table, {"strategy": "single", "models": ["scripted/best"]})
    assert found.gated.any()
    assert set(found.outcomes) <= {"reject", None}


def test_a_when_rule_routes_recorded_cases_too(tmp_path: Path) -> None:
    made, table = recording(tmp_path)
    row = table.tasks["refund"].model_dump(mode="json", exclude_unset=True)
    row["when"] = [{"min_input_tokens": 1, "models": ["scripted/cheap"]}]
    fields = {name: getattr(table, name) for name in PolicyTable.model_fields}
    ruled = PolicyTable(**{**fields, "tasks": {"refund": row}})
    single = {"strategy": "single", "models": ["scripted/best"]}
    by_rule = served(made, ruled, single)
    plain = served(made, table, {"strategy": "single", "models": ["scripted/cheap"]})
    assert by_rule.outcomes == plain.outcomes


def one_case(answer: object) -> Recording:
    options = ("A", "B", "C")
    case = {"case_id": "c1", "task_kind": "choice", "task_type": "t", "label": "A"}
    line = {"case": "c1", "model": "m/a", "variant": "base", "sample": 0, "answer": answer}
    run = recorded([("c1", {**case, "options": list(options)}, options)], [line])
    return recording_of(run, "t", folder=Path("nowhere"), book=BOOK, prices=PriceBook())


def test_a_split_vote_is_one_of_its_options_and_always_the_same() -> None:
    said = {one_case({"A": 0.5, "C": 0.5}).given(0, "m/a", "plain")[0].answer for _ in range(3)}
    assert len(said) == 1
    assert said <= {"A", "C"}


def test_a_failure_is_a_failed_seat() -> None:
    answer = one_case(None).given(0, "m/a", "plain")[0]
    assert answer.answer is None
    assert answer.failure == "unreadable"


def test_a_model_that_the_run_does_not_have_is_named(tmp_path: Path) -> None:
    run_on(tmp_path, 40)
    with pytest.raises(DataError, match="scripted/absent"):
        recording_of(
            load_run(tmp_path / "run"),
            "refund",
            folder=tmp_path / "run",
            book=BOOK,
            prices=PriceBook(),
            models=["scripted/absent"],
        )
