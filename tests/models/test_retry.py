"""When an attempt is repeated, and after how long."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import PolicyError, ProviderError
from consensus.models.retry import RetryPolicy


def failed(retry_after_s: float | None = None, *, retryable: bool = True) -> ProviderError:
    return ProviderError(
        "no", failure="overloaded", retryable=retryable, retry_after_s=retry_after_s
    )


def policy(**changes: float) -> RetryPolicy:
    return RetryPolicy(rng=random.Random(7), **changes)  # type: ignore[arg-type]


def test_what_is_not_retryable_is_not_repeated() -> None:
    assert policy().delay(failed(retryable=False), 1) is None


def test_attempts_end_at_the_maximum() -> None:
    four = policy(max_attempts=4)
    assert [four.delay(failed(), n) is None for n in (1, 2, 3, 4)] == [False, False, False, True]


@given(attempt=st.integers(1, 5000), seed=st.integers(0, 1000))
def test_the_wait_is_drawn_from_zero_to_a_doubling_cap(attempt: int, seed: int) -> None:
    own = RetryPolicy(max_attempts=10**6, base_s=0.5, cap_s=8, rng=random.Random(seed))
    wait = own.delay(failed(), attempt)
    assert wait is not None
    assert 0 <= wait <= min(8, 2 ** (attempt - 1) // 2 or 0.5)


def test_jitter_uses_the_whole_range() -> None:
    own = policy(base_s=1.0)
    waits = [own.delay(failed(), 1) or 0.0 for _ in range(400)]
    assert min(waits) < 0.05
    assert max(waits) > 0.95


@given(wish=st.floats(0.001, 100))
def test_the_providers_wish_is_never_undercut(wish: float) -> None:
    wait = policy(base_s=0.5).delay(failed(wish), 1)
    assert wait is not None
    assert wish <= wait <= wish + 0.5


@pytest.mark.parametrize("wish", [121.0, math.inf])
def test_an_excessive_wish_ends_the_call(wish: float) -> None:
    assert policy(max_wait_s=120.0).delay(failed(wish), 1) is None


def test_a_wish_beyond_the_deadline_ends_the_call() -> None:
    assert policy().delay(failed(5.0), 1, left_s=4.0) is None
    assert policy().delay(failed(5.0), 1, left_s=6.0) is not None


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    own = policy(base_s=10.0)
    assert all((own.delay(failed(), 1, left_s=2.0) or 0.0) < 2.0 for _ in range(50))


@pytest.mark.parametrize("wrong", [{"max_attempts": 0}, {"base_s": -1}, {"cap_s": math.inf}])
def test_a_senseless_policy_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(PolicyError):
        policy(**wrong)


def test_an_open_breaker_is_waited_for_only_by_the_patient() -> None:
    refusal = ProviderError("no", failure="breaker_open", retry_after_s=9)
    assert policy().delay(refusal, 1) is None
    assert (policy().delay(refusal, 1, patient=True) or 0) >= 9
    assert policy().delay(refusal, 1, patient=True, left_s=8) is None
    assert policy(max_attempts=2).delay(refusal, 2, patient=True) is None
