"""``/v1/decide``: one task over HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import httpx
import pytest

from consensus.models.protocol import Request
from tests.server.serving import TASK, said, serving, until


async def test_a_decision_is_the_engines_and_its_receipt_can_be_read(tmp_path: Path) -> None:
    async with serving(tmp_path, {"scripted/a": "approve", "scripted/b": "approve"}) as served:
        response = await served.decide()
        receipt = await served.http.get(f"/v1/receipts/{response.json()['receipt_id']}")
    decision = response.json()
    assert (decision["action"], decision["outcome"]) == ("act", "approve")
    assert decision["cost"]["usd"] > 0
    assert response.headers["x-consensus-action"] == "act"
    assert response.headers["x-consensus-receipt"] == decision["receipt_id"]
    assert receipt.json()["decision"]["outcome"] == "approve"
    assert receipt.json()["task"]["criteria"] == "Unused, within 30 days."


async def test_a_frontier_of_the_policys_tiers_is_asked_beside_the_panel(tmp_path: Path) -> None:
    async with serving(tmp_path, {"*": "approve"}) as served:
        beside = await served.decide({**TASK, "frontier": "scripted/f"})
        other = await served.decide({**TASK, "frontier": "anthropic/claude-opus-5-5"})
    assert beside.json()["frontier"]["model"] == "scripted/f"
    assert other.status_code == 400
    assert "no tier" in other.json()["error"]["message"]


async def test_an_unknown_task_type_goes_by_the_default_row_and_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        response = await served.decide({"type": "new", "kind": "approve", "subject": "x"})
    assert response.status_code == 200
    assert any("defaults" in reason for reason in response.json()["reasons"])


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "not_json"),
        (b"\xff\xfe", "application/json", 400, "not_json"),
        (b'{"type": NaN}', "application/json", 400, "not_json"),
        (b"[" * 65 + b"]" * 65, "application/json", 400, "too_deep"),
        (b"[" * 100_000, "application/json", 400, "too_deep"),
        (b"[1]", "application/json", 400, "invalid_task"),
        (b"{}", "application/json", 400, "invalid_task"),
        (b'{"type": "refund"}', "application/json", 400, "invalid_task"),
        (b'{"type": "refund", "kind": "score"}', "application/json", 400, "invalid_task"),
        (b'{"type": "refund", "subject": "x", "no": 1}', "application/json", 400, "invalid_task"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b"{}", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    ],
)
async def test_a_malformed_body_is_refused_with_a_code_before_any_call(
    tmp_path: Path, body: bytes, content_type: str, status: int, code: str
) -> None:
    async with serving(tmp_path) as served:
        headers = {"content-type": content_type}
        response = await served.http.post("/v1/decide", content=body, headers=headers)
        asked = len(served.models.requests)
    assert (response.status_code, said(response), asked) == (status, code, 0)


async def test_a_compressed_body_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        response = await served.http.post("/v1/decide", content=b"x", headers=headers)
    assert response.status_code == 415


@pytest.mark.parametrize("declared", [True, False])
async def test_an_oversized_body_is_refused_whether_or_not_it_says_its_size(
    tmp_path: Path, declared: bool
) -> None:
    text = json.dumps({**TASK, "subject": "x" * 5000}).encode()

    async def pieces() -> object:
        for start in range(0, len(text), 500):
            yield text[start : start + 500]

    async with serving(tmp_path, max_body_bytes=2000) as served:
        headers = {"content-type": "application/json"}
        content = text if declared else pieces()
        response = await served.http.post("/v1/decide", content=content, headers=headers)  # type: ignore[arg-type]
        after = await served.decide()
    assert (response.status_code, said(response)) == (413, "too_large")
    assert after.status_code == 200


async def test_a_body_that_does_not_arrive_is_not_waited_for(tmp_path: Path) -> None:
    async with serving(tmp_path, body_s=0.1) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.split(":")[-1]))
        writer.write(
            b"POST /v1/decide HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: 100\r\n\r\n{"
        )
        answer = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        await writer.wait_closed()
    assert b"408" in answer


async def test_a_client_that_hangs_up_leaves_nothing_running(tmp_path: Path) -> None:
    began, ended = 0, 0

    async def slow(request: Request) -> str:
        nonlocal began, ended
        began += 1
        try:
            if began > 1:
                await asyncio.sleep(60)
        finally:
            ended += 1
        return "approve"

    async with serving(tmp_path, slow) as served:
        with pytest.raises(httpx.ReadTimeout):
            await served.decide(timeout=0.5)
        await until(lambda: served.service.in_flight == 0)
        assert served.service.gate.running == 0
        assert began == ended > 1
        text = served.service.metrics.text().decode()
        assert 'consensus_abandoned_decisions_total{why="hang_up"} 1.0' in text
        ledger = served.engine.ledger
        assert ledger is not None
        paid = ledger.read(
            lambda connection: connection.exec_driver_sql(
                "SELECT count(*) FROM calls WHERE failure IS NULL"
            ).scalar()
        )
        assert paid == 1, "the answer that was paid for before the hang-up is kept"


async def test_no_judged_text_and_no_key_reaches_a_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "the-patient-is-ill"

    def broken(request: Request) -> str:
        raise RuntimeError(secret)

    async with serving(tmp_path, broken, keys=True) as served:
        key = served.key("refund")
        headers = {"authorization": f"Bearer {key}"}
        await served.decide({"type": "refund", "subject": secret}, headers=headers)
        await served.decide({"type": "refund", "kind": secret}, headers=headers)
        await served.http.get(f"/v1/receipts/{secret}", headers=headers)
        await served.http.post("/v1/decide", content=secret, headers=headers)
    ours = [r.getMessage() for r in caplog.records if r.name.startswith(("consensus", "uvicorn"))]
    assert any("POST /v1/decide 200" in line for line in ours)
    assert not [line for line in ours if secret in line or key in line]


async def test_every_answer_has_the_security_headers_and_no_cors(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        answers = [
            await served.decide(),
            await served.http.get("/nowhere"),
            await served.http.options("/v1/decide", headers={"origin": "http://evil.example"}),
        ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8787"])
async def test_without_keys_a_page_that_renames_this_machine_is_refused(
    tmp_path: Path, host: str
) -> None:
    async with serving(tmp_path) as served:
        refused = await served.http.get("/v1/policy", headers={"host": host})
        known = await served.http.get("/v1/policy", headers={"host": "localhost:8787"})
    assert (refused.status_code, known.status_code) == (421, 200)


async def test_a_bug_is_answered_and_does_not_end_the_server(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        decide = served.engine.decide_row
        served.engine.decide_row = None  # type: ignore[method-assign, assignment]
        broken = await served.decide()
        served.engine.decide_row = decide  # type: ignore[method-assign]
        after = await served.decide()
    assert (broken.status_code, said(broken), after.status_code) == (500, "internal", 200)
