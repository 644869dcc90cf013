"""``consensus models`` as a user meets it, in a folder of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consensus.cli.main import run
from consensus.models.catalogue import catalogue
from tests.models.local_fixtures import TINY, local_model


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSENSUS_MODELS", str(tmp_path))


def put_tiny(folder: Path) -> Path:
    """The real file as if put there by hand: without a stamp."""
    path = folder / f"{TINY}.gguf"
    path.symlink_to(local_model())
    return path


def test_list_as_json_names_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(catalogue())
    assert not any(row["pulled"] for row in rows)


def test_list_shows_licences_and_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert "Apache-2.0" in out
    assert "1,117 MB" in out


def test_where_of_a_model_that_is_not_here_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["models", "where", TINY]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"error: {TINY} is not here (run: consensus models pull {TINY})\n"


def test_an_unknown_name_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "pull", "nosuch"]) == 1
    assert capsys.readouterr().err.startswith('error: no model named "nosuch" in the catalogue')


def test_help_teaches_how_a_policy_names_a_local_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--help"]) == 0
    assert "local/qwen2.5-coder-1.5b-instruct" in capsys.readouterr().out


@pytest.mark.needs("local-model")
def test_pull_prints_the_path_on_stdout_and_progress_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put_tiny(tmp_path)
    assert run(["models", "pull", f"local/{TINY}"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{path}\n"
    assert f"{TINY}: verifying" in printed.err
    assert run(["models", "where", TINY]) == 0
    assert run(["models", "pull", TINY, "--json"]) == 0
    assert run(["models", "remove", TINY]) == 0
    assert not path.exists()
