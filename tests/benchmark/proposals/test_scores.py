"""Rows with ``ballot = "scores"``, measured on a run whose seats gave a score to every option."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import pytest

from consensus.benchmark.plan import Plan
from consensus.benchmark.proposals.candidates import Candidate, search, table_with
from consensus.benchmark.proposals.recording import Recording, recording_of
from consensus.benchmark.proposals.serving import NotRecordedError, serve
from consensus.benchmark.recorded import load_run
from consensus.benchmark.runs import open_run
from consensus.benchmark.suites import load_suite
from consensus.decisions import Decision
from consensus.engine import Engine
from consensus.models.prices import PriceBook
from consensus.models.protocol import Request
from consensus.models.scripted import Reply, ScriptedClient
from consensus.panel.book import load_prompts
from consensus.policy.load import load_policy
from consensus.policy.table import PolicyTable
from consensus.tasks import Task
from tests.benchmark.suite_fixtures import suite_folder

BOOK = load_prompts(None)
ALL = ["scripted/a", "scripted/b", "scripted/c"]
SUITE = """
version = 1
name = "desks"
[types.desk]
kind = "choose"
options = ["billing", "bug", "other"]
[types.pair]
kind = "compare"
"""
POLICY = """\
version = 1
[tasks.desk]
kind = "choose"
models = ["scripted/a"]
[tasks.pair]
kind = "compare"
models = ["scripted/a"]
"""
CASES = [
    {
        "id": f"d{i:03d}",
        "type": "desk",
        "subject": f"Case {i:04d}",
        "label": ["billing", "bug"][i % 2],
    }
    for i in range(24)
] + [
    {"id": f"p{i:03d}", "type": "pair", "a": f"Case {i:04d}", "b": "No case", "label": "A"}
    for i in range(24)
]
VOTE = {
    "strategy": "vote",
    "models": ALL,
    "seats": 3,
    "framings": ["plain"],
    "ballot": "scores",
    "min_agreement": 0.01,
}


def _scoring(request: Request) -> Reply:
    """Few different scores, so that ties are common, by a hash of model, case and option."""
    text = "".join(part.text for turn in request.turns for part in turn.parts)
    place = text.index("Case ") + 5
    number = text[place : place + 4]
    first = place < text.index("No case") if "No case" in text else True
    schema = request.output_schema or {}
    inner = schema["properties"].get("scores")
    if inner is None:
        return Reply(answer=schema["properties"]["answer"]["enum"][0], latency_s=0.0)
    scores = {}
    called = {"first": "AB"[not first], "second": "AB"[first]}
    for word in inner["required"]:
        digest = hashlib.sha256(
            f"{request.model}:{number}:{called.get(word, word)}".encode()
        ).digest()
        scores[word] = (2, 6, 7, 9)[digest[0] % 4]
    return Reply(text=json.dumps({"rationale": "r", "scores": scores}), latency_s=0.0)


async def _run(folder: Path, table: PolicyTable, ballot: Literal["scores", "structured"]) -> None:
    with await open_run(
        load_suite(folder / "suite"),
        Plan(tuple(ALL), ballot=ballot),
        folder / "run",
        table=table,
        prices=PriceBook(overrides=table.price_overrides()),
        book=BOOK,
        clients={"scripted": ScriptedClient(_scoring)},
    ) as run:
        assert (await run.go()).complete


_MADE: dict[tuple[str, str], tuple[Recording, PolicyTable]] = {}


@pytest.fixture(scope="module", autouse=True)
def _made(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two runs, and each type of them, once."""
    for ballot in ("scores", "structured"):
        folder = tmp_path_factory.mktemp(ballot)
        _record(folder, ballot)


def recorded(
    task_type: str = "desk", ballot: Literal["scores", "structured"] = "scores"
) -> tuple[Recording, PolicyTable]:
    return _MADE[task_type, ballot]


def _record(folder: Path, ballot: Literal["scores", "structured"]) -> None:
    (folder / "policy.toml").write_text(POLICY, encoding="utf-8")
    table = load_policy(folder / "policy.toml")
    suite_folder(folder, SUITE, CASES)
    asyncio.run(_run(folder, table, ballot))
    for task_type in table.tasks:
        made = recording_of(
            load_run(folder / "run"),
            task_type,
            folder=folder / "run",
            book=BOOK,
            prices=PriceBook(),
        )
        _MADE[task_type, ballot] = made, table


async def _decide(table: PolicyTable, tasks: tuple[Task, ...]) -> list[Decision]:
    clients = {"scripted": ScriptedClient(_scoring)}
    async with Engine(table, clients=clients, ledger=False) as engine:
        return [decision async for decision in engine.decide_many(tasks)]


@pytest.mark.parametrize("task_type", ["desk", "pair"])
@pytest.mark.parametrize(
    "row",
    [
        VOTE,
        {**VOTE, "aggregator": "majority"},
        {**VOTE, "strategy": "single", "models": ALL[:1], "seats": 1},
        {**VOTE, "models": ALL[:2], "seats": 2, "min_agreement": 1.0, "escalate_to": ALL[2:]},
    ],
    ids=["scores", "majority", "single", "escalating"],
)
def test_a_row_of_scores_does_on_the_recording_what_the_engine_does_live(
    task_type: str, row: dict[str, Any]
) -> None:
    made, table = recorded(task_type)
    trial = table_with(table, made, Candidate("x", row))
    replayed = serve(made, trial, BOOK)
    live = asyncio.run(_decide(trial, made.tasks))
    assert list(replayed.outcomes) == [decision.outcome for decision in live]
    assert replayed.hops.tolist() == [len(decision.route) for decision in live]


def test_whole_scores_decide_where_votes_alone_would_not() -> None:
    made, table = recorded()
    whole = serve(made, table_with(table, made, Candidate("x", VOTE)), BOOK)
    votes = {**VOTE, "aggregator": "majority"}
    counted = serve(made, table_with(table, made, Candidate("x", votes)), BOOK)
    assert whole.acted.sum() > counted.acted.sum()


def test_scores_that_nobody_gave_are_not_invented() -> None:
    made, table = recorded(ballot="structured")
    with pytest.raises(NotRecordedError, match="not asked for a score of each option"):
        serve(made, table_with(table, made, Candidate("x", VOTE)), BOOK)


def test_rows_searched_on_a_run_of_scores_ask_for_scores() -> None:
    made, _ = recorded()
    cost = dict.fromkeys(made.models, 1.0)
    found = list(search(made, cost, ALL[2], keep=ALL[:2]))
    assert len(found) == 4
    assert {candidate.row.get("ballot") for candidate in found} == {"scores"}
