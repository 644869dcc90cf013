"""What can be read and said beside deciding: policy, receipts, labels, metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.telemetry import Metrics, Telemetry
from tests.server.serving import bearer, said, serving


async def test_the_policy_shows_every_row_and_its_way(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        report = (await served.http.get("/v1/policy")).json()
    row = report["tasks"]["refund"]
    assert report["version"] == served.engine.table.version_hash
    assert (row["kind"], row["strategy"], row["seats"]) == ("approve", "vote", 3)
    assert row["models"] == ["scripted/a", "scripted/b"]
    assert (row["owner"], row["certificate"]) == ("payments", None)


async def test_a_label_is_kept_and_says_whether_the_decision_was_right(tmp_path: Path) -> None:
    async with serving(tmp_path, {"scripted/a": "approve", "scripted/b": "approve"}) as served:
        receipt = (await served.decide()).json()["receipt_id"]
        right = {"receipt_id": receipt, "label": "approve", "by": "ann"}
        agreed = await served.http.post("/v1/feedback", json=right)
        differs = await served.http.post("/v1/feedback", json={**right, "label": "reject"})
    assert (agreed.json()["agrees"], agreed.json()["given_by"]) == (True, "ann")
    assert differs.json()["agrees"] is False


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"label": "maybe"}, 400, "invalid_task"),
        ({"probability": 2}, 400, "invalid_request"),
        ({"receipt_id": "no_such_receipt"}, 404, "no_such_receipt"),
        ({"more": 1}, 400, "invalid_request"),
    ],
)
async def test_a_label_that_is_none_is_refused(
    tmp_path: Path, change: dict[str, object], status: int, code: str
) -> None:
    async with serving(tmp_path) as served:
        receipt = (await served.decide()).json()["receipt_id"]
        body = {"receipt_id": receipt, "label": "approve", **change}
        response = await served.http.post("/v1/feedback", json=body)
    assert (response.status_code, said(response)) == (status, code)


async def test_nobody_labels_anothers_decision(tmp_path: Path) -> None:
    async with serving(tmp_path, keys=True) as served:
        mine, theirs = bearer(served.key("refund")), bearer(served.key("*"))
        receipt = (await served.decide(headers=mine)).json()["receipt_id"]
        body = {"receipt_id": receipt, "label": "approve"}
        refused = await served.http.post("/v1/feedback", json=body, headers=theirs)
        kept = await served.http.post("/v1/feedback", json=body, headers=mine)
        named = await served.http.post("/v1/feedback", json={**body, "by": "ann"}, headers=mine)
    assert (refused.status_code, kept.status_code) == (404, 200)
    assert kept.json()["given_by"] == f"key {receipt[:8]}"
    assert named.json()["given_by"] == f"ann (key {receipt[:8]})"


@pytest.mark.parametrize("wanted", ["no_such_receipt", "x", "%2e%2e%2fpolicy.toml"])
async def test_an_unknown_receipt_is_not_found(tmp_path: Path, wanted: str) -> None:
    async with serving(tmp_path) as served:
        response = await served.http.get(f"/v1/receipts/{wanted}")
    assert response.status_code == 404


async def test_metrics_hold_requests_and_what_the_engine_counts(tmp_path: Path) -> None:
    telemetry = Telemetry(metrics=Metrics())
    async with serving(tmp_path, engine_options={"telemetry": telemetry}) as served:
        await served.decide()
        await served.decide({"type": "refund"})
        answer = await served.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'consensus_http_requests_total{method="POST",route="/v1/decide",status="200"} 1.0' in (
        answer.text
    )
    assert 'consensus_http_refused_total{code="invalid_task"} 1.0' in answer.text
    assert "consensus_decision_seconds_count" in answer.text


async def test_no_request_makes_a_series_of_its_own(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for number in range(3):
            await served.http.get(f"/nowhere/{number}")
            await served.http.get(f"/v1/receipts/abcdef{number}")
            await served.http.request(f"METHOD{number}", "/v1/decide")
        text = (await served.http.get("/metrics")).text
    series = [
        line for line in text.splitlines() if line.startswith("consensus_http_requests_total")
    ]
    assert len(series) == 3


async def test_the_page_is_served_at_the_root(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        page = await served.http.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
