"""The same records in a file and on a server: every command says the same of both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from consensus.cli.main import run
from consensus.ledger import Ledger
from consensus.ledger.feedback import give_label
from consensus.ledger.transfer import transfer
from tests.ledger.test_attribution import wild
from tests.server.page.fixtures import POLICY, usual
from tests.servers import real

pytestmark = pytest.mark.needs("postgres")


class Both(NamedTuple):
    """A file and a database that hold the same records."""

    file: Path
    server: str
    folder: Path


@pytest.fixture(scope="module")
def both(
    postgres_server: real.Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("both")
    (folder / "strategies").mkdir()
    (folder / "strategies" / "policy.toml").write_text(POLICY, encoding="utf-8")
    postgres_server.run("CREATE DATABASE both_stores")
    url = postgres_server.url("both_stores")
    with Ledger(folder / "l.db") as one, Ledger(url) as other:
        usual(one)
        wild(one, 7)
        for name, said in (("refund-00", "approve"), ("refund-01", "reject")):
            give_label(one, name, said, by="ann", probability=0.5)
        transfer(one, other)
    yield Both(folder / "l.db", url, folder)
    postgres_server.run("DROP DATABASE both_stores WITH (FORCE)")


@pytest.fixture
def here(both: Both, monkeypatch: pytest.MonkeyPatch) -> Both:
    monkeypatch.chdir(both.folder)
    monkeypatch.delenv("CONSENSUS_LEDGER", raising=False)
    return both


def plain(text: str, both: Both) -> str:
    """Without the place of the ledger, and the moment at which it was asked."""
    place = re.sub(r"//[^@/]*@", "//", both.server).partition("?")[0]
    for name in (str(both.file), both.file.name, both.server, place):
        text = text.replace(name, "LEDGER")
    text = re.sub(r"postgresql://\S*?both_stores", "LEDGER", text)
    return re.sub(r'"(made|at)": ?"[^"]+"', '"made"', text)


@pytest.mark.parametrize(
    "command",
    [
        "cost report --json",
        "cost report --by served,day --json",
        "cost report --by owner,type,requested,route",
        "ledger page --json --text",
        "ledger list --json",
        "ledger stats --json",
        "ledger show refund-00 --json",
        "ledger verify --json",
        "ledger queue --json",
        "ledger queue --audit 0.5 --json",
        "ledger quality refund --json",
        "ledger quality refund --audit 0.5 --json",
        "ledger watch --once --json",
        "ledger incidents --all --json",
    ],
)
def test_a_command_says_the_same_of_both(
    here: Both, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for place in (here.file, here.server):
        code = run([*command.split(), "--ledger", str(place)])
        said.append((code, plain(capsys.readouterr().out, here)))
    assert said[0] == said[1]
    assert len(said[0][1]) > 2 or "incidents" in command


@pytest.mark.parametrize(
    "command",
    ["ledger page --out", "cost report --by day,type --csv", "cost report --by day --html"],
)
def test_a_file_is_the_same_of_both(here: Both, tmp_path: Path, command: str) -> None:
    texts = []
    for name, place in (("one", here.file), ("other", here.server)):
        assert run([*command.split(), str(tmp_path / name), "--ledger", str(place)]) == 0
        text = plain((tmp_path / name).read_text(encoding="utf-8"), here)
        texts.append(re.sub(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?( UTC|Z)?", "MOMENT", text))
    assert texts[0] == texts[1]


def test_labels_are_exported_as_the_same_run(here: Both, tmp_path: Path) -> None:
    runs = []
    for name, place in (("one", here.file), ("other", here.server)):
        out = ["--labelled", "--out", str(tmp_path / name)]
        assert run(["ledger", "export", *out, "--ledger", str(place)]) == 0
        files = sorted(path for path in (tmp_path / name).iterdir() if path.suffix == ".jsonl")
        runs.append({path.name: path.read_text(encoding="utf-8") for path in files})
    assert runs[0]
    assert runs[0] == runs[1]


def test_a_label_is_given_on_a_server_as_in_a_file(
    postgres_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Ledger(postgres_url) as book:
        usual(book)
    assert run(["ledger", "label", "waiting-1", "approve", "--ledger", postgres_url]) == 0
    assert run(["ledger", "queue", "--json", "--ledger", postgres_url]) == 0
    out = capsys.readouterr().out
    assert "waiting-1: approve" in out
    assert json.loads(out[out.index("[") :]) == []
