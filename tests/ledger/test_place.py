from __future__ import annotations

from pathlib import Path

import pytest

from consensus.errors import LedgerError, PolicyError
from consensus.ledger import Ledger
from consensus.ledger.place import LedgerServer, ledger_path
from consensus.policy.load import load_policy

URL = "postgresql://me:hunter2@db.internal:6432/ledger?sslmode=require"


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CONSENSUS_LEDGER")
    file = tmp_path / "policy.toml"
    file.write_text('version = 1\n[ledger]\nurl_env = "CONSENSUS_LEDGER_URL"\n')
    return file


def test_the_option_comes_first_then_the_variable_then_the_policy_then_the_default(
    policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSENSUS_LEDGER_URL", URL)
    assert ledger_path(policy=policy) == LedgerServer(URL)
    monkeypatch.setenv("CONSENSUS_LEDGER", "of-the-variable.db")
    assert ledger_path(policy=policy) == Path("of-the-variable.db")
    assert ledger_path("o.db", policy=policy) == Path("o.db")
    monkeypatch.delenv("CONSENSUS_LEDGER")
    assert ledger_path(policy=policy.parent / "none") == Path(".consensus/ledger.db")


def test_a_server_is_named_without_user_password_and_options() -> None:
    place = ledger_path(URL)
    for said in (str(place), repr(place), Ledger(place).where):
        assert "hunter2" not in said
        assert "sslmode" not in said
    assert str(place) == Ledger(place).where == "postgresql://db.internal:6432/ledger"


def test_a_url_that_a_command_took_for_a_path_is_still_one() -> None:
    assert ledger_path(Path(URL)) == LedgerServer(URL)
    socket = "postgresql:///ledger?host=/run/postgresql"
    assert ledger_path(Path(socket)) == LedgerServer(socket)
    assert ledger_path(socket) == LedgerServer(socket)


def test_a_variable_that_is_not_set_is_one_clear_error(policy: Path) -> None:
    with pytest.raises(PolicyError, match=r"CONSENSUS_LEDGER_URL is not set.*export CONSENSUS"):
        ledger_path(policy=policy)
    table = load_policy(policy)
    with pytest.raises(PolicyError, match="CONSENSUS_LEDGER_URL is not set"):
        ledger_path(declared=table.ledger.place)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f'path = "{URL}"', "must be a file"),
        (f'url_env = "{URL}"', "must be the NAME"),
        ('url_env = "A"\npath = "b.db"', "not both"),
    ],
)
def test_a_policy_holds_no_url_and_does_not_repeat_one(policy: Path, line: str, says: str) -> None:
    policy.write_text(f"version = 1\n[ledger]\n{line}\n")
    with pytest.raises(PolicyError, match=says) as caught:
        load_policy(policy)
    assert "hunter2" not in str(caught.value)


def test_what_is_no_url_is_one_clear_error() -> None:
    with pytest.raises(LedgerError, match="not a URL"):
        Ledger("postgresql://me:hunter2@host:port/x").open()
