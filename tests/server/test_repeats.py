"""A request that is sent again under one ``Idempotency-Key`` is one decision."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from consensus.errors import ProviderError
from consensus.ledger import Ledger
from consensus.ledger.verify import verify
from consensus.models.protocol import Request
from consensus.server.errors import ApiError
from consensus.server.repeats import Named, Repeats
from tests.server.serving import TASK, Served, bearer, said, serving, until

NAME = {"idempotency-key": "order-4711"}
CHAT = {"model": "refund", "messages": [{"role": "user", "content": "Unused."}]}


def kept(served: Served) -> int:
    ledger = served.engine.ledger
    assert ledger is not None
    found = verify(ledger)
    assert found.ok, found.problems
    return found.decisions


async def test_the_same_request_gets_the_same_answer_and_is_decided_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        first = await served.decide(headers=NAME)
        second = await served.decide(headers=NAME)
        decisions = kept(served)
    assert second.status_code == 200
    assert second.content == first.content
    assert second.headers["x-consensus-receipt"] == first.headers["x-consensus-receipt"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert (decisions, served.models.calls) == (1, 3)


async def test_a_chat_completion_keeps_its_id_too(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        first = await served.http.post("/v1/chat/completions", json=CHAT, headers=NAME)
        second = await served.http.post("/v1/chat/completions", json=CHAT, headers=NAME)
    differ = {key for key, value in first.json().items() if second.json()[key] != value}
    assert differ <= {"created"}
    assert served.models.calls == 3


async def test_the_name_of_another_request_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.decide(headers=NAME)
        other = await served.decide({**TASK, "subject": "Used for a year."}, headers=NAME)
    assert (other.status_code, said(other)) == (422, "idempotency_key_reused")


async def test_two_callers_may_use_one_name(tmp_path: Path) -> None:
    async with serving(tmp_path, keys=True) as served:
        one, other = served.key("refund"), served.key("refund")
        answers = [await served.decide(headers={**NAME, **bearer(key)}) for key in (one, other)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len({answer.headers["x-consensus-receipt"] for answer in answers}) == 2


async def test_while_it_is_being_decided_the_answer_is_409(tmp_path: Path) -> None:
    going_on = asyncio.Event()

    async def behave(request: Request) -> str:
        await going_on.wait()
        return "approve"

    async with serving(tmp_path, behave) as served:
        asking = asyncio.create_task(served.decide(headers=NAME))
        await until(lambda: served.models.calls > 0)
        early = await served.decide(headers=NAME)
        going_on.set()
        answer = await asking
    assert (early.status_code, said(early)) == (409, "in_progress")
    assert early.headers["retry-after"] == "1"
    assert answer.status_code == 200


async def test_what_a_client_that_hung_up_had_paid_for_is_not_paid_again(tmp_path: Path) -> None:
    """Two of three seats answer, the client goes, asks again: one call, and the sums are true."""
    stuck = True
    answered = 0

    async def behave(request: Request) -> str:
        nonlocal answered
        if stuck and answered == 2:
            await asyncio.sleep(60)
        answered += 1
        return "approve"

    async with serving(tmp_path, behave) as served:
        asking = asyncio.create_task(served.decide(headers=NAME))
        await until(lambda: served.models.calls == 3 and answered == 2)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: served.service.in_flight == 0)
        stuck = False
        answer = await served.decide(headers=NAME)
        decisions = kept(served)
    assert answer.json()["outcome"] == "approve"
    assert len(answer.json()["ballots"]) == 3
    assert (answered, decisions) == (3, 1)


async def test_where_no_provider_answered_a_retry_asks_again(tmp_path: Path) -> None:
    down = True

    async def behave(request: Request) -> str:
        if down:
            raise ProviderError("gone", failure="connection", model=request.model)
        return "approve"

    async with serving(tmp_path, behave) as served:
        first = await served.http.post("/v1/chat/completions", json=CHAT, headers=NAME)
        down = False
        second = await served.http.post("/v1/chat/completions", json=CHAT, headers=NAME)
        third = await served.http.post("/v1/chat/completions", json=CHAT, headers=NAME)
    assert [first.status_code, second.status_code, third.status_code] == [502, 200, 200]
    assert third.headers["x-consensus-receipt"] == second.headers["x-consensus-receipt"]


@pytest.mark.parametrize("name", ["", "x" * 256, "caf\xe9", "a\tb"])
async def test_an_odd_name_is_refused_before_any_call(tmp_path: Path, name: str) -> None:
    async with serving(tmp_path) as served:
        answer = await served.http.post(
            "/v1/decide", json=TASK, headers=httpx.Headers({"idempotency-key": name}, "latin-1")
        )
    assert (answer.status_code, said(answer)) == (400, "invalid_request")
    assert served.models.calls == 0


async def test_a_stream_has_no_name(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        answer = await served.http.post("/v1/decide/stream", json={"tasks": [TASK]}, headers=NAME)
    assert (answer.status_code, said(answer)) == (400, "invalid_request")


async def test_a_name_needs_a_ledger(tmp_path: Path) -> None:
    async with serving(tmp_path, engine_options={"ledger": False}) as served:
        answer = await served.decide(headers=NAME)
    assert (answer.status_code, said(answer)) == (400, "invalid_request")


def never(_: Any) -> bool:
    return False


async def test_a_request_of_a_process_that_lives_is_left_to_it_and_of_a_dead_one_taken_over(
    tmp_path: Path,
) -> None:
    request = Named("a" * 64, "b" * 64)
    with Ledger(tmp_path / "l.db") as one, Ledger(tmp_path / "l.db") as other:
        dying, heir = Repeats(one), Repeats(other)
        async with dying.claimed(request, "first", anew=never):
            with pytest.raises(ApiError) as caught:
                async with heir.claimed(request, "second", anew=never):
                    pass
        assert caught.value.status == 409
        await dying.aclose()  # what the system does for a process that is killed
        async with heir.claimed(request, "third", anew=never) as claim:
            assert (claim.decision_id, claim.made) == ("first", None)
        await heir.aclose()
