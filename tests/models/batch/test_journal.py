"""The journal of submissions: what a process that comes after knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.errors import DataError
from consensus.models.batch.journal import Journal


def test_a_later_process_knows_what_was_intended_submitted_and_failed(tmp_path: Path) -> None:
    path = tmp_path / "batches.jsonl"
    journal = Journal(path)
    first = journal.intend("m1", "openai", 100.0, ["a", "b"])
    journal.submitted(first, "batch_1")
    journal.intend("m2", "openai", 101.0, ["c"])
    journal.failed("b")
    journal.close()
    again = Journal(path)
    held, orphan = again.holder("a"), again.holder("c")
    assert held is not None
    assert (held.batch_id, held.ids) == ("batch_1", ("a", "b"))
    assert orphan is not None
    assert (orphan.batch_id, orphan.at) == (None, 101.0)
    assert again.has_failed("b")
    assert not again.has_failed("a")
    assert again.batches() == {"batch_1"}


def test_items_of_a_dead_submission_are_free_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "batches.jsonl")
    journal.died(journal.intend("m1", "openai", 100.0, ["a"]))
    journal.close()
    assert Journal(journal.path).holder("a") is None


def test_a_line_that_a_kill_tore_is_dropped_and_nothing_joins_it(tmp_path: Path) -> None:
    path = tmp_path / "batches.jsonl"
    journal = Journal(path)
    journal.intend("m1", "openai", 100.0, ["a"])
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"op":"submitted","ma')
    torn = Journal(path)
    held = torn.holder("a")
    assert held is not None
    torn.submitted(held, "batch_1")
    torn.close()
    assert Journal(path).batches() == {"batch_1"}


def test_a_broken_line_is_named_with_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "batches.jsonl"
    path.write_text('{"op":"intend","mark":"m","provider":"x","at":1,"ids":[]}\n{"op":"eat"}\n')
    with pytest.raises(DataError, match=r"batches\.jsonl:2: .*paid twice"):
        Journal(path)


def test_it_holds_no_file_before_its_first_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "folder" / "batches.jsonl")
    assert not journal.path.parent.exists()
