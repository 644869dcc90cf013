"""A reviewer's key: what all callers had decided of its task types, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from httpx import Response

from consensus.errors import DataError
from consensus.models.protocol import Request
from consensus.server.keys import load_keys, new_key
from tests.server.serving import TASK, Served, bearer, said, serving

SPLIT = {"type": "split", "subject": "The seats differ over it."}


def divided(request: Request) -> str:
    """Two seats that disagree: the decision waits for a person."""
    return "approve" if request.model.endswith("a") else "reject"


async def label(served: Served, token: str, receipt: str) -> Response:
    body = {"receipt_id": receipt, "label": "approve", "by": "ada", "source": "queue"}
    return await served.http.post("/v1/feedback", json=body, headers=bearer(token))


async def test_a_reviewer_sees_and_labels_what_others_had_decided_of_its_types_alone(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, divided, keys=True) as served:
        caller = served.key("*")
        reviewer = served.key(reviews=["split"])
        split, refund = [
            (await served.decide(task, headers=bearer(caller))).json()["receipt_id"]
            for task in (SPLIT, TASK)
        ]
        assert said(await served.decide(SPLIT, headers=bearer(reviewer))) == "task_type_not_allowed"
        waiting = (await served.http.get("/v1/queue", headers=bearer(reviewer))).json()
        assert [one["receipt_id"] for one in waiting["waiting"]] == [split]
        assert waiting["more"] is False
        read = f"/v1/receipts/{split}"
        assert (await served.http.get(read, headers=bearer(reviewer))).status_code == 200
        for answer in (
            await label(served, reviewer, refund),
            await served.http.get(f"/v1/receipts/{refund}", headers=bearer(reviewer)),
            await label(served, served.key("split"), split),
            await label(served, reviewer, "nonsense"),
        ):
            assert answer.status_code == 404
        kept = (await label(served, reviewer, split)).json()
        key_id = next(k for k, v in load_keys(served.keys).items() if v.reviews)
        assert kept["given_by"] == f"ada (key {key_id})"
        left = (await served.http.get("/v1/queue", headers=bearer(reviewer))).json()
        assert left["waiting"] == []


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("?type=split", 200, None),
        ("?type=refund", 403, "review_not_allowed"),
        ("?limit=0", 400, "invalid_value"),
        ("?limit=1001", 400, "invalid_value"),
        ("?limit=x", 400, "invalid_value"),
    ],
)
async def test_a_queue_is_asked_for_by_type_and_bounded(
    tmp_path: Path, query: str, status: int, code: str | None
) -> None:
    async with serving(tmp_path, divided, keys=True) as served:
        token = bearer(served.key(reviews=["split"]))
        answer = await served.http.get(f"/v1/queue{query}", headers=token)
        assert answer.status_code == status
        assert code is None or said(answer) == code


async def test_a_key_that_reviews_nothing_sees_no_queue(tmp_path: Path) -> None:
    async with serving(tmp_path, keys=True) as served:
        answer = await served.http.get("/v1/queue", headers=bearer(served.key("*", metrics=True)))
        assert (answer.status_code, said(answer)) == (403, "review_not_allowed")


async def test_on_a_machine_without_keys_everybody_reviews(tmp_path: Path) -> None:
    async with serving(tmp_path, divided) as served:
        receipt = (await served.decide(SPLIT)).json()["receipt_id"]
        waiting = (await served.http.get("/v1/queue?limit=1")).json()
        assert [one["receipt_id"] for one in waiting["waiting"]] == [receipt]
        assert waiting["more"] is True


async def test_a_reviewers_page_holds_its_types_and_no_sums(tmp_path: Path) -> None:
    async with serving(tmp_path, divided, keys=True) as served:
        caller = served.key("*")
        split, refund = [
            (await served.decide(task, headers=bearer(caller))).json()["receipt_id"]
            for task in (SPLIT, TASK)
        ]
        one, both = served.key(reviews=["split"]), served.key(reviews=["split", "refund"])
        pages = [(await served.http.get("/", headers=bearer(t))).text for t in (one, both, one)]
        assert [split in page for page in pages] == [True, True, True]
        assert [refund in page for page in pages] == [False, True, False]
        for page in pages:
            assert SPLIT["subject"] not in page
            assert 'id="tiles"' not in page
            assert 'id="certificates"' not in page
        text = {"receipt": split, "text": ""}
        shown = await served.http.get("/", params=text, headers=bearer(one))
        assert SPLIT["subject"] in shown.text
        hidden = await served.http.get("/", params={"receipt": refund}, headers=bearer(one))
        assert hidden.status_code == 404


def test_a_key_must_be_good_for_something(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nor may it review"):
        new_key(tmp_path / "keys.toml", types=[])
    key, _ = new_key(tmp_path / "keys.toml", types=[], reviews=["*"])
    assert key.may_review("anything")
    assert not key.may("anything")
