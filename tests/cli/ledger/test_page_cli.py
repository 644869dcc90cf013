"""``consensus ledger page`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consensus.cli.main import run
from consensus.ledger import Ledger
from tests.server.page.fixtures import POLICY, usual


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "policy.toml").write_text(POLICY, encoding="utf-8")
    with Ledger(tmp_path / "ledger.db") as book:
        usual(book)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_file_is_written_and_nothing_is_on_stdout(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ledger", "page", "--out", "page.html"]) == 0
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "refund-00" in page
    assert "Unused." not in page
    assert "data-live" not in page.partition("<main>")[0].rpartition("<body")[2]
    said = capsys.readouterr()
    assert said.out == ""
    assert "wrote page.html" in said.err


def test_judged_text_is_in_the_file_where_it_is_asked_for(folder: Path) -> None:
    assert run(["ledger", "page", "--out", "page.html", "--text"]) == 0
    assert "Unused." in (folder / "page.html").read_text(encoding="utf-8")


def test_what_the_page_shows_comes_as_json_too(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ledger", "page", "--json", "--newest", "3"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["summary"]["decisions"] == 15
    assert len(data["newest"]) == 3
    assert data["types"][0]["certificate"]["dead"]


def test_an_older_receipt_is_put_in_by_how_it_begins(folder: Path) -> None:
    asked = ["--newest", "1", "--receipt", "refund-00"]
    assert run(["ledger", "page", "--out", "page.html", *asked]) == 0
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert 'id="receipt=refund-00"' in page
    assert 'id="receipt=refund-01"' not in page


def test_a_receipt_that_is_not_there_is_one_line_and_no_page(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ledger", "page", "--out", "page.html", "--receipt", "nonsense"]) == 1
    assert "no receipt 'nonsense'" in capsys.readouterr().err
    assert not (folder / "page.html").exists()


def test_a_page_without_a_place_is_a_usage_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ledger", "page"]) == 2
    assert "--out FILE.html" in capsys.readouterr().err


def test_a_ledger_that_is_not_there_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ledger", "page", "--out", "page.html", "--ledger", "nowhere.db"]) == 1
    assert "nowhere.db" in capsys.readouterr().err
