"""Ballots that models on this machine write: a rationale that a grammar ends."""

from __future__ import annotations

import pytest

from consensus.models.local import LocalClient
from consensus.panel.answers import LOCAL_REASON_CHARS, SCORE_SCALE
from consensus.panel.parsing import read_ballot
from consensus.panel.rendering import render
from consensus.panel.seats import BallotForm, Seat
from consensus.tasks import Choose, Task
from tests.models.local_fixtures import TINY, local_client
from tests.panel.helpers import APPROVE, CHOOSE, COMPARE, RANK, SCORE, book, panel

__all__ = ["local_client"]

TICKET = Choose(
    type="t",
    subject="I was charged twice for one kettle.",
    options=("billing", "technical", "delivery"),
)


def reason(task: Task, model: str, ballot: BallotForm) -> object:
    schema = render(task, panel(task, 1, ballot, models=(model,))[0], book()).output_schema
    assert schema is not None
    return schema["properties"]["rationale"].get("maxLength")


@pytest.mark.parametrize("ballot", ["scores", "structured"])
@pytest.mark.parametrize("task", [APPROVE, CHOOSE, COMPARE, RANK, SCORE], ids=lambda t: t.kind)
def test_only_a_model_on_this_machine_is_held_to_a_length(task: Task, ballot: BallotForm) -> None:
    assert reason(task, "local/some", ballot) == LOCAL_REASON_CHARS
    assert reason(task, "scripted/a", ballot) is None


@pytest.mark.needs("local-model")
async def test_a_real_model_that_rambles_still_scores_every_option(
    local_client: LocalClient,
) -> None:
    seat: Seat = panel(TICKET, 1, "scores", models=(f"local/{TINY}",))[0]
    found = await local_client.complete(render(TICKET, seat, book()), timeout_s=300)
    # This model repeats itself: what ends its rationale is the grammar.
    assert found.finish == "stop"
    assert found.usage.output < 200
    reading = read_ballot(TICKET, seat, found)
    assert reading.scores is not None
    assert set(reading.scores) == set(TICKET.options)
    low, high = SCORE_SCALE
    assert all(low <= score <= high for score in reading.scores.values())
    assert len(reading.rationale) <= LOCAL_REASON_CHARS
