from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from consensus.cli.init import init
from consensus.errors import DeclarationError
from consensus.panel.book import load_prompts
from consensus.policy import load_policy
from consensus.resources import packaged
from consensus.tasks import parse_task

app = typer.Typer()
app.command()(init)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_init_writes_the_three_folders_and_says_so() -> None:
    done = run()
    assert done.exit_code == 0, done.exception
    assert sorted(p.name for p in Path().iterdir()) == ["benchmarks", "prompts", "strategies"]
    assert "wrote strategies/defaults.toml" in done.stdout
    assert "wrote prompts/framings/plain.md" in done.stdout


def test_what_init_writes_is_what_is_shipped() -> None:
    run()
    assert load_policy() == load_policy(packaged("strategies"))
    assert load_prompts(Path("prompts")).sha256 == load_prompts(None).sha256


def test_the_starter_cases_are_tasks_of_the_row_they_are_for() -> None:
    run()
    row = load_policy().tasks["refund_approval"].task_defaults()
    lines = Path("benchmarks/refund_approval.jsonl").read_text(encoding="utf-8").splitlines()
    tasks = [parse_task({**row, "type": "refund_approval", **json.loads(line)}) for line in lines]
    assert len({task.id for task in tasks}) == len(lines) >= 4


def test_init_names_the_next_commands() -> None:
    steps = run("shop").stdout.split("next:\n")[1].splitlines()
    cases = "benchmarks/refund_approval.jsonl"
    assert [step.strip() for step in steps] == [
        "cd shop",
        "consensus policy check",
        "consensus policy show refund_approval",
        f"consensus decide refund_approval --input {cases} --output out.jsonl",
    ]


def test_init_never_overwrites_what_is_there() -> None:
    own = Path("strategies/defaults.toml")
    own.parent.mkdir()
    own.write_text("# mine\n", encoding="utf-8")
    done = run()
    assert own.read_text(encoding="utf-8") == "# mine\n"
    assert "kept  strategies/defaults.toml" in done.stdout
    assert "--force" in done.stderr


def test_init_with_force_overwrites() -> None:
    own = Path("strategies/defaults.toml")
    own.parent.mkdir()
    own.write_text("# mine\n", encoding="utf-8")
    run("--force")
    assert "[tiers]" in own.read_text(encoding="utf-8")


def test_init_as_json_lists_what_it_wrote_and_kept() -> None:
    run("shop")
    report = json.loads(run("shop", "--json").stdout)
    assert report["written"] == []
    assert "strategies/defaults.toml" in report["kept"]


def test_init_into_a_file_is_a_clear_error() -> None:
    Path("shop").touch()
    assert isinstance(run("shop").exception, DeclarationError)


def test_a_file_that_cannot_be_written_is_named_and_not_the_one_it_is_copied_from() -> None:
    target = Path("strategies/defaults.toml")
    target.parent.mkdir()
    target.symlink_to("/dev/full")
    done = run("--force")
    assert isinstance(done.exception, DeclarationError)
    assert str(done.exception) == f"{target}: cannot be written: No space left on device"
