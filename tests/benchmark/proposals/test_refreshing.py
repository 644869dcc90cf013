from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path

import pytest

from consensus.benchmark.proposals.accepting import accept
from consensus.benchmark.proposals.propose import propose
from consensus.benchmark.proposals.refreshing import (
    ask_new_model,
    estimate_new_model,
    touched_rows,
)
from consensus.benchmark.proposals.settings import ProposalSettings
from consensus.errors import DataError
from consensus.models.prices import PriceBook
from consensus.panel.book import load_prompts
from consensus.policy.load import load_policy
from consensus.policy.staleness import Current
from tests.benchmark.proposals.fixtures import POLICY, QUALITY, answering, run_on

TODAY = date(2026, 11, 22)
NOW = Current(today=TODAY)
NEW = POLICY + '[prices."scripted/new"]\ninput = 0.5\noutput = 1.0\n'


def accepted(folder: Path) -> Path:
    run_on(folder, 120, policy=NEW)
    strategies = folder / "strategies"
    book = load_prompts(None)
    made = propose(
        folder / "run", load_policy(strategies), ProposalSettings(today=TODAY), book=book
    )
    accept(made, strategies)
    return strategies


def test_only_the_new_model_is_asked_and_what_was_paid_stays(tmp_path: Path) -> None:
    run_on(tmp_path, 40, policy=NEW)
    table, book = load_policy(tmp_path / "strategies"), load_prompts(None)
    estimate = asyncio.run(
        estimate_new_model(tmp_path / "run", "scripted/new", table=table, book=book)
    )
    assert sum(model.calls for model in estimate.models) == 40
    client = answering({**QUALITY, "scripted/new": 0.99})
    outcome = asyncio.run(
        ask_new_model(
            tmp_path / "run", "scripted/new", table=table, book=book, clients={"scripted": client}
        )
    )
    assert outcome.complete
    assert outcome.sent == 40
    assert set(outcome.models) == {*QUALITY, "scripted/new"}


def test_a_better_and_cheaper_model_takes_the_row(tmp_path: Path) -> None:
    strategies = accepted(tmp_path)
    table, book = load_policy(strategies), load_prompts(None)
    client = answering({**QUALITY, "scripted/new": 0.995})
    asyncio.run(
        ask_new_model(
            tmp_path / "run", "scripted/new", table=table, book=book, clients={"scripted": client}
        )
    )
    row = propose(tmp_path / "run", table, ProposalSettings(today=TODAY), book=book).rows[0]
    assert row.status == "certified"
    assert row.new["models"] == ["scripted/new"]
    assert row.old != row.new


def test_a_fresh_certificate_is_touched_by_a_new_model_alone(tmp_path: Path) -> None:
    table = load_policy(accepted(tmp_path))
    assert touched_rows(table, tmp_path / "run", new_model=None, current=NOW) == ()
    (row,) = touched_rows(table, tmp_path / "run", new_model="scripted/new", current=NOW)
    assert row.task_type == "refund"
    assert "was not there when it was chosen" in row.why[0]


def test_a_changed_price_touches_the_rows_that_use_the_model(tmp_path: Path) -> None:
    strategies = accepted(tmp_path)
    certificate = load_policy(strategies).tasks["refund"].certificate
    assert certificate is not None
    model = next(iter(certificate.prices))
    dearer = PriceBook(overrides={model: {"input": 77.0, "output": 99.0}})
    current = Current(today=TODAY, prices=dearer)
    (row,) = touched_rows(
        load_policy(strategies), tmp_path / "run", new_model=None, current=current
    )
    assert "$77" in row.why[0]


def test_an_unproven_row_is_touched(tmp_path: Path) -> None:
    run_on(tmp_path, 40, policy=NEW)
    table = load_policy(tmp_path / "strategies")
    (row,) = touched_rows(table, tmp_path / "run", new_model=None, current=NOW)
    assert row.why == ("it is unproven",)


def test_a_recording_cannot_be_continued(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no run of consensus bench"):
        touched_rows(load_policy(), tmp_path, new_model="x/y", current=NOW)
