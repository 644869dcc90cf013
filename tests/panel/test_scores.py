"""Ballots that score every option: what is asked, what is read, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consensus.errors import PromptError, UnreadableError
from consensus.models.protocol import Completion
from consensus.panel.book import load_prompts
from consensus.panel.exchange import debate_request
from consensus.panel.parsing import Reading, read_ballot
from consensus.panel.rendering import answer_form, render
from consensus.panel.seats import Seat
from consensus.resources import packaged
from consensus.tasks import Choose, Task
from tests.orchestrators.ballot_box import ballot
from tests.panel.helpers import APPROVE, CHOOSE, COMPARE, RANK, SCORE, book, panel, said

LONG = Choose(type="t", subject="s", options=("first line", "second: line"))
SEATS: dict[str, Seat] = {
    task.kind: panel(task, 2, "scores")[1] for task in (APPROVE, CHOOSE, COMPARE)
}


def read(task: Task, scores: Any, seat: Seat | None = None, **more: Any) -> Reading:
    reply = json.dumps({"rationale": "r", "scores": scores, **more})
    return read_ballot(task, seat or SEATS[task.kind], said(reply))


def refused(task: Task, completion: Completion, seat: Seat | None = None) -> str:
    with pytest.raises(UnreadableError) as caught:
        read_ballot(task, seat or SEATS[task.kind], completion)
    return caught.value.failure


@pytest.mark.parametrize("task", [APPROVE, CHOOSE, COMPARE], ids=lambda task: task.kind)
def test_the_schema_asks_for_each_option_once_and_is_the_same_for_every_seat(task: Task) -> None:
    requests = [render(task, seat, book()) for seat in panel(task, 4, "scores")]
    assert len({json.dumps(request.output_schema) for request in requests}) == 1
    schema = requests[0].output_schema
    assert schema is not None
    inner = schema["properties"]["scores"]
    wanted = ("first", "second") if task.kind == "compare" else task.options
    assert inner["required"] == list(wanted) == list(inner["properties"])
    assert inner["additionalProperties"] is False


@pytest.mark.parametrize("task", [APPROVE, CHOOSE, COMPARE], ids=lambda task: task.kind)
def test_everything_before_the_form_is_what_other_ballots_see(task: Task) -> None:
    scored, plain = panel(task, 2, "scores")[1], panel(task, 2)[1]
    mine, theirs = render(task, scored, book()), render(task, plain, book())
    assert mine.system == theirs.system
    assert mine.turns[0].parts[:-1] == theirs.turns[0].parts[:-1]


def test_the_form_names_options_in_the_order_of_the_seat() -> None:
    seat = SEATS["choose"]
    form = answer_form(CHOOSE, seat, book())
    shown = [CHOOSE.options[i] for i in seat.order]
    assert [form.index(f'"{option}"') for option in shown] == sorted(
        form.index(f'"{option}"') for option in shown
    )


def test_options_that_are_no_keys_of_an_object_are_scored_by_their_numbers() -> None:
    seat = panel(LONG, 2, "scores")[1]
    request = render(LONG, seat, book())
    assert "Option 1:" in request.turns[0].parts[1].text
    assert request.output_schema is not None
    assert request.output_schema["properties"]["scores"]["required"] == ["1", "2"]
    shown_first = LONG.options[seat.order[0]]
    assert read(LONG, {"1": 9, "2": 3}, seat).answer == shown_first
    plain = panel(LONG, 2)[1]
    assert "Option 1:" not in render(LONG, plain, book()).turns[0].parts[1].text


@pytest.mark.parametrize("task", [RANK, SCORE], ids=lambda task: task.kind)
def test_without_a_closed_set_the_ballot_is_a_structured_one(task: Task) -> None:
    assert render(task, panel(task, 1, "scores")[0], book()) == render(
        task, panel(task, 1)[0], book()
    )


def test_scores_are_read_back_through_the_order_of_the_seat() -> None:
    found = read(COMPARE, {"first": 3, "second": 8})
    assert SEATS["compare"].order[:2] == (1, 0)
    assert found.answer == "A"
    assert found.scores == {"A": 8.0, "B": 3.0, "tie": 5.7}
    assert found.confidence is None


def test_the_answer_is_the_option_with_the_highest_score() -> None:
    found = read(CHOOSE, {"billing": 7, "bug": 9, "other": 1})
    assert found.answer == "bug"
    assert found.scores == {"billing": 7.0, "bug": 9.0, "other": 1.0}


def test_options_scored_alike_highest_are_all_of_them_the_answer() -> None:
    assert read(CHOOSE, {"other": 8, "billing": 8, "bug": 2}).answer == ("billing", "other")


def test_candidates_scored_alike_are_a_tie() -> None:
    assert read(COMPARE, {"first": 6, "second": 6}).answer == "tie"
    assert read(COMPARE, {"first": 6, "second": 7}).answer == "A"


@pytest.mark.parametrize(
    ("scores", "failure"),
    [
        ({"billing": 7, "bug": 9}, "schema"),
        ({"billing": 7, "bug": 9, "other": 1, "else": 2}, "off_list"),
        ({"billing": 7, "bug": 11, "other": 1}, "off_list"),
        ({"billing": 7, "bug": 0, "other": 1}, "off_list"),
        ({"billing": 7, "bug": None, "other": 1}, "unreadable"),
        ({"billing": 7, "bug": True, "other": 1}, "schema"),
        ({"billing": 7, "bug": "high", "other": 1}, "schema"),
        ({"billing": 7, "bug": 2, "Bug": 3, "other": 1}, "schema"),
        ([7, 9, 1], "schema"),
    ],
)
def test_scores_that_are_not_one_number_an_option_are_no_ballot(scores: Any, failure: str) -> None:
    reply = json.dumps({"rationale": "r", "scores": scores})
    assert refused(CHOOSE, said(reply)) == failure


def test_an_answer_beside_the_scores_must_be_what_they_say() -> None:
    scores = {"billing": 7, "bug": 9, "other": 1}
    assert read(CHOOSE, scores, answer="bug").answer == "bug"
    both = json.dumps({"scores": scores, "answer": "other"})
    assert refused(CHOOSE, said(both)) == "unreadable"


def test_two_objects_with_different_scores_are_none() -> None:
    one = json.dumps({"scores": {"approve": 8, "reject": 2}})
    other = json.dumps({"scores": {"approve": 7, "reject": 2}})
    assert refused(APPROVE, said(f"{one}\n{other}")) == "unreadable"
    assert read_ballot(APPROVE, SEATS["approve"], said(f"{one}\n{one}")).answer == "approve"


@pytest.mark.parametrize(
    ("text", "more", "failure"),
    [
        ("", {}, "empty"),
        ("approve", {}, "unreadable"),
        ('{"scores": {"approve": 8', {"finish": "length"}, "truncated"),
        ("no", {"finish": "refusal"}, "refusal"),
    ],
)
def test_what_holds_no_scores_fails_by_its_class(text: str, more: Any, failure: str) -> None:
    assert refused(APPROVE, said(text, **more)) == failure


def test_a_debate_quotes_a_seats_own_scores_in_its_own_words() -> None:
    seat = SEATS["compare"]
    own = ballot(1, "A", scores={"A": 8.0, "B": 3.0, "tie": 5.7}, rationale="r")
    request = debate_request(COMPARE, seat, book(), own=own, others=[ballot(0, "B")])
    quoted = json.loads(request.turns[1].parts[0].text)
    assert quoted == {"rationale": "r", "scores": {"first": 3.0, "second": 8.0}}
    assert '"scores"' in request.turns[2].parts[0].text


def test_the_form_as_it_first_was_leaves_hashes_as_they_were_and_another_changes_them(
    tmp_path: Path,
) -> None:
    shipped = (packaged("prompts") / "scores.md").read_text(encoding="utf-8")
    (tmp_path / "scores.md").write_text(shipped, encoding="utf-8")
    assert load_prompts(tmp_path).sha256 == book().sha256
    (tmp_path / "scores.md").write_text(shipped.replace("Use the whole scale", "Use all of it"))
    assert load_prompts(tmp_path).sha256 != book().sha256


def test_a_form_without_a_section_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scores.md").write_text(
        "---\nname: scores\nversion: 1\n---\n<!-- section: approve -->\n{{ framing }}{{ words }}"
        "{{ low }}{{ high }}\n"
    )
    with pytest.raises(PromptError, match="choose"):
        load_prompts(tmp_path)
