"""The page's route: who may see it, how often the ledger is read for it, what its headers say."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from consensus.server.page import read_page, route
from tests.server.serving import TASK, bearer, said, serving


async def test_the_header_repeats_the_pages_policy_and_forbids_frames(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        answer = await served.http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    policy = answer.headers["content-security-policy"]
    assert policy.endswith("connect-src 'self'; frame-ancestors 'none'")
    assert "unsafe" not in policy


async def test_without_a_key_nothing_of_the_ledger_is_sent(tmp_path: Path) -> None:
    async with serving(tmp_path, keys=True) as served:
        token = served.key("*", metrics=True)
        receipt = (await served.decide(headers=bearer(token))).json()["receipt_id"]
        for path in ("/", f"/?receipt={receipt}"):
            for headers in ({}, bearer("ck_wrong")):
                answer = await served.http.get(path, headers=headers)
                assert answer.status_code == 401
                assert receipt not in answer.text
                assert "refund" not in answer.text
        assert receipt in (await served.http.get("/", headers=bearer(token))).text


async def test_a_key_that_may_not_see_what_all_callers_do_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, keys=True) as served:
        answer = await served.http.get("/", headers=bearer(served.key("refund")))
    assert answer.status_code == 403
    assert said(answer) == "page_not_allowed"


async def test_a_page_that_has_not_changed_is_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "LIVE_S", 0.0)
    monkeypatch.setattr(route, "PATIENCE", 0)
    async with serving(tmp_path) as served:
        tag = (await served.http.get("/")).headers["etag"]
        again = await served.http.get("/", headers={"if-none-match": tag})
        assert (again.status_code, again.content) == (304, b"")
        await served.decide()
        changed = await served.http.get("/", headers={"if-none-match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


async def test_many_viewers_are_one_reading_of_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = 0

    def counted(*args: object, **options: object) -> object:
        nonlocal readings
        readings += 1
        return read_page(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(route, "read_page", counted)
    async with serving(tmp_path) as served:
        answers = await asyncio.gather(*(served.http.get("/") for _ in range(12)))
    assert {answer.status_code for answer in answers} == {200}
    assert readings == 1


async def test_one_receipt_is_sent_alone_and_without_judged_text(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        receipt = (await served.decide()).json()["receipt_id"]
        answer = await served.http.get("/", params={"receipt": receipt})
        missing = await served.http.get("/", params={"receipt": "nonsense"})
        page = (await served.http.get("/")).text
    assert answer.text.count("<article") == 1
    assert f'id="receipt={receipt}"' in answer.text
    assert TASK["subject"] not in answer.text + page
    assert missing.status_code == 404


async def test_an_engine_without_a_ledger_has_no_page(tmp_path: Path) -> None:
    async with serving(tmp_path, engine_options={"ledger": False}) as served:
        answer = await served.http.get("/")
    assert (answer.status_code, said(answer)) == (404, "no_ledger")


@pytest.mark.needs("postgres")
async def test_the_page_of_a_ledger_on_a_server_shows_what_was_decided_and_no_password(
    tmp_path: Path, postgres_url: str
) -> None:
    async with serving(tmp_path, engine_options={"ledger": postgres_url}) as served:
        receipt = (await served.decide()).json()["receipt_id"]
        answer = await served.http.get("/")
    assert answer.status_code == 200
    assert f'id="receipt={receipt}"' in answer.text
    assert postgres_url not in answer.text


async def test_judged_text_is_shown_on_request_to_the_key_that_had_it_decided_alone(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, keys=True) as served:
        own, other = served.key("*", metrics=True), served.key("*", metrics=True)
        receipt = (await served.decide(headers=bearer(own))).json()["receipt_id"]
        place = f"/?receipt={receipt}"
        without = await served.http.get(place, headers=bearer(own))
        shown = await served.http.get(f"{place}&text=1", headers=bearer(own))
        refused = await served.http.get(f"{place}&text=1", headers=bearer(other))
    assert TASK["subject"] not in without.text
    assert TASK["subject"] in shown.text
    assert (refused.status_code, said(refused)) == (404, "no_such_receipt")
