"""``/v1/decide/stream``: many tasks, a row each."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from consensus.models.protocol import Request
from consensus.server.streams import event, line
from tests.server.serving import TASK, Served, bearer, rows_of, said, serving, until

NDJSON = {"content-type": "application/x-ndjson"}


def lines(*tasks: Any) -> bytes:
    return b"\n".join(t if isinstance(t, bytes) else json.dumps(t).encode() for t in tasks)


def text_of(request: Request) -> str:
    return " ".join(part.text for turn in request.turns for part in turn.parts)


async def test_rows_come_in_input_order_though_the_first_task_takes_longest(
    tmp_path: Path,
) -> None:
    async def behave(request: Request) -> str:
        await asyncio.sleep(0.2 if "slow one" in text_of(request) else 0)
        return "approve"

    tasks = [{**TASK, "subject": "slow one"}, *({**TASK, "id": str(n)} for n in range(1, 30))]
    async with serving(tmp_path, behave) as served:
        response = await served.http.post(
            "/v1/decide/stream", content=lines(*tasks), headers=NDJSON
        )
    rows = rows_of(response)
    assert [row["index"] for row in rows] == list(range(30))
    assert [row["id"] for row in rows[1:]] == [str(n) for n in range(1, 30)]
    assert {row["action"] for row in rows} == {"act"}
    assert len({row["receipt_id"] for row in rows}) == 30


BAD = (b"not json", b"\xff", b"[1]", b'{"type": "refund"}', b'{"subject": "x"}', b"[" * 5000)


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_task_has_its_row_and_the_others_theirs(tmp_path: Path, bad: bytes) -> None:
    async with serving(tmp_path) as served:
        body = lines(TASK, bad, TASK)
        response = await served.http.post("/v1/decide/stream", content=body, headers=NDJSON)
    first, wrong, last = rows_of(response)
    assert response.status_code == 200
    assert (first["error"], last["error"]) == (None, None)
    assert (wrong["action"], wrong["index"], wrong["receipt_id"]) == ("abstain", 1, None)
    assert wrong["error"]


async def test_a_list_of_tasks_is_taken_as_well_and_sent_as_events_where_asked(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as served:
        listed = await served.http.post("/v1/decide/stream", json=[TASK])
        events = await served.http.post(
            "/v1/decide/stream",
            json={"tasks": [TASK, TASK]},
            headers={"accept": "text/event-stream"},
        )
    assert [row["index"] for row in rows_of(listed)] == [0]
    assert events.headers["content-type"] == "text/event-stream"
    sent = [part.removeprefix("data: ") for part in events.text.strip().split("\n\n")]
    assert [json.loads(part)["index"] for part in sent[:-1]] == [0, 1]
    assert sent[-1] == "[DONE]"


async def test_a_type_that_the_key_is_not_for_costs_only_its_own_row(tmp_path: Path) -> None:
    async with serving(tmp_path, keys=True) as served:
        headers = {**NDJSON, **bearer(served.key("refund"))}
        body = lines(TASK, {"type": "triage", "subject": "x"}, TASK)
        response = await served.http.post("/v1/decide/stream", content=body, headers=headers)
    rows = rows_of(response)
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert "not for this task type" in rows[1]["error"]


async def test_rows_are_sent_while_later_tasks_are_still_decided(tmp_path: Path) -> None:
    going_on = asyncio.Event()

    async def behave(request: Request) -> str:
        if "last" in text_of(request):
            await going_on.wait()
        return "approve"

    async with serving(tmp_path, behave, per_stream=1) as served:
        body = lines(TASK, TASK, {**TASK, "subject": "last"})
        sending = served.http.stream("POST", "/v1/decide/stream", content=body, headers=NDJSON)
        async with sending as response:
            rows = response.aiter_lines()
            first = json.loads(await asyncio.wait_for(anext(rows), 5))
            going_on.set()
            rest = [json.loads(row) async for row in rows]
    assert [first["index"], *(row["index"] for row in rest)] == [0, 1, 2]


async def test_a_silent_stream_says_that_it_is_alive(tmp_path: Path) -> None:
    async def behave(request: Request) -> str:
        await asyncio.sleep(0.3)
        return "approve"

    async with serving(tmp_path, behave, heartbeat_s=0.05) as served:
        response = await served.http.post(
            "/v1/decide/stream", json=[TASK], headers={"accept": "text/event-stream"}
        )
    assert response.text.count(": still deciding\n\n") >= 3
    assert response.text.endswith("data: [DONE]\n\n")


async def hang_up_in_the_middle(served: Served) -> None:
    body = lines(*([TASK] * 40))
    async with served.http.stream(
        "POST", "/v1/decide/stream", content=body, headers=NDJSON
    ) as response:
        await anext(response.aiter_lines())


async def test_a_stream_that_is_hung_up_on_leaves_nothing_running_and_frees_its_place(
    tmp_path: Path,
) -> None:
    running = 0

    async def behave(request: Request) -> str:
        nonlocal running
        running += 1
        try:
            await asyncio.sleep(0.02)
        finally:
            running -= 1
        return "approve"

    async with serving(tmp_path, behave, streams=1, at_once=2) as served:
        await hang_up_in_the_middle(served)
        await until(lambda: served.service.gate.streams == 0)
        assert (running, served.service.in_flight, served.service.gate.running) == (0, 0, 0)
        asked = len(served.models.requests)
        await asyncio.sleep(0.1)
        assert len(served.models.requests) == asked < 120
        again = await served.http.post("/v1/decide/stream", json=[TASK])
    assert len(rows_of(again)) == 1


async def test_one_stream_too_many_is_refused_with_the_time_to_come_again(tmp_path: Path) -> None:
    going_on = asyncio.Event()

    async def behave(request: Request) -> str:
        await going_on.wait()
        return "approve"

    async with serving(tmp_path, behave, streams=1) as served:
        first = asyncio.create_task(served.http.post("/v1/decide/stream", json=[TASK]))
        await until(lambda: served.service.gate.streams == 1)
        second = await served.http.post("/v1/decide/stream", json=[TASK])
        going_on.set()
        assert (await first).status_code == 200
    assert (second.status_code, said(second)) == (429, "too_busy")
    assert int(second.headers["retry-after"]) >= 1


async def test_too_many_tasks_are_refused_whole(tmp_path: Path) -> None:
    async with serving(tmp_path, max_tasks=2) as served:
        response = await served.http.post("/v1/decide/stream", json=[TASK] * 3)
        assert not served.models.requests
    assert (response.status_code, said(response)) == (413, "too_many_tasks")


async def test_a_bug_in_one_task_does_not_lose_the_others(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        decide = served.engine.decide_row

        async def broken(task: Any, **options: Any) -> Any:
            if task.subject == "broken":
                raise RuntimeError("a bug")
            return await decide(task, **options)

        served.engine.decide_row = broken  # type: ignore[method-assign]
        tasks = [TASK, {**TASK, "subject": "broken"}, TASK]
        response = await served.http.post("/v1/decide/stream", json=tasks)
    assert [row["error"] is None for row in rows_of(response)] == [True, False, True]


def test_a_lone_surrogate_does_not_break_an_answer() -> None:
    assert line({"a": "odd \ud800 text"}) == b'{"a":"odd ? text"}\n'
    assert event({"a": "odd \ud800 text"}) == b'data: {"a":"odd ? text"}\n\n'
