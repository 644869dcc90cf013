from __future__ import annotations

from pathlib import Path

from consensus.engine import Engine
from consensus.ledger import Ledger
from consensus.ledger.served import newest_served
from consensus.models.protocol import Request
from consensus.models.scripted import Reply, ScriptedClient
from consensus.policy.rows import DefaultsRow
from consensus.policy.table import PolicyTable
from consensus.tasks import Approve


async def test_the_newest_answer_says_which_model_serves(tmp_path: Path) -> None:
    served = iter(["model-1", "model-2"])

    def said(request: Request) -> Reply:
        return Reply(answer="approve", served_model=next(served))

    table = PolicyTable(defaults=DefaultsRow(models=("scripted/a",)))
    path = tmp_path / "ledger.db"
    async with Engine(table, clients={"scripted": ScriptedClient(said)}, ledger=path) as engine:
        for number in range(2):
            await engine.decide(Approve(type="t", subject=f"case {number}"))
    with Ledger(path) as ledger:
        assert newest_served(ledger) == {"scripted/a": "model-2"}


def test_an_empty_ledger_knows_nobody(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.start()
        assert newest_served(ledger) == {}
