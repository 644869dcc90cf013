"""A worker in this process: its policy, its ledger, its answers and its errors, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consensus.cluster import RunEngine
from consensus.cluster.connecting import check_place
from consensus.cluster.cutting import cut, divided, most_workers
from consensus.cluster.lease import this_driver
from consensus.cluster.shipping import pack
from consensus.cluster.worker import Order, Worker, WorkerSetup
from consensus.errors import DataError, LedgerError
from consensus.jobs import Line
from consensus.ledger.store import Ledger
from consensus.ledger.workers import WorkerLock, crew_of, take_in, take_in_all
from consensus.policy.load import load_policy
from consensus.tasks import Approve

POLICY = """
version = 1
[providers.scripted]
base_url = "{rules}"
[tiers]
small = ["scripted/a"]
[oracles.sane]
kind = "python"
file = "sane.py"
function = "check"
[tasks.refund]
kind = "approve"
criteria = "Unused."
strategy = "single"
tier = "small"
gate = "sane"
"""

PROVIDERS = """
version = 1
[providers.openai]
concurrency = 3
{more}
"""


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # this project's own prompts are not the policy's
    folder = tmp_path / "strategies"
    folder.mkdir()
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\nanswer = "approve"\n')
    (folder / "policy.toml").write_text(POLICY.format(rules=rules))
    (folder / "sane.py").write_text("from helper import yes\ncheck = yes\n")
    (folder / "sane.py").write_text("def check(answer, reference=None):\n    return True\n")
    (folder / "helper.py").write_text("def yes(answer, reference=None):\n    return True\n")
    (folder / "secret.env").write_text("KEY=x\n")
    return folder


def setup_of(folder: Path, policy: Path, **others: Any) -> WorkerSetup:
    engine = RunEngine(policy, ledger=folder / "ledger.db")
    given: dict[str, Any] = {
        "shipment": pack(engine, policy),
        "ledger": folder / "workers" / "0.db",
        "ledger_server": None,
        "frontier": None,
        "concurrency": 4,
        "processes": 1,
    }
    return WorkerSetup(**given | others)


def order(number: int, *, job: str = "job") -> Order:
    task = Approve(type="refund", subject=f"s{number}", criteria="Unused.")
    return Order(Line(number, number + 1, task, key=number), f"{job}.{number:07d}")


def test_shipped_are_the_tables_and_what_they_name_and_nothing_else(
    tmp_path: Path, policy: Path
) -> None:
    shipment = pack(RunEngine(policy, ledger=False), policy)
    assert sorted(shipment.files) == [
        "policy/helper.py",
        "policy/policy.toml",
        "policy/sane.py",
    ]


def test_a_policy_that_is_one_file_is_shipped_as_one(tmp_path: Path, policy: Path) -> None:
    file = policy / "policy.toml"
    shipment = pack(RunEngine(file, ledger=False), file)
    there, prompts = shipment.unpack(tmp_path / "there")
    assert prompts is None
    shipment.check(RunEngine(there, ledger=False))


async def test_a_worker_decides_a_block_in_its_order_and_its_ledger_can_be_taken_in(
    tmp_path: Path, policy: Path
) -> None:
    worker = Worker(setup_of(tmp_path, policy))
    assert await worker.begin() is None
    answers = await worker.decide([order(i) for i in range(9)])
    assert answers.error is None
    assert [settled.row["index"] for settled in answers.settled] == list(range(9))
    assert {settled.row["action"] for settled in answers.settled} == {"act"}
    with Ledger(tmp_path / "ledger.db") as ledger:
        with pytest.raises(LedgerError, match="still writes it"):
            take_in(ledger, tmp_path / "workers" / "0.db", patience_s=0)
        await worker.stop()
        assert take_in(ledger, tmp_path / "workers" / "0.db") == 18
        assert ledger.finished("job") == set(range(9))
        assert not list((tmp_path / "workers").iterdir())


async def test_a_worker_whose_policy_is_another_does_not_begin(
    tmp_path: Path, policy: Path
) -> None:
    setup = setup_of(tmp_path, policy)
    setup.shipment.files["policy/policy.toml"] += b'[framing_sets]\nx = ["plain"]\n'
    error = await Worker(setup).begin()
    assert error is not None
    assert "the policy of a worker have the hash" in error[1]


async def test_a_workers_error_comes_back_as_its_line(tmp_path: Path, policy: Path) -> None:
    setup = setup_of(tmp_path, policy, ledger=None, ledger_server="postgresql://db/x")
    error = await Worker(setup).begin()
    assert error is not None
    name, line = error
    assert name == "LedgerError"
    assert "on every machine" not in line
    assert "the driver's postgresql://db/x" in line


def test_two_processes_cannot_write_one_workers_ledger(tmp_path: Path) -> None:
    held = WorkerLock(tmp_path / "0.db")
    with pytest.raises(LedgerError, match="another process"):
        WorkerLock(tmp_path / "0.db")
    held.release()
    WorkerLock(tmp_path / "0.db").release()


def test_blocks_begin_small_grow_and_hold_every_line_once() -> None:
    lines = [Line(i, i + 1) for i in range(2000)]
    blocks = list(cut(([line] for line in lines), 50, 2))
    assert [line for block in blocks for line in block] == lines
    sizes = [len(block) for block in blocks]
    assert sizes[:-1] == sorted(sizes[:-1])
    assert (sizes[0], max(sizes)) == (8, 50)


def test_no_more_workers_than_the_smallest_number_of_calls_at_once(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(PROVIDERS.format(more=""))
    table = load_policy(file)
    assert most_workers(table) == 3
    assert "1/2 of every provider's limits" in divided(table, 2)


def test_a_ledger_that_is_a_file_does_not_serve_several_machines(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    check_place(ledger, 1)
    with pytest.raises(DataError, match="keep it on PostgreSQL"):
        check_place(ledger, 2)
    with pytest.raises(DataError, match="in memory"):
        check_place(Ledger(":memory:"), 1)
    check_place(Ledger("postgresql://nobody@127.0.0.1:1/none"), 9)


@pytest.mark.needs("postgres")
async def test_a_worker_begins_nothing_for_a_driver_that_has_gone(
    tmp_path: Path, policy: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSENSUS_LEDGER", postgres_url)
    driver = this_driver(lease="a driver", crew=crew_of("job"))
    with Ledger(postgres_url) as ledger:
        setup = setup_of(tmp_path, policy, ledger=None, ledger_server=ledger.where, driver=driver)
        orphan = Worker(setup)
        error = await orphan.begin()
        await orphan.stop()
        assert error is not None
        assert "the process that drives this run has gone" in error[1]
        ledger.hold("a driver")
        worker = Worker(setup)
        assert await worker.begin() is None
        with pytest.raises(LedgerError, match="still run"):
            take_in_all(ledger, "job", patience_s=0)
        answers = await worker.decide([order(1)])
        assert answers.error is None
        await worker.stop()
        take_in_all(ledger, "job")
