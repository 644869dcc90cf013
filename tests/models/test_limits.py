"""One provider's queue: requests a minute, tokens a minute, calls at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import DeadlineError, PolicyError, ProviderError
from consensus.models.limits import Permit, ProviderLimits
from tests.models.virtual_time import run

Clock = Callable[[], float]


async def admitted_at(limits: ProviderLimits, clock: Clock, at: float, tokens: float = 0) -> float:
    await asyncio.sleep(at - clock())
    permit = await limits.admit(tokens)
    moment = clock()
    permit.done()
    return moment


def windows_hold(moments: list[float], rate: int, window: float) -> bool:
    ordered = sorted(moments)
    return all(b - a > window for a, b in zip(ordered, ordered[rate:], strict=False))


# -- requests a minute -----------------------------------------------------------------------------


@given(
    rate=st.integers(1, 7),
    window=st.sampled_from([0.5, 1.0, 60.0]),
    arrivals=st.lists(st.floats(0, 90, width=32), min_size=1, max_size=40),
)
def test_no_sliding_window_ever_holds_more_than_the_rate(
    rate: int, window: float, arrivals: list[float]
) -> None:
    async def main(clock: Clock) -> list[float]:
        limits = ProviderLimits(rate * 60 / window, None, None, window_s=window, clock=clock)
        return await asyncio.gather(*(admitted_at(limits, clock, at) for at in arrivals))

    assert windows_hold(run(main), rate, window)


@given(st.lists(st.floats(0, 30, width=32), min_size=2, max_size=30, unique=True))
def test_nobody_overtakes(arrivals: list[float]) -> None:
    async def main(clock: Clock) -> list[float]:
        limits = ProviderLimits(180, 600, 2, window_s=1.0, clock=clock)
        return await asyncio.gather(
            *(admitted_at(limits, clock, at, tokens=3) for at in sorted(arrivals))
        )

    moments = run(main)
    assert moments == sorted(moments)


def test_a_small_call_does_not_slip_past_a_large_one() -> None:
    order: list[float] = []

    async def one(limits: ProviderLimits, tokens: float) -> None:
        permit = await limits.admit(tokens)
        order.append(tokens)
        permit.done()

    async def main(clock: Clock) -> None:
        limits = ProviderLimits(None, 1000, None, clock=clock)
        await limits.admit(600)
        large = asyncio.create_task(one(limits, 500))
        await asyncio.sleep(1)
        await asyncio.gather(one(limits, 5), large)

    run(main)
    assert order == [500, 5]


def test_a_full_queue_loses_no_time() -> None:
    async def main(clock: Clock) -> list[float]:
        limits = ProviderLimits(600, None, None, window_s=1.0, clock=clock)
        return await asyncio.gather(*(admitted_at(limits, clock, 0) for _ in range(100)))

    assert max(run(main)) == pytest.approx(9.0, abs=0.001)


def test_a_minutes_share_may_go_at_once() -> None:
    async def main(clock: Clock) -> list[float]:
        limits = ProviderLimits(50, None, None, clock=clock)
        return await asyncio.gather(*(admitted_at(limits, clock, 0) for _ in range(51)))

    moments = run(main)
    assert moments[49] == 0
    assert moments[50] == pytest.approx(60, abs=0.001)


def test_a_rate_below_one_a_minute_is_kept() -> None:
    async def main(clock: Clock) -> list[float]:
        limits = ProviderLimits(0.5, None, None, clock=clock)
        return await asyncio.gather(*(admitted_at(limits, clock, 0) for _ in range(3)))

    assert run(main) == pytest.approx([0, 120, 240], abs=0.001)


def test_waiting_polls_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wakes = 0
    wake = ProviderLimits._wake

    def counted(self: ProviderLimits) -> None:
        nonlocal wakes
        wakes += 1
        wake(self)

    monkeypatch.setattr(ProviderLimits, "_wake", counted)

    async def main(clock: Clock) -> None:
        limits = ProviderLimits(6000, None, None, window_s=0.01, clock=clock)
        await asyncio.gather(*(admitted_at(limits, clock, 0) for _ in range(2000)))

    run(main)
    assert wakes <= 2 * 2000


# -- tokens a minute -------------------------------------------------------------------------------


@given(
    calls=st.lists(
        st.tuples(st.floats(0, 5, width=32), st.integers(0, 100)), min_size=1, max_size=40
    )
)
def test_no_sliding_window_holds_more_reserved_tokens_than_the_limit(
    calls: list[tuple[float, int]],
) -> None:
    async def main(clock: Clock) -> list[float]:
        limits = ProviderLimits(None, 6000, None, window_s=1.0, clock=clock)
        return await asyncio.gather(*(admitted_at(limits, clock, at, n) for at, n in calls))

    moments = run(main)
    for start in moments:
        held = sum(n for m, (_, n) in zip(moments, calls, strict=True) if 0 <= m - start <= 1.0)
        assert held <= 100


def test_real_usage_replaces_the_estimate() -> None:
    async def main(clock: Clock) -> float:
        limits = ProviderLimits(None, 1000, None, clock=clock)
        first = await limits.admit(900)
        waiting = asyncio.create_task(limits.admit(900))
        await asyncio.sleep(5)
        assert not waiting.done()
        first.done(100)
        await waiting
        return clock()

    assert run(main) == pytest.approx(5)


def test_usage_above_the_estimate_holds_the_next_call_back() -> None:
    async def main(clock: Clock) -> float:
        limits = ProviderLimits(None, 1000, None, clock=clock)
        (await limits.admit(100)).done(950)
        await limits.admit(100)
        return clock()

    assert run(main) == pytest.approx(60, abs=0.001)


def test_an_answer_after_its_window_corrects_nothing() -> None:
    async def main(clock: Clock) -> float:
        limits = ProviderLimits(None, 1000, None, clock=clock)
        slow = await limits.admit(1000)
        await asyncio.sleep(61)
        second = await limits.admit(1000)
        slow.done(0)
        second.done(1000)
        await limits.admit(1)
        return clock()

    assert run(main) == pytest.approx(121, abs=0.001)


def test_a_call_above_the_whole_limit_passes_alone() -> None:
    async def main(clock: Clock) -> tuple[float, float]:
        limits = ProviderLimits(None, 1000, None, clock=clock)
        (await limits.admit(1)).done()
        await limits.admit(5000)
        large = clock()
        await limits.admit(1)
        return large, clock()

    assert run(main) == pytest.approx((60, 120), abs=0.001)


# -- calls at once ---------------------------------------------------------------------------------


@given(
    cap=st.integers(1, 5),
    durations=st.lists(st.floats(0, 3, width=32), min_size=1, max_size=25),
)
def test_there_are_never_more_calls_than_the_cap(cap: int, durations: list[float]) -> None:
    peak = 0

    async def one(limits: ProviderLimits, seconds: float) -> None:
        nonlocal peak
        permit = await limits.admit()
        peak = max(peak, limits.active)
        await asyncio.sleep(seconds)
        permit.done()

    async def main(clock: Clock) -> tuple[int, int]:
        limits = ProviderLimits(None, None, cap, clock=clock)
        await asyncio.gather(*(one(limits, seconds) for seconds in durations))
        return limits.active, limits.waiting

    assert run(main) == (0, 0)
    assert peak <= cap


def test_ending_a_call_twice_frees_one_place() -> None:
    async def main(clock: Clock) -> int:
        limits = ProviderLimits(concurrency=2, clock=clock)
        first, _ = await limits.admit(), await limits.admit()
        first.done()
        first.done()
        first.unused()
        return limits.active

    assert run(main) == 1


# -- leaving the queue -----------------------------------------------------------------------------


@given(
    plan=st.lists(
        st.tuples(st.floats(0, 3, width=32), st.floats(0, 3, width=32), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_cancelled_callers_leak_nothing(plan: list[tuple[float, float, bool]]) -> None:
    async def one(limits: ProviderLimits, seconds: float) -> None:
        permit = await limits.admit(10)
        try:
            await asyncio.sleep(seconds)
        finally:
            permit.done()

    async def main(clock: Clock) -> tuple[float, float, float]:
        limits = ProviderLimits(180, 2400, 2, window_s=1.0, clock=clock)
        tasks = []
        for start, seconds, _ in sorted(plan):
            await asyncio.sleep(max(0.0, start - clock()))
            tasks.append(asyncio.create_task(one(limits, seconds)))
        await asyncio.sleep(0.5)
        for task, (_, _, cancel) in zip(tasks, sorted(plan), strict=True):
            if cancel:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        before = clock()
        await asyncio.sleep(2)
        (await limits.admit(40)).done()
        return limits.active, limits.waiting, clock() - before

    assert run(main) == pytest.approx((0, 0, 2))


def test_a_waiter_cancelled_in_the_moment_of_admission_gives_its_place_back() -> None:
    async def main(clock: Clock) -> tuple[int, float]:
        limits = ProviderLimits(1, None, 1, clock=clock, window_s=60)
        first = await limits.admit()
        first.unused()
        holder = await limits.admit()
        waiting = asyncio.create_task(limits.admit())
        await asyncio.sleep(0)
        holder.unused()  # admits the waiter, which has not run yet …
        waiting.cancel()  # … and never will
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await limits.admit()
        return limits.active, clock()

    assert run(main) == (1, 0.0)


def test_the_queue_moves_on_when_its_head_leaves() -> None:
    async def main(clock: Clock) -> float:
        limits = ProviderLimits(None, 1000, None, clock=clock)
        await limits.admit(900)
        head = asyncio.create_task(limits.admit(500))
        small = asyncio.create_task(limits.admit(50))
        await asyncio.sleep(1)
        head.cancel()
        await small
        return clock()

    assert run(main) == pytest.approx(1)


def test_a_caller_without_time_is_told_so_when_its_time_is_over() -> None:
    async def main(clock: Clock) -> float:
        limits = ProviderLimits(concurrency=1, clock=clock)
        await limits.admit()
        with pytest.raises(DeadlineError):
            await limits.admit(within_s=3)
        assert limits.waiting == 0
        return clock()

    assert run(main) == pytest.approx(3)


# -- the provider's own wishes ---------------------------------------------------------------------


def test_a_pause_holds_everybody() -> None:
    async def main(clock: Clock) -> list[float]:
        limits = ProviderLimits(clock=clock)
        limits.pause(10)
        limits.pause(2)
        return await asyncio.gather(*(admitted_at(limits, clock, at) for at in (0, 1, 12)))

    assert run(main) == pytest.approx([10, 10, 12])


def test_a_pause_longer_than_a_callers_time_is_said_at_once() -> None:
    async def main(clock: Clock) -> float:
        limits = ProviderLimits(clock=clock, name="acme")
        limits.pause(30)
        with pytest.raises(ProviderError, match="acme has asked for 30 s") as caught:
            await limits.admit(within_s=5)
        assert caught.value.failure == "rate_limited"
        return clock()

    assert run(main) == 0


def test_a_pause_frees_waiters_who_could_not_outlast_it() -> None:
    async def main(clock: Clock) -> float:
        limits = ProviderLimits(concurrency=1, clock=clock)
        await limits.admit()
        waiting = asyncio.create_task(limits.admit(within_s=20))
        await asyncio.sleep(1)
        limits.pause(60)
        with pytest.raises(ProviderError):
            await waiting
        assert limits.waiting == 0
        return clock()

    assert run(main) == pytest.approx(1)


def test_a_retry_stands_before_those_who_came_later() -> None:
    order: list[str] = []

    async def one(limits: ProviderLimits, name: str, *, again: bool) -> None:
        permit = await limits.admit(again=again)
        order.append(name)
        permit.done()

    async def main(clock: Clock) -> None:
        limits = ProviderLimits(60, None, None, window_s=1.0, clock=clock)
        await limits.admit()
        newcomer = asyncio.create_task(one(limits, "newcomer", again=False))
        await asyncio.sleep(0)
        await asyncio.gather(one(limits, "retry", again=True), newcomer)

    run(main)
    assert order == ["retry", "newcomer"]


# -- the rest --------------------------------------------------------------------------------------


def test_limits_serve_one_event_loop_after_another() -> None:
    limits = ProviderLimits(concurrency=1)

    async def main() -> None:
        holder = await limits.admit()
        waiting = asyncio.create_task(limits.admit())
        await asyncio.sleep(0)
        holder.done()
        (await waiting).done()

    for _ in range(2):
        asyncio.run(main())
    assert (limits.active, limits.waiting) == (0, 0)


@pytest.mark.parametrize("figures", [(0, None, 1), (None, -5, 1), (None, None, 0)])
def test_a_limit_must_be_positive(figures: tuple[float | None, float | None, int]) -> None:
    with pytest.raises(PolicyError, match="must be a positive number"):
        ProviderLimits(*figures)


async def test_real_time_is_kept_too() -> None:
    limits = ProviderLimits(6000, None, None, window_s=0.05)  # 5 in 50 ms
    loop = asyncio.get_running_loop()
    moments: list[float] = []

    async def one() -> Permit:
        permit = await limits.admit()
        moments.append(loop.time())
        return permit

    await asyncio.gather(*(one() for _ in range(20)))
    assert windows_hold(moments, 5, 0.05 - 0.001)
    assert all(a <= b for a, b in pairwise(moments))
    assert moments[-1] - moments[0] < 0.15 + 0.1
