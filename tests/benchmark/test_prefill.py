from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from consensus import Approve
from consensus.benchmark.prefill import from_ledger, from_run
from consensus.errors import DataError
from consensus.ledger import Ledger
from consensus.policy.audit import load_audit
from consensus.policy.audit.draft import audit_text
from tests.benchmark.suite_fixtures import ALL_KINDS, ONE_OF_EACH, opened, suite_folder
from tests.engine_fixtures import engine_of

ROW = '[tasks.refund]\nkind = "approve"\ncriteria = "Unused."\n'


async def test_a_ledger_tells_kinds_volumes_and_lengths(tmp_path: Path) -> None:
    engine, _ = engine_of(tmp_path, ROW)
    async with engine:
        for number in range(3):
            await engine.decide(Approve(type="refund", subject=f"kettle {number}"))
    with Ledger(tmp_path / "ledger.db") as ledger:
        (known,) = from_ledger(ledger, now=time.time())
    assert (known.name, known.kind) == ("refund", "approve")
    assert known.monthly_volume == 3 * 30  # all of it within one day
    assert known.input_tokens is not None
    assert known.input_tokens.p95 >= known.input_tokens.p50 > 10


async def test_what_is_older_than_a_month_does_not_count(tmp_path: Path) -> None:
    engine, _ = engine_of(tmp_path, ROW)
    async with engine:
        await engine.decide(Approve(type="refund", subject="kettle"))
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert from_ledger(ledger, now=time.time() + 40 * 86_400) == ()


async def test_a_run_folder_tells_types_options_scales_and_lengths(tmp_path: Path) -> None:
    suite_folder(tmp_path, ALL_KINDS, ONE_OF_EACH)
    with await opened(tmp_path) as run:
        await run.go()
    known = {each.name: each for each in from_run(tmp_path / "run")}
    kinds = {"refund approve", "triage choose", "which compare", "order rank", "mark score"}
    assert {f"{name} {each.kind}" for name, each in known.items()} == {*kinds, "write generate"}
    assert known["triage"].options == ("billing", "bug", "other")
    assert known["mark"].scale == (1.0, 5.0)
    assert all(each.output_tokens is not None for each in known.values())
    path = tmp_path / "audit.toml"
    path.write_text(audit_text(list(known.values())), encoding="utf-8")
    assert set(load_audit(path).tasks) == set(known)


def test_a_folder_without_cases_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cases.jsonl: cannot be read"):
        from_run(tmp_path)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text(json.dumps({"case_id": "a"}) + "\n{", encoding="utf-8")
    with pytest.raises(DataError, match=r"cases.jsonl:2: is not JSON"):
        from_run(tmp_path)
