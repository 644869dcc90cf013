"""What the page shows is what the ledger and the policy say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consensus.ballots import PICO
from consensus.ledger import Ledger
from consensus.ledger.attribution import attribute
from consensus.ledger.feedback import give_label
from consensus.ledger.shadows import Shadow, keep_shadow
from consensus.ledger.watch.incident import Incident, insert
from consensus.policy.demotion import Demotion, demote
from consensus.policy.history import evidence_sha256
from consensus.policy.load import load_policy
from consensus.server.page import page_data, read_page, render_page
from consensus.tasks import Generate
from tests.server.page.fixtures import DAY, EVIL, NOON, POLICY, decide, table, usual


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as book:
        yield book


def of(data: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in data["types"] if row["name"] == name)


def test_money_over_time_adds_up_to_what_the_attribution_says(
    ledger: Ledger, tmp_path: Path
) -> None:
    usual(ledger)
    data = page_data(ledger, table(tmp_path))
    drawn = sum(bucket["cost"] for row in data["types"] for bucket in row["over_time"])
    total = attribute(ledger).total
    assert drawn == total.cost_pico - total.beside_pico
    assert data["summary"]["paid_usd"] == total.cost_pico / PICO


@pytest.mark.parametrize("apart", [20, 3_000, 30_000, DAY, 9 * DAY])
def test_every_decision_is_in_one_bucket_however_long_the_stretch(
    ledger: Ledger, tmp_path: Path, apart: int
) -> None:
    for place in range(12):
        decide(ledger, f"d-{place}", at=NOON + place * apart)
    data = page_data(ledger, table(tmp_path))
    buckets = of(data, "refund")["over_time"]
    assert len(buckets) == len(data["starts"]) <= 60
    assert sum(bucket["decisions"] for bucket in buckets) == 12
    assert sum(bucket["cost"] for bucket in buckets) == 24 * 10**9
    assert data["starts"][0] <= NOON < data["starts"][0] + data["step_s"]


def test_a_bucket_is_long_against_a_decision(ledger: Ledger, tmp_path: Path) -> None:
    from sqlalchemy import update

    from consensus.ledger.schema import decisions as d

    decide(ledger, "a", at=NOON)
    decide(ledger, "b", at=NOON + 130)
    assert page_data(ledger, table(tmp_path))["step_s"] == 60
    ledger.work(lambda connection: connection.execute(update(d).values(latency_s=80.0)))
    assert page_data(ledger, table(tmp_path))["step_s"] == 900


def test_escalations_stand_against_the_profile_and_its_alarm_line(
    ledger: Ledger, tmp_path: Path
) -> None:
    usual(ledger)
    row = of(page_data(ledger, table(tmp_path)), "refund")
    assert row["escalation"]["count"] == 5
    assert row["escalation"]["of"] == 14
    assert row["profile_escalation"] == 0.1
    assert row["alarm_line"] == pytest.approx(0.115)
    assert row["over_line"] is True


def test_the_alarm_line_is_the_policys_own(ledger: Ledger, tmp_path: Path) -> None:
    usual(ledger)
    wide = table(tmp_path, POLICY + "[alarms]\nescalation_ratio = 5.0\n")
    row = of(page_data(ledger, wide), "refund")
    assert row["alarm_line"] == pytest.approx(0.5)
    assert row["over_line"] is False


def test_agreement_counts_frontiers_and_shadows_that_could_be_compared(
    ledger: Ledger, tmp_path: Path
) -> None:
    usual(ledger)
    for name, agrees in (("refund-00", True), ("refund-01", None)):
        shadow = Shadow(
            receipt_id=name, task_type="refund", route="frontier", inclusion=0.1,
            status="answered", agrees=agrees,
        )  # fmt: skip
        keep_shadow(ledger, shadow, kind="approve", created_at=NOON + DAY)
    data = page_data(ledger, table(tmp_path))
    assert of(data, "refund")["agreement"]["count"] == 3
    assert of(data, "refund")["agreement"]["of"] == 4
    assert data["summary"]["agreement"]["of"] == 4


def test_a_certificate_has_its_age_and_what_killed_it(ledger: Ledger, tmp_path: Path) -> None:
    usual(ledger)
    shown = of(page_data(ledger, table(tmp_path), now=NOON), "refund")["certificate"]
    assert shown["status"] == "certified"
    assert shown["expires"] == "2027-02-01"
    # The certificate of the fixture is of another route: it must not pass for evidence.
    assert "the row was changed since it was certified" in shown["dead"]


def test_a_demoted_row_says_since_when_why_and_by_what_it_serves(
    ledger: Ledger, tmp_path: Path
) -> None:
    usual(ledger)
    plain = table(tmp_path, POLICY.replace('owner = "payments"', "demote = true"))
    order = Demotion(
        since="2026-11-22T06:00:00+00:00",
        why="61 of 200 needed another hop",
        evidence=evidence_sha256(plain.tasks["refund"]),
    )
    demote(tmp_path / "policy.toml", {"refund": order})
    data = page_data(ledger, load_policy(tmp_path / "policy.toml", strict=False))
    shown = of(data, "refund")
    assert shown["demoted"] == {
        "since": order.since,
        "why": order.why,
        "by": "its strongest step",
    }
    assert shown["over_line"] is None
    page = render_page(data)
    assert "refund is demoted: it serves by its strongest step" in page
    assert "61 of 200 needed another hop" in page


def test_a_row_with_evidence_is_shown_before_its_first_decision(
    ledger: Ledger, tmp_path: Path
) -> None:
    data = page_data(ledger, table(tmp_path))
    assert of(data, "refund")["decisions"] == 0
    assert of(data, "refund")["escalation"]["share"] is None
    assert data["summary"]["usd_per_decision"] is None


def test_a_label_takes_a_decision_out_of_the_queue_and_into_its_receipt(
    ledger: Ledger, tmp_path: Path
) -> None:
    usual(ledger)
    before = read_page(ledger, table(tmp_path))
    assert [one["receipt_id"] for one in before["queue"]] == ["waiting-1"]
    give_label(ledger, "waiting-1", "approve", by="ann")
    after = read_page(ledger, table(tmp_path))
    assert after["queue"] == []
    receipt = next(one for one in after["receipts"] if one["id"] == "waiting-1")
    assert [(one["label"], one["by"]) for one in receipt["labels"]] == [("approve", "ann")]


def test_the_queue_says_why_each_waits_and_quotes_no_judged_text(
    ledger: Ledger, tmp_path: Path
) -> None:
    usual(ledger)
    said = Generate.model_validate(
        {"type": "reply", "messages": [{"role": "user", "content": "Say it."}]}
    )
    decide(ledger, "waiting-2", task=said, answers=["one", "other"], escalate=True)
    data = read_page(ledger, table(tmp_path))
    reasons = {name: ledger.receipt(name).decision.reasons for name in ("waiting-1", "waiting-2")}
    assert {one["receipt_id"]: one["because"] for one in data["queue"]} == {
        "waiting-1": reasons["waiting-1"][-1],
        "waiting-2": None,
    }
    assert all(reasons.values())
    page = render_page(data)
    assert f'<td class="t why">{reasons["waiting-1"][-1]}</td>' in page
    assert '<td class="t why">its receipt says</td>' in page


def test_open_incidents_are_shown_and_those_that_ended_are_not(
    ledger: Ledger, tmp_path: Path
) -> None:
    usual(ledger)
    for name, closed in (("open", None), ("ended", NOON + 1.0)):
        found = Incident(
            incident_id=name, task_type="refund", cause=f"escalation:{name}", baseline="b",
            opened_at=NOON, evidence={"says": "too many", "rate": 0.35714, "command": "run it"},
        )  # fmt: skip
        ledger.work(lambda connection, found=found: insert(connection, found))  # type: ignore[misc]
        if closed is not None:
            from consensus.ledger.watch.incident import close

            ledger.work(lambda connection, name=name: close(connection, name, at=NOON, by="x"))  # type: ignore[misc]
    shown = read_page(ledger, table(tmp_path))["incidents"]
    assert [one["name"] for one in shown] == ["open"]
    assert shown[0]["evidence"] == {"rate": "0.3571"}
    assert shown[0]["fix"] == "run it"


def test_without_text_nothing_judged_is_in_the_data(ledger: Ledger, tmp_path: Path) -> None:
    usual(ledger)
    told = json.dumps(page_data(ledger, table(tmp_path))["receipts"])
    assert "Unused." not in told
    assert "it was unused" not in told
    written = json.dumps(
        [one for one in page_data(ledger, table(tmp_path))["receipts"] if one["id"] == "written-1"]
    )
    assert "onerror" not in written
    assert EVIL not in written


def test_with_text_a_receipt_has_its_task_and_rationales(ledger: Ledger, tmp_path: Path) -> None:
    usual(ledger)
    data = page_data(ledger, table(tmp_path), text=True)
    receipt = next(one for one in data["receipts"] if one["id"] == "refund-00")
    assert {"name": "subject", "text": "Unused."} in receipt["task"]
    assert receipt["hops"][-1]["seats"][0]["rationale"] == "it was unused"


def test_text_that_the_ledger_does_not_keep_is_not_shown_whatever_is_asked(tmp_path: Path) -> None:
    with Ledger(tmp_path / "silent.db", store_text=False) as silent:
        decide(silent, "silent-1")
        data = page_data(silent, table(tmp_path), text=True)
    assert data["receipts"][0]["text"] == "not kept"
    assert data["receipts"][0]["task"] == []
    assert "it was unused" not in json.dumps(data)


def test_a_receipt_that_is_not_there_is_left_out_and_one_more_is_put_in(
    ledger: Ledger, tmp_path: Path
) -> None:
    usual(ledger)
    data = page_data(ledger, table(tmp_path), newest=2, receipts=["refund-00", "nonsense", ""])
    assert [one["id"] for one in data["receipts"]] == ["written-1", "hostile-1", "refund-00"]


def test_a_damaged_receipt_is_named_and_hides_no_other(ledger: Ledger, tmp_path: Path) -> None:
    from sqlalchemy import update

    from consensus.ledger.schema import decisions as d

    usual(ledger)
    broken = update(d).where(d.c.receipt_id == "refund-11").values(receipt=b"{}")
    ledger.work(lambda connection: connection.execute(broken))
    found = {one["id"]: one for one in page_data(ledger, table(tmp_path))["receipts"]}
    assert "no decision in it" in found["refund-11"]["broken"]
    assert found["refund-10"]["action"] == "act"


def test_framings_have_their_words_where_the_prompts_are_still_those(
    ledger: Ledger, tmp_path: Path
) -> None:
    from dataclasses import replace

    from consensus.panel.book import load_prompts

    decide(ledger, "asked-1")
    book = load_prompts(None)
    same = replace(book, sha256="b" * 64)  # what the fixture's receipts say
    data = page_data(ledger, table(tmp_path), book=same)
    assert [one["name"] for one in data["receipts"][0]["framings"]] == ["plain"]
    assert data["receipts"][0]["framings"][0]["text"] == book.framing("plain").body
    changed = page_data(ledger, table(tmp_path), book=book)
    assert changed["receipts"][0]["framings"] == []
