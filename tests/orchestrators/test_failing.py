from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.orchestrators.failing import LEAST, PROBE, FailureWindow
from tests.orchestrators.ballot_box import failure


def note(window: FailureWindow, bad: int, asked: int = 1, kind: str = "schema") -> None:
    window.note(asked, [failure(i, kind) for i in range(bad)])


def filled(rate: float, window: int, bad: int, of: int) -> FailureWindow:
    made = FailureWindow(rate, window)
    for i in range(of):
        note(made, int(i >= of - bad))
    return made


def test_a_rate_above_the_limit_trips_it_and_one_at_the_limit_does_not() -> None:
    assert not filled(0.05, 100, 5, 100).tripped
    assert filled(0.05, 100, 6, 100).tripped


def test_nothing_is_believed_of_fewer_tasks_than_the_least() -> None:
    window = filled(0.05, 100, LEAST - 1, LEAST - 1)
    assert not window.tripped
    note(window, 1)
    assert window.tripped


def test_seats_are_counted_and_not_tasks() -> None:
    window = FailureWindow(0.05, 100)
    for _ in range(LEAST):
        note(window, 1, asked=25)
    assert not window.tripped


@pytest.mark.parametrize("kind", ["timeout", "connection", "rate_limited", "budget", "guard"])
def test_a_provider_that_does_not_answer_is_the_breakers_business(kind: str) -> None:
    window = FailureWindow(0.05, 100)
    for _ in range(LEAST):
        note(window, 1, kind=kind)
    assert not window.tripped


def test_while_tripped_one_task_in_ten_still_asks_and_good_answers_end_it() -> None:
    window = filled(0.05, 20, 20, 20)
    asked = 0
    for _ in range(PROBE * LEAST):
        if not window.passes_over():
            asked += 1
            note(window, 0)
    assert asked == LEAST
    assert not window.tripped
    assert not window.passes_over()


def test_bad_probes_keep_it_tripped() -> None:
    window = filled(0.05, 20, 20, 20)
    for _ in range(5 * LEAST):
        note(window, 1)
    assert window.tripped


def test_the_sentence_gives_the_figures() -> None:
    said = filled(0.05, 20, 3, 20).sentence()
    assert said.startswith("3 of its last 20 answers could not be used (15.0%, more than 5.0%)")


@given(st.lists(st.booleans(), max_size=200), st.floats(0.01, 0.9))
def test_it_is_tripped_only_by_a_rate_above_the_limit(seen: list[bool], rate: float) -> None:
    window = FailureWindow(rate, 20)
    for place, bad in enumerate(seen):
        note(window, int(bad))
        if window.tripped:
            last = seen[max(0, place - 19) : place + 1]
            assert sum(last) / len(last) > rate
            return
