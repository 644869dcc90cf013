from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from consensus.cli.bench import app

SUITE = 'version = 1\nname = "s"\n[types.refund]\nkind = "approve"\ncriteria = "Unused goods."\n'
CASE = {"id": "a", "type": "refund", "subject": "Sealed box.", "label": "approve"}


def test_the_command_writes_a_suite_and_says_what_to_do_next(tmp_path: Path) -> None:
    source, out = tmp_path / "s", tmp_path / "free"
    source.mkdir()
    (source / "suite.toml").write_text(SUITE, encoding="utf-8")
    (source / "cases.jsonl").write_text(json.dumps(CASE), encoding="utf-8")
    done = CliRunner().invoke(app, ["content-free", str(source), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["types"] == ["refund"]
    assert len((out / "cases.jsonl").read_text(encoding="utf-8").splitlines()) == 3
