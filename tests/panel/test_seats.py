from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import PromptError, TaskError
from consensus.panel.seats import Seat, balanced_order, build_panel
from consensus.tasks import Choose, Rank, Task
from tests.panel.helpers import APPROVE, COMPARE, JUDGED, SCORE, TASKS, book, panel

MODELS = st.integers(1, 6).map(lambda n: tuple(f"scripted/m{i}" for i in range(n)))


def choose(width: int) -> Choose:
    return Choose(type="t", subject="x", options=tuple(f"label {i}" for i in range(width)))


def spread(counts: Counter[object], keys: list[object]) -> int:
    return max(counts[k] for k in keys) - min(counts[k] for k in keys)


def positions(seats: list[Seat], width: int) -> tuple[Counter[object], list[object]]:
    counts: Counter[object] = Counter()
    for seat in seats:
        counts.update((option, place) for place, option in enumerate(seat.order))
    return counts, [(option, place) for option in range(width) for place in range(width)]


@given(width=st.integers(2, 12), models=MODELS, seats=st.integers(1, 40))
def test_every_option_stands_in_every_position_equally_often(
    width: int, models: tuple[str, ...], seats: int
) -> None:
    made = panel(choose(width), seats, models=models)
    assert spread(*positions(made, width)) <= 1


@given(width=st.integers(2, 8), models=MODELS, rounds=st.integers(1, 20))
def test_every_model_sees_every_option_in_every_position_in_whole_rounds(
    width: int, models: tuple[str, ...], rounds: int
) -> None:
    made = panel(choose(width), len(models) * width * rounds, models=models)
    for model in models:
        own = [seat for seat in made if seat.model == model]
        assert spread(*positions(own, width)) == 0


@pytest.mark.parametrize("task", [APPROVE, COMPARE])
@given(models=MODELS, seats=st.integers(2, 40))
def test_of_two_options_each_model_sees_both_orders_in_turn(
    task: Task, models: tuple[str, ...], seats: int
) -> None:
    made = panel(task, seats, models=models)
    for model in models:
        own = [seat.order for seat in made if seat.model == model]
        assert all(a != b for a, b in pairwise(own))


def test_a_tie_is_always_shown_last() -> None:
    assert {seat.order for seat in panel(COMPARE, 9)} == {(0, 1, 2), (1, 0, 2)}


@given(width=st.integers(2, 40))
def test_the_rows_of_a_square_are_a_latin_square_that_begins_with_the_identity(width: int) -> None:
    rows = [balanced_order(width, row) for row in range(width)]
    assert rows[0] == tuple(range(width))
    assert all(sorted(column) == list(range(width)) for column in zip(*rows, strict=True))
    assert all(sorted(row) == list(range(width)) for row in rows)


@given(half=st.integers(1, 20))
def test_in_an_even_square_each_option_follows_each_other_once(half: int) -> None:
    width = 2 * half
    rows = [balanced_order(width, row) for row in range(width)]
    pairs = Counter(pair for row in rows for pair in pairwise(row))
    assert set(pairs.values()) == {1}
    assert len(pairs) == width * (width - 1)


@given(half=st.integers(1, 20))
def test_in_an_odd_square_and_its_mirror_each_option_follows_each_other_twice(half: int) -> None:
    width = 2 * half + 1
    rows = [balanced_order(width, row, mirror) for row in range(width) for mirror in (False, True)]
    pairs = Counter(pair for row in rows for pair in pairwise(row))
    assert set(pairs.values()) == {2}


def test_the_second_of_four_items_orders_is_the_first_backwards() -> None:
    task = Rank(type="t", items=("a", "b", "c", "d"))
    assert [seat.order for seat in panel(task, 2)] == [(0, 1, 2, 3), (3, 2, 1, 0)]


@given(models=MODELS, task=st.sampled_from(TASKS))
def test_no_framing_comes_again_before_all_were_used(models: tuple[str, ...], task: Task) -> None:
    count = len(book().framings_for(task.kind))
    made = panel(task, 3 * count, models=models)
    for lap in range(3):
        assert len({seat.framing for seat in made[lap * count : (lap + 1) * count]}) == count


@given(models=MODELS, framings=st.integers(1, 6), width=st.integers(2, 5))
def test_framings_are_spread_over_models_and_orders(
    models: tuple[str, ...], framings: int, width: int
) -> None:
    names = tuple(f.name for f in book().framings_for("choose"))[:framings]
    laps = 4 * len(models) * width
    made = panel(choose(width), framings * laps, models=models, framings=names)
    with_model = Counter((seat.framing, seat.model) for seat in made)
    with_first = Counter((seat.framing, seat.order[0]) for seat in made)
    assert min(with_model[f, m] for f in names for m in models) >= 2 * width
    assert min(with_first[f, o] for f in names for o in range(width)) >= 2 * len(models)


@given(
    models=MODELS, seats=st.integers(1, 30), more=st.integers(0, 30), task=st.sampled_from(TASKS)
)
def test_a_smaller_panel_is_the_beginning_of_a_larger_one(
    models: tuple[str, ...], seats: int, more: int, task: Task
) -> None:
    assert panel(task, seats + more, models=models)[:seats] == panel(task, seats, models=models)


@given(models=MODELS, seats=st.integers(1, 60), task=st.sampled_from(TASKS))
def test_no_two_seats_send_the_same_request(
    models: tuple[str, ...], seats: int, task: Task
) -> None:
    made = panel(task, seats, models=models, framings=("plain",))
    asked = {(seat.model, seat.framing, seat.order, seat.sample) for seat in made}
    assert len(asked) == seats


def test_models_take_turns() -> None:
    made = panel(APPROVE, 5, models=("scripted/a", "scripted/b"))
    assert [seat.model[-1] for seat in made] == ["a", "b", "a", "b", "a"]


@pytest.mark.parametrize("task", JUDGED)
def test_seat_nought_is_plain_and_sees_the_given_order(task: Task) -> None:
    seat = panel(task, 1)[0]
    assert (seat.framing, seat.order) == ("plain", tuple(range(len(task.options))))


def test_a_score_has_no_order() -> None:
    assert {seat.order for seat in panel(SCORE, 5)} == {()}


def test_the_first_seats_number_changes_numbers_and_nothing_else() -> None:
    later = panel(APPROVE, 3, first_seat=1_000_000)
    assert [seat.index for seat in later] == [1_000_000, 1_000_001, 1_000_002]
    assert [seat.order for seat in later] == [seat.order for seat in panel(APPROVE, 3)]


def test_auto_asks_local_models_by_token_and_others_for_structure() -> None:
    made = build_panel(
        APPROVE, models=("local/small", "openai/x"), seats=2, book=book(), ballot="auto"
    )
    assert [seat.ballot for seat in made] == ["token", "structured"]


def test_seats_carry_the_panels_settings() -> None:
    seat = panel(APPROVE, 1, ballot="token", temperature=0.7, max_output_tokens=33)[0]
    assert (seat.ballot, seat.temperature, seat.max_output_tokens) == ("token", 0.7, 33)


def test_framings_are_dealt_in_the_order_given() -> None:
    made = panel(APPROVE, 3, framings=("auditor", "plain", "sceptic"))
    assert [seat.framing for seat in made] == ["auditor", "plain", "sceptic"]


def test_a_panel_without_models_is_refused() -> None:
    with pytest.raises(TaskError, match="at least one model"):
        panel(APPROVE, 1, models=())


@pytest.mark.parametrize("seats", [0, -1, 10_001])
def test_a_panel_of_no_size_is_refused(seats: int) -> None:
    with pytest.raises(TaskError, match="1 to 10,000 seats"):
        panel(APPROVE, seats)


def test_an_unknown_framing_is_refused() -> None:
    with pytest.raises(PromptError, match='unknown framing "nope"'):
        panel(APPROVE, 1, framings=("nope",))
