"""What keeps failing is left alone for a while."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import FailureClass, PolicyError, ProviderError
from consensus.models.breaker import SERVER_FAILURES, Breaker, BreakerSettings


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def breaker(clock: Clock | None = None, **changes: float) -> Breaker:
    settings = BreakerSettings(**{"consecutive": 3, "cooldown_s": 30, "lasting_s": 0, **changes})  # type: ignore[arg-type]
    return Breaker("acme/x", settings, clock=clock or Clock())


def state(tested: Breaker) -> str:
    return tested.state


def fail(tested: Breaker, times: int, failure: FailureClass = "server_error") -> None:
    for _ in range(times):
        tested.failure(tested.admit(), failure)


def test_it_opens_after_failures_in_a_row() -> None:
    tested = breaker()
    fail(tested, 2)
    assert state(tested) == "closed"
    fail(tested, 1)
    assert state(tested) == "open"


def test_a_success_breaks_the_row() -> None:
    tested = breaker()
    fail(tested, 2)
    tested.success(tested.admit())
    fail(tested, 2)
    assert state(tested) == "closed"


def test_it_opens_when_half_of_the_latest_calls_failed() -> None:
    tested = breaker(consecutive=100, window=10, ratio=0.5)
    for _ in range(5):
        tested.success(tested.admit())
        assert state(tested) == "closed"
        fail(tested, 1)
    assert state(tested) == "open"


def test_a_hiccup_does_not_open_it_however_many_calls_it_fails() -> None:
    clock = Clock()
    tested = breaker(clock, lasting_s=2)
    fail(tested, 100)
    clock.now += 1.9
    fail(tested, 100)
    assert state(tested) == "closed"
    clock.now += 0.1
    fail(tested, 1)
    assert state(tested) == "open"


def test_a_recovery_in_between_starts_the_count_of_seconds_anew() -> None:
    clock = Clock()
    tested = breaker(clock, lasting_s=2, window=4)
    fail(tested, 3)
    for _ in range(4):
        tested.success(tested.admit())
    clock.now += 5
    fail(tested, 3)
    assert state(tested) == "closed"


def test_few_calls_are_no_ratio() -> None:
    tested = breaker(consecutive=100, window=10, ratio=0.5)
    fail(tested, 9)
    assert state(tested) == "closed"


@pytest.mark.parametrize("failure", sorted(set(get_args(FailureClass)) - SERVER_FAILURES))
def test_what_is_not_the_servers_fault_never_opens_it(failure: FailureClass) -> None:
    tested = breaker(consecutive=1)
    fail(tested, 50, failure)
    assert state(tested) == "closed"


@pytest.mark.parametrize("failure", sorted(SERVER_FAILURES))
def test_every_fault_of_the_server_counts(failure: FailureClass) -> None:
    tested = breaker(consecutive=1)
    fail(tested, 1, failure)
    assert state(tested) == "open"


def test_open_it_refuses_at_once_and_says_for_how_long() -> None:
    clock = Clock()
    tested = breaker(clock)
    fail(tested, 3)
    clock.now += 10
    with pytest.raises(ProviderError, match="acme/x") as caught:
        tested.admit()
    assert caught.value.failure == "breaker_open"
    assert not caught.value.retryable
    assert caught.value.retry_after_s == pytest.approx(20)


@pytest.mark.parametrize("cooldown_s", [0.5, 30, 600])
def test_the_cool_down_is_configurable(cooldown_s: float) -> None:
    clock = Clock()
    tested = breaker(clock, cooldown_s=cooldown_s)
    fail(tested, 3)
    clock.now += cooldown_s - 0.01
    assert state(tested) == "open"
    clock.now += 0.01
    assert state(tested) == "half_open"


def test_after_the_cool_down_one_probe_passes_at_a_time() -> None:
    clock = Clock()
    tested = breaker(clock)
    fail(tested, 3)
    clock.now += 30
    tested.admit()
    with pytest.raises(ProviderError):
        tested.admit()


def test_a_probe_that_succeeds_closes_it() -> None:
    clock = Clock()
    tested = breaker(clock)
    fail(tested, 3)
    clock.now += 30
    tested.success(tested.admit())
    assert state(tested) == "closed"
    tested.admit()
    tested.admit()


def test_a_probe_that_fails_opens_it_for_another_cool_down() -> None:
    clock = Clock()
    tested = breaker(clock)
    fail(tested, 3)
    clock.now += 30
    fail(tested, 1)
    assert state(tested) == "open"
    clock.now += 29
    with pytest.raises(ProviderError):
        tested.admit()


@pytest.mark.parametrize("failure", ["rate_limited", "auth", "cancelled"])
def test_a_probe_that_says_nothing_makes_room_for_another(failure: FailureClass) -> None:
    clock = Clock()
    tested = breaker(clock)
    fail(tested, 3)
    clock.now += 30
    tested.failure(tested.admit(), failure)
    assert state(tested) == "half_open"
    tested.success(tested.admit())
    assert state(tested) == "closed"


def test_answers_of_calls_from_before_it_opened_are_ignored() -> None:
    clock = Clock()
    tested = breaker(clock)
    early = [tested.admit() for _ in range(5)]
    fail(tested, 3)
    for leave in early[:2]:
        tested.success(leave)
    assert state(tested) == "open"
    clock.now += 30
    probe = tested.admit()
    for leave in early[2:]:
        tested.failure(leave, "server_error")
    tested.success(probe)
    assert state(tested) == "closed"


@given(st.lists(st.sampled_from(["ok", "bad", "odd", "wait"]), max_size=60))
def test_it_never_stays_shut_for_good(steps: list[str]) -> None:
    clock = Clock()
    tested = breaker(clock)
    for step in steps:
        if step == "wait":
            clock.now += 31
            continue
        try:
            leave = tested.admit()
        except ProviderError:
            continue
        if step == "ok":
            tested.success(leave)
        else:
            tested.failure(leave, "server_error" if step == "bad" else "bad_request")
    clock.now += 31
    tested.success(tested.admit())
    assert state(tested) == "closed"


@pytest.mark.parametrize(
    "wrong",
    [
        {"consecutive": 0},
        {"ratio": 0},
        {"ratio": 1.1},
        {"window": 0},
        {"cooldown_s": -1},
        {"lasting_s": -1},
    ],
)
def test_senseless_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(PolicyError):
        BreakerSettings(**wrong)  # type: ignore[arg-type]
