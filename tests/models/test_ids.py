"""Call ids."""

from __future__ import annotations

import os
import threading
import time

import pytest

from consensus.models import ids
from consensus.models.ids import ID_LENGTH, new_id

REAL_NS = time.time_ns


def test_ids_are_unique_and_sorted_by_their_making() -> None:
    made = [new_id() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_an_id_has_26_characters_of_crockfords_alphabet() -> None:
    made = new_id()
    assert len(made) == ID_LENGTH == 26
    assert set(made) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


def test_an_id_begins_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_state", ids._State())
    monkeypatch.setattr(time, "time_ns", lambda: 1_469_918_176_385 * 1_000_000)
    assert new_id().startswith("01ARYZ6S41")  # the ULID specification's own example


def test_ids_stay_sorted_when_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_state", ids._State())
    moments = iter([5_000_000_000, 4_000_000_000, 4_500_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(moments))
    made = [new_id() for _ in range(3)]
    assert made == sorted(made)
    assert len(set(made)) == 3


def test_threads_never_share_an_id() -> None:
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.extend([new_id() for _ in range(2000)]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_draws_its_own_random_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids._state
    new_id()
    ids._after_fork()
    assert ids._state is not before
    assert ids._state.last == 0


def test_a_clock_that_was_far_ahead_and_is_put_right_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ids, "_state", ids._State())
    before = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: REAL_NS() + 10 * 365 * 86_400 * 10**9)
    ahead = new_id()
    monkeypatch.setattr(time, "time_ns", REAL_NS)
    after = new_id()
    assert before[:10] <= after[:10] < ahead[:10]  # ten characters are the time
