"""The page as a file: whole, escaped, nothing from outside, nothing that a text could run."""

from __future__ import annotations

import base64
import hashlib
import re
from copy import deepcopy
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from consensus.ledger import Ledger
from consensus.ledger.feedback import give_label
from consensus.ledger.shadows import Shadow, keep_shadow
from consensus.ledger.watch.incident import Incident, insert
from consensus.server.page import page_csp, page_data, read_page, render_page
from consensus.server.page.html import render_locked, render_receipt, visible
from tests.server.page.fixtures import EVIL, NOON, decide, table, usual


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("read")
    with Ledger(folder / "ledger.db") as book:
        usual(book)
        return read_page(book, table(folder), text=True, now=NOON)


@pytest.fixture
def data(read: dict[str, Any]) -> dict[str, Any]:
    return deepcopy(read)


def test_equal_data_give_equal_bytes(data: dict[str, Any]) -> None:
    assert render_page(data) == render_page(data)


def test_a_file_names_no_other_address(data: dict[str, Any]) -> None:
    page = render_page(data)
    for needle in ("http://", "https://", "//cdn", "@import", "url(", "<link", " src=", " style="):
        assert needle not in page.replace("&lt;img src=x", ""), needle
    assert "connect-src" not in page


def test_the_policy_in_the_page_allows_its_own_script_and_style_only(data: dict[str, Any]) -> None:
    page = render_page(data, live_s=5)
    policy = unescape(page.split('http-equiv="Content-Security-Policy" content="')[1].split('"')[0])
    assert policy == page_csp(live=True)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(found) == 1
        digest = base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_a_hostile_text_stands_escaped_with_what_is_invisible_written_out(
    data: dict[str, Any],
) -> None:
    page = render_page(data)
    assert EVIL not in page
    assert "<img" not in page
    assert page.count("<script>") == 1
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "\\u202efdp.exe\\x1b[2J" in page
    assert "&lt;script&gt;document.title" in page


def test_lines_of_a_text_stay_lines() -> None:
    assert visible("a\r\nb\x07\nc") == "a\nb\\x07\nc"


def test_every_listed_decision_has_its_receipt_in_the_page(data: dict[str, Any]) -> None:
    page = render_page(data)
    for row in [*data["newest"], *data["queue"]]:
        assert f'href="#receipt={row["receipt_id"]}"' in page
        assert page.count(f'id="receipt={row["receipt_id"]}"') == 1


def test_what_needs_a_person_stands_first_and_in_the_title(data: dict[str, Any]) -> None:
    page = render_page(data)
    assert "<title>(3) Consensus: decisions</title>" in page
    top = page[page.index('id="attention"') : page.index('id="tiles"')]
    assert "the certificate of refund no longer holds" in top
    assert "refund escalates above the alarm line" in top
    assert "1 decision waits for a person" in top


def test_the_alarm_line_is_drawn_where_there_is_a_profile(data: dict[str, Any]) -> None:
    page = render_page(data)
    assert "alarm 11.5 %" in page
    assert "profile 10.0 %" in page
    assert page.count('class="alarm"') == 1


def test_an_empty_ledger_has_a_whole_page(tmp_path: Path) -> None:
    with Ledger(tmp_path / "empty.db") as book:
        page = render_page(page_data(book, table(tmp_path, "version = 1\n"), now=NOON))
    assert "Nothing was decided yet." in page
    assert "consensus decide TYPE" in page
    assert page.endswith("</html>\n")


def test_many_task_types_are_stacked_in_six_colours_and_the_rest_together(tmp_path: Path) -> None:
    from consensus.tasks import Approve

    with Ledger(tmp_path / "many.db") as book:
        for i in range(9):
            task = Approve(type=f"t{i}", subject="s")
            decide(book, f"many-{i}", task=task, cost=(i + 1) * 10**9)
        page = render_page(page_data(book, table(tmp_path), now=NOON))
    assert "4 others $0.0200" in page
    assert 'class="s5"' in page
    assert 'class="s6"' not in page


def test_a_page_that_asks_for_a_key_holds_nothing_else(data: dict[str, Any]) -> None:
    page = render_locked()
    assert "refund" not in page
    assert 'type="password"' in page


def test_a_receipt_alone_is_a_whole_page_without_a_script(data: dict[str, Any]) -> None:
    page = render_receipt(data["receipts"][0])
    assert page.count("<article") == 1
    assert "<script" not in page


def test_incidents_labels_and_shadows_have_their_place(tmp_path: Path) -> None:
    found = Incident(
        incident_id="i-1", task_type="refund", cause="escalation", baseline="b", opened_at=NOON,
        evidence={
            "says": "refund: 5 of 14 <needed> another hop", "e_value": 41.23456, "limit": None,
            "certificate": {"status": "certified", "bound": 0.96}, "command": "consensus bench run",
        },
    )  # fmt: skip
    part = replace(
        found, incident_id="i-2", cause="cost",
        evidence={"says": "refund: it costs <more>", "part_of": "i-1"},
    )  # fmt: skip
    shadow = Shadow(
        receipt_id="seen-1", task_type="refund", route="frontier", inclusion=0.1,
        status="answered", outcome="reject", agrees=False,
    )  # fmt: skip
    with Ledger(tmp_path / "ledger.db") as book:
        decide(book, "seen-1")
        for one in (found, part):
            book.work(lambda connection, one=one: insert(connection, one))  # type: ignore[misc]
        keep_shadow(book, shadow, kind="approve")
        give_label(book, "seen-1", "approve", by="ann")
        give_label(book, "seen-1", "reject", by="bob")
        page = render_page(read_page(book, table(tmp_path)))
    incident = page[page.index('id="incidents"') : page.index('id="queue"')]
    assert "refund: 5 of 14 &lt;needed&gt; another hop" in incident
    assert "<dt>e_value</dt><dd>41.23</dd>" in incident
    assert "status certified, bound 0.96" in incident
    assert incident.count('class="incident"') == 1
    assert "refund: it costs &lt;more&gt;" in incident
    assert "1 incident open" in page
    assert '<code class="copy">consensus bench run</code>' in incident
    assert "limit" not in incident
    assert "1 incident open" in page
    receipt = page[page.index('id="receipt=seen-1"') :]
    assert "disagrees" in receipt
    assert "<s>approve</s>" in receipt
    assert "was wrong" in receipt
    assert receipt.index("bob") > receipt.index("ann")
