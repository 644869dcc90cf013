from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.errors import LedgerError
from consensus.ledger import Ledger
from consensus.ledger.sqlite import SqliteDatabase
from tests.ledger.records import call

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def one_line(error: LedgerError, path: Path) -> str:
    text = str(error)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    assert text.endswith(")"), "says what to do"
    return text


def as_nobody(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code as a user to whom permissions apply: for root they do not."""
    drop = "import os; os.getuid() or (os.setgid(65534), os.setuid(65534))\n"
    return subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n{IMPORTS}{drop}{code}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


IMPORTS = """
import asyncio
from consensus.errors import LedgerError
from consensus.ledger import Ledger
import sqlalchemy, sqlalchemy.dialects.sqlite, sqlalchemy.event
from consensus.ledger import schema
from tests.ledger.records import call
"""

RECORD = """
async def main():
    try:
        await Ledger(sys.argv[1]).record(call())
    except LedgerError as error:
        print(error)
    else:
        print("written")
asyncio.run(main())
"""


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that the user ``nobody`` can reach."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="ledger-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_read_only_folder_is_one_clear_error(open_to_all: Path) -> None:
    path = open_to_all / "ledger.db"
    result = as_nobody(RECORD, str(path))
    assert result.stdout == (
        f"{path}: Permission denied (name another place with --ledger or CONSENSUS_LEDGER)\n"
    ), result.stderr


def test_a_read_only_file_is_one_clear_error(open_to_all: Path) -> None:
    path = open_to_all / "ledger.db"
    with Ledger(path) as ledger:
        ledger.record_here(call())
    path.chmod(0o444)
    result = as_nobody(RECORD, str(path))
    assert result.stdout.startswith(f"{path}: "), result.stderr
    assert "make it and its folder writable" in result.stdout or (
        "make its folder writable" in result.stdout
    )


def test_a_full_disk_fails_the_record_and_keeps_what_was_acknowledged(path: Path) -> None:
    """A file-size limit stands for the disk's end: the real write call fails, in the real place."""
    code = """
import resource
async def main():
    ledger = Ledger(sys.argv[1]).open()
    written, refused = 0, []
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    for i in range(2000):
        try:
            await ledger.record(call(str(i)))
        except LedgerError as error:
            refused.append(str(error))
            if len(refused) == 3:
                break
        else:
            written += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await ledger.record(call("after"))
    print(written, refused[0], sep="|")
asyncio.run(main())
"""
    result = subprocess.run(
        [sys.executable, "-c", f"import sys\n{IMPORTS}{code}", str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    written, message = result.stdout.strip().split("|")
    assert message.startswith(f"{path}: the disk ")
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM calls").fetchone() == (int(written) + 1,)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


async def test_a_full_database_fails_every_waiting_call_and_then_goes_on(path: Path) -> None:
    async with Ledger(path) as ledger:
        await ledger.record(call())
        _pages(ledger, limit=True)
        results = await asyncio.gather(
            *(ledger.record(call(seat=i, text="x" * 10_000)) for i in range(20)),
            return_exceptions=True,
        )
        assert all(isinstance(result, LedgerError) for result in results)
        assert "the disk is full (free some space" in one_line(results[0], path)  # type: ignore[arg-type]
        _pages(ledger, limit=False)
        await ledger.record(call())
        assert len(ledger.calls_of("d")) == 2


def _pages(ledger: Ledger, *, limit: bool) -> None:
    """Let the writer's own connection have no more pages, or as many as it likes."""

    def work(connection: object) -> None:
        driver = connection.connection.driver_connection  # type: ignore[attr-defined]
        (now,) = driver.execute("PRAGMA page_count").fetchone()
        driver.execute(f"PRAGMA max_page_count = {now if limit else 1_000_000}")

    ledger._work(work)


async def test_a_lock_held_for_too_long_is_one_clear_error(path: Path) -> None:
    async with Ledger(path, busy_timeout_s=0.1) as ledger:
        await ledger.record(call())
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError) as caught:
            await ledger.record(call())
        assert "another process has held its lock for more than 0.1 s" in one_line(
            caught.value, path
        )
        other.execute("ROLLBACK")
        other.close()
        await ledger.record(call())


async def test_a_lock_held_for_a_moment_is_waited_for(path: Path) -> None:
    async with Ledger(path, busy_timeout_s=10) as ledger:
        await ledger.record(call())
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(ledger.record(call()))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        other.execute("COMMIT")
        other.close()
        await waiting


def test_a_file_that_is_no_database_is_one_clear_error(path: Path) -> None:
    path.write_bytes(b"this is not a database, and long enough to be looked at" * 100)
    before = path.read_bytes()
    with pytest.raises(LedgerError) as caught:
        Ledger(path).open()
    assert "is not a ledger (move it away" in one_line(caught.value, path)
    assert path.read_bytes() == before


def test_a_damaged_file_is_one_clear_error(path: Path) -> None:
    with Ledger(path) as ledger:
        for i in range(200):
            ledger.record_here(call(str(i)))
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(bytes(data))
    with pytest.raises(LedgerError) as caught:
        Ledger(path).open().calls_of("1")
    assert "is damaged (restore it" in one_line(caught.value, path)


def test_a_database_of_something_else_is_left_alone(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE customers (name)")
    other.commit()
    other.close()
    with pytest.raises(LedgerError) as caught:
        Ledger(path).open()
    assert "a database of something else" in one_line(caught.value, path)


def test_someone_elses_table_called_meta_is_left_alone(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE meta (key TEXT, value TEXT)")
    other.commit()
    other.close()
    with pytest.raises(LedgerError, match="a database of something else"):
        Ledger(path).open()


def test_a_folder_in_the_files_place_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError) as caught:
        Ledger(tmp_path).open()
    one_line(caught.value, tmp_path)


def test_a_file_in_the_folders_place_is_one_clear_error(path: Path) -> None:
    path.write_text("x")
    with pytest.raises(LedgerError) as caught:
        Ledger(path / "ledger.db").open()
    one_line(caught.value, path / "ledger.db")


def test_a_command_that_reads_makes_no_ledger(path: Path) -> None:
    with pytest.raises(LedgerError) as caught:
        Ledger(path, must_exist=True).open()
    assert "there is no ledger here" in one_line(caught.value, path)
    assert not path.exists()


async def test_a_file_removed_under_us_is_noticed(path: Path) -> None:
    async with Ledger(path) as ledger:
        await ledger.record(call())
        os.unlink(path)  # noqa: PTH108 - at once, as another process would
        assert isinstance(ledger._database, SqliteDatabase)
        ledger._database._look_again = 0.0
        with pytest.raises(LedgerError, match="was removed or replaced while it was in use"):
            await ledger.record(call())


def test_another_kind_of_database_is_refused_without_its_password() -> None:
    with pytest.raises(LedgerError, match="mysql is not supported") as caught:
        Ledger("mysql://me:password@localhost/ledger")
    assert "password" not in str(caught.value)


def test_a_wrong_durability_is_one_clear_error(path: Path) -> None:
    with pytest.raises(LedgerError, match='"process" or "power"'):
        Ledger(path, durability="forever")  # type: ignore[arg-type]


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("power", 2)])
def test_durability_is_what_sqlite_is_told(path: Path, durability: str, level: int) -> None:
    database = SqliteDatabase(path, durability=durability)  # type: ignore[arg-type]
    with database.engine().connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == level
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA trusted_schema").scalar() == 0
        assert connection.exec_driver_sql("PRAGMA secure_delete").scalar() == 1
    database.dispose()


def test_opening_again_after_a_failure_works_once_the_cause_is_gone(path: Path) -> None:
    path.mkdir()
    ledger = Ledger(path)
    with pytest.raises(LedgerError):
        ledger.record_here(call())
    path.rmdir()
    ledger.record_here(call())
    ledger.close()


def test_limits_of_this_process_are_as_they_were() -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
