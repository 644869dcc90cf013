"""Back-pressure and shutdown: what is admitted is answered, and the rest is told so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from consensus.errors import DeclarationError
from consensus.models.protocol import Request
from consensus.server.errors import ApiError
from consensus.server.gate import Gate
from consensus.server.keys import KeyRing, new_key
from consensus.server.running import bind, check_exposure
from consensus.server.settings import ServerSettings, is_loopback
from tests.server.serving import said, serving, until


async def test_beyond_the_queue_429_with_retry_after_and_all_others_are_answered(
    tmp_path: Path,
) -> None:
    going_on = asyncio.Event()
    most = 0

    async def behave(request: Request) -> str:
        nonlocal most
        most = max(most, served.service.in_flight)
        await going_on.wait()
        return "approve"

    async with serving(tmp_path, behave, at_once=3, waiting=4) as served:
        asking = [asyncio.create_task(served.decide()) for _ in range(20)]
        await until(lambda: sum(task.done() for task in asking) == 13)
        text = served.service.metrics.text().decode()
        going_on.set()
        answers = await asyncio.gather(*asking)
        after = await served.decide()
    refused = [answer for answer in answers if answer.status_code == 429]
    assert most == 3
    assert [answer.status_code for answer in answers].count(200) == 7
    assert {said(answer) for answer in refused} == {"too_busy"}
    assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)
    assert "consensus_decisions_waiting 4.0" in text
    assert after.status_code == 200


async def test_who_waits_is_served_in_order_of_arrival() -> None:
    gate = Gate(at_once=1, waiting=10, streams=1)
    order: list[int] = []

    async def one(number: int) -> None:
        async with gate.place():
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(one(number) for number in range(6)))
    assert order == list(range(6))
    assert (gate.running, gate.queued) == (0, 0)


async def test_a_waiter_that_leaves_takes_no_place_with_it() -> None:
    gate = Gate(at_once=1, waiting=1, streams=1)
    async with gate.place():

        async def wait() -> None:
            async with gate.place():
                pass

        leaving = asyncio.create_task(wait())
        await asyncio.sleep(0)
        with pytest.raises(ApiError):
            await wait()
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert gate.queued == 0
    await wait()


async def test_shutdown_finishes_what_is_in_flight_and_refuses_what_is_new(
    tmp_path: Path,
) -> None:
    going_on = asyncio.Event()

    async def behave(request: Request) -> str:
        await going_on.wait()
        return "approve"

    async with serving(tmp_path, behave) as served:
        await served.http.get("/ready")  # a second connection, kept open
        asking = asyncio.create_task(served.decide())
        await until(lambda: served.service.in_flight == 1)
        served.service.draining = True
        ready = await served.http.get("/ready")
        late = await served.decide()
        served.server.should_exit = True
        await asyncio.sleep(0.2)
        going_on.set()
        answer = await asking
        await served.running
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert (late.status_code, said(late)) == (503, "shutting_down")
    assert (answer.status_code, answer.json()["outcome"]) == (200, "approve")


async def test_it_is_ready_when_what_its_rows_call_is_loaded_and_healthy_and_deciding_before(
    tmp_path: Path,
) -> None:
    loading, loaded = asyncio.Event(), asyncio.Event()

    async with serving(tmp_path) as served:

        async def prepare() -> None:
            loading.set()
            await loaded.wait()

        async def load(model: str) -> None:
            weights.append(model)

        weights: list[str] = []
        served.models.prepare = prepare  # type: ignore[attr-defined]
        served.models.load = load  # type: ignore[attr-defined]
        warming = asyncio.create_task(served.service.warm())
        await loading.wait()
        cold = await served.http.get("/ready")
        health = await served.http.get("/health")
        deciding = asyncio.create_task(served.decide())
        loaded.set()
        answer = await deciding
        await warming
        warm = await served.http.get("/ready")
    assert (cold.status_code, cold.json()["ready"], cold.json()["warming"]) == (503, False, True)
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    assert answer.json()["action"] == "act"
    assert (warm.status_code, warm.json()["ready"], warm.json()["warming"]) == (200, True, False)
    assert weights == ["scripted/a", "scripted/b"]  # nobody asks the frontier


async def test_what_cannot_be_loaded_keeps_nobody_from_being_ready(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:

        async def prepare() -> None:
            raise DeclarationError("the package is not installed")

        served.models.prepare = prepare  # type: ignore[attr-defined]
        await served.service.warm()
        ready = await served.http.get("/ready")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)


async def test_what_outlasts_the_grace_is_cut_off_told_so_and_recorded(tmp_path: Path) -> None:
    asked = 0

    async def behave(request: Request) -> str:
        nonlocal asked
        asked += 1
        if asked > 1:
            await asyncio.sleep(60)
        return "approve"

    async with serving(tmp_path, behave, grace_s=0.3) as served:
        asking = asyncio.create_task(served.decide())
        await until(lambda: asked > 1)
        served.server.should_exit = True
        answer = await asking
        await asyncio.wait_for(served.running, 5)
        ledger = served.engine.ledger
        assert ledger is not None
        calls = ledger.calls_of(answer.headers["x-consensus-decision"])
    assert (answer.status_code, said(answer)) == (503, "shutting_down")
    assert sorted(call.failure or "" for call in calls) == ["", "cancelled", "cancelled"]
    assert {call.failure for call in calls} == {None, "cancelled"}


def test_an_address_that_others_can_reach_needs_keys(tmp_path: Path) -> None:
    place = tmp_path / "keys.toml"
    new_key(place, types=["*"])
    for host in ("::", "10.0.0.1", "192.0.2.7", "example.org"):
        with pytest.raises(DeclarationError, match="keys new"):
            check_exposure(ServerSettings(host=host), None)
        check_exposure(ServerSettings(host=host), KeyRing(place))
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        check_exposure(ServerSettings(host=host), None)


@pytest.mark.parametrize(
    "host", ["", "0", "127.0.0.1.example.org", "localhost.example.org", "10.0.0.1"]
)
def test_what_only_looks_like_loopback_is_not(host: str) -> None:
    assert not is_loopback(host)


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    with bind(ServerSettings(port=0)) as taken:
        taken.listen()
        with pytest.raises(DeclarationError, match="cannot listen on") as caught:
            bind(ServerSettings(port=taken.getsockname()[1]))
    assert "--port" in str(caught.value)
