"""Keys: who may call, for what, and for how much."""

from __future__ import annotations

import asyncio
import hmac
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from consensus.errors import DataError, DeclarationError
from consensus.server import spending
from consensus.server.keys import KeyRing, load_keys, new_key, revoke_key
from tests.server.serving import TASK, bearer, rows_of, said, serving


def test_only_the_hash_is_kept_and_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    place = tmp_path / ".consensus" / "keys.toml"
    key, token = new_key(place, types=["refund"], name="billing", usd_per_day=5)
    assert token not in place.read_text()
    assert token.split("_")[2] not in place.read_text()
    assert place.stat().st_mode & 0o777 == 0o600
    assert (place.parent / ".gitignore").read_text() == "*\n"
    assert load_keys(place) == {key.key_id: key}


def test_a_key_is_found_by_its_token_alone(tmp_path: Path) -> None:
    place = tmp_path / "keys.toml"
    made = [new_key(place, types=["*"]) for _ in range(3)]
    ring = KeyRing(place)
    for key, token in made:
        assert ring.find(token) == key
        assert ring.find(token + "x") is None
        assert ring.find(key.sha256) is None
    assert ring.find("") is None
    assert ring.find("\udcff") is None


def test_every_key_is_compared_whichever_matches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "keys.toml"
    tokens = [new_key(place, types=["*"])[1] for _ in range(4)]
    ring = KeyRing(place)
    compared = 0
    compare = hmac.compare_digest

    def counting(a: str, b: str) -> bool:
        nonlocal compared
        compared += 1
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    for token in [*tokens, "ck_unknown"]:
        ring.find(token)
    assert compared == 4 * 5


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[keys.12345678]\n", "sha256"),
        ("[keys.x]\nsha256='0'\ntypes=['*']", "keys.x"),
        (f"[keys.12345678]\nsha256='{'0' * 64}'\ntypes=[]", "types"),
        (f"[keys.12345678]\nsha256='{'0' * 64}'\ntypes=['*']\nusd_per_day=-1", "usd_per_day"),
        (f"[keys.12345678]\nsha256='{'0' * 64}'\ntypes=['*']\nadmin=true", "admin"),
        ("keys = 1", "[keys.ID]"),
        ("other = 1", "[keys.ID]"),
        ("[keys", "keys.toml"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(tmp_path: Path, text: str, named: str) -> None:
    place = tmp_path / "keys.toml"
    place.write_text(text)
    with pytest.raises(DataError) as caught:
        load_keys(place)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_breaks_keeps_the_last_good_keys_and_one_that_goes_leaves_none(
    tmp_path: Path,
) -> None:
    place = tmp_path / "keys.toml"
    _, token = new_key(place, types=["*"])
    ring = KeyRing(place)
    place.write_text("[broken")
    ring._look_at = 0.0
    assert ring.find(token) is not None
    place.unlink()
    ring._look_at = 0.0
    assert ring.find(token) is None


@pytest.mark.parametrize("sent", [{}, bearer("ck_00000000_x"), {"authorization": "Basic eDp5"}])
async def test_nobody_is_answered_without_a_known_key(tmp_path: Path, sent: dict[str, str]) -> None:
    async with serving(tmp_path, keys=True) as served:
        served.key("refund")
        answers = [
            await served.decide(headers=sent),
            await served.http.post("/v1/chat/completions", content=b"{", headers=sent),
            await served.http.get("/v1/policy", headers=sent),
            await served.http.get("/metrics", headers=sent),
            await served.http.get("/v1/receipts/abcdef", headers=sent),
        ]
        health = await served.http.get("/health", headers=sent)
        assert not served.models.requests
    assert [(a.status_code, said(a)) for a in answers] == [(401, "invalid_api_key")] * 5
    assert all(a.headers["www-authenticate"] == "Bearer" for a in answers)
    assert health.status_code == 200


async def test_a_key_is_for_its_task_types_only(tmp_path: Path) -> None:
    async with serving(tmp_path, keys=True) as served:
        headers = bearer(served.key("refund"))
        own = await served.decide(headers=headers)
        other = await served.decide({"type": "triage", "subject": "x"}, headers=headers)
        unknown = await served.decide({"type": "no_such"}, headers=headers)
        policy = await served.http.get("/v1/policy", headers=headers)
        models = await served.http.get("/v1/models", headers=headers)
        metrics = await served.http.get("/metrics", headers=headers)
        told = await served.http.get("/metrics", headers=bearer(served.key("*", metrics=True)))
    assert own.status_code == 200
    assert [(r.status_code, said(r)) for r in (other, unknown)] == [
        (403, "task_type_not_allowed")
    ] * 2
    assert list(policy.json()["tasks"]) == ["refund"]
    assert [model["id"] for model in models.json()["data"]] == ["refund"]
    assert (metrics.status_code, told.status_code) == (403, 200)
    assert 'consensus_http_requests_total{method="POST",route="/v1/decide"' in told.text


async def test_a_key_reads_its_own_receipts_and_no_others(tmp_path: Path) -> None:
    async with serving(tmp_path, keys=True) as served:
        mine, theirs = bearer(served.key("refund")), bearer(served.key("*"))
        receipt = (await served.decide(headers=mine)).json()["receipt_id"]
        read = await served.http.get(f"/v1/receipts/{receipt}", headers=mine)
        stolen = await served.http.get(f"/v1/receipts/{receipt}", headers=theirs)
        guessed = await served.http.get(f"/v1/receipts/{receipt[:9]}", headers=theirs)
    assert (read.status_code, read.json()["receipt_id"]) == (200, receipt)
    assert (stolen.status_code, guessed.status_code) == (404, 404)


async def test_a_revoked_key_ends_while_the_server_runs(tmp_path: Path) -> None:
    async with serving(tmp_path, keys=True) as served:
        headers = bearer(served.key("refund"))
        before = await served.decide(headers=headers)
        revoke_key(served.keys, next(iter(load_keys(served.keys))))
        assert served.service.keys is not None
        served.service.keys._look_at = 0.0
        after = await served.decide(headers=headers)
    assert (before.status_code, after.status_code) == (200, 401)


async def spend_to_the_end(served: Any, headers: dict[str, str]) -> tuple[float, Any]:
    """Decide until refused; what was spent, and the refusal."""
    spent = 0.0
    for _ in range(50):
        response = await served.decide(headers=headers)
        if response.status_code != 200:
            return spent, response
        spent += response.json()["cost"]["usd"]
    raise AssertionError("the budget never ended")


@pytest.mark.parametrize("word", ["usd_per_day", "usd_per_month"])
async def test_a_spent_budget_is_refused_and_a_restart_does_not_forget_it(
    tmp_path: Path, word: str
) -> None:
    async with serving(tmp_path, keys=True) as served:
        one = (await served.decide(headers=bearer(served.key("*")))).json()["cost"]["usd"]
        headers = bearer(served.key("refund", **{word: 2.5 * one}))
        spent, refusal = await spend_to_the_end(served, headers)
        others = await served.decide(headers=bearer(served.key("*")))
    assert 2.5 * one <= spent < 4.5 * one
    assert (refusal.status_code, said(refusal)) == (429, "insufficient_quota")
    assert refusal.headers["x-should-retry"] == "false"
    assert 0 < int(refusal.headers["retry-after"]) <= 31 * 86400
    assert others.status_code == 200
    async with serving(tmp_path, keys=True) as again:
        refused = await again.decide(headers=headers)
        row = rows_of(await again.http.post("/v1/decide/stream", json=[TASK], headers=headers))
        assert not again.models.requests
    assert said(refused) == "insufficient_quota"
    assert "has spent" in row[0]["error"]


async def test_what_another_process_spends_counts_at_the_next_look(tmp_path: Path) -> None:
    async with serving(tmp_path, keys=True, read_spending_s=0.05) as one:
        price = (await one.decide(headers=bearer(one.key("*")))).json()["cost"]["usd"]
        headers = bearer(one.key("refund", usd_per_day=2.5 * price))
        async with serving(tmp_path, keys=True, read_spending_s=0.05) as other:
            assert (await other.decide(headers=headers)).status_code == 200
            await spend_to_the_end(one, headers)
            await asyncio.sleep(0.06)
            refused = await other.decide(headers=headers)
    assert said(refused) == "insufficient_quota"


async def test_a_budget_that_many_share_at_once_is_passed_only_by_what_is_in_flight(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, keys=True, at_once=4) as served:
        price = (await served.decide(headers=bearer(served.key("*")))).json()["cost"]["usd"]
        headers = bearer(served.key("refund", usd_per_day=10 * price))
        answers = await asyncio.gather(*(served.decide(headers=headers) for _ in range(40)))
        spent = sum(a.json()["cost"]["usd"] for a in answers if a.status_code == 200)
    assert {a.status_code for a in answers} == {200, 429}
    # Decisions differ a little in price, so one more than the four in flight is allowed for.
    assert 10 * price <= spent <= 15 * price


def test_budgets_without_a_ledger_are_refused_at_the_start(tmp_path: Path) -> None:
    from consensus.server.service import Service
    from tests.engine_fixtures import engine_of

    place = tmp_path / "keys.toml"
    new_key(place, types=["*"], usd_per_day=1)
    engine, _ = engine_of(tmp_path, "", ledger=False)
    with pytest.raises(DeclarationError, match="need a ledger"):
        Service(engine, keys=KeyRing(place))


def test_the_first_id_of_a_moment_stands_between_the_ids_around_it(tmp_path: Path) -> None:
    import time

    from consensus.models.ids import ID_LENGTH, new_id

    now = time.time()
    identity = new_id()
    assert spending.first_id(now - 0.002) < identity < spending.first_id(now + 1)
    assert len(spending.first_id(now)) == ID_LENGTH


async def test_a_month_counts_what_is_closed_and_what_is_open_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, keys=True) as served:
        headers = bearer(served.key("refund", usd_per_month=1000.0))
        costs = [(await served.decide(headers=headers)).json()["cost"]["usd"] for _ in range(3)]
        key = next(iter(load_keys(served.keys).values()))
        assert served.engine.ledger is not None
        accounts = spending.Accounts(served.engine.ledger, read_again_s=0.0)
        first = await accounts.spent(key)
        # Fifteen minutes later the same calls lie in the part that is read no more.
        monkeypatch.setattr(spending, "OPEN_S", -1.0)
        closed = await accounts.spent(key)
        again = await accounts.spent(key)
    assert first.month == closed.month == again.month == round(sum(costs) * 1e12)
    if datetime.now(UTC).hour:  # the three did not straddle midnight
        assert first.day == first.month
