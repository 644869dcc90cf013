"""A key's budget where several processes spend it."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.ballots import PICO
from consensus.ledger import Ledger
from consensus.server.errors import ApiError
from consensus.server.keys import ApiKey, Caller
from consensus.server.spending import Accounts
from tests.ledger.records import call

KEY = ApiKey(key_id="0123abcd", sha256="0" * 64, types=("*",), usd_per_day=1.0)


def spend(ledger: Ledger, usd: float) -> None:
    """As another process would."""
    ledger.record_here(call(Caller(KEY).decision_id(), cost_pico=round(usd * PICO)))


async def test_a_budget_that_is_nearly_spent_is_looked_at_for_every_decision(
    tmp_path: Path,
) -> None:
    with Ledger(tmp_path / "l.db") as ledger:
        accounts = Accounts(ledger, read_again_s=3600)
        spend(ledger, 0.95)
        await accounts.check(KEY)
        spend(ledger, 0.06)
        with pytest.raises(ApiError) as caught:
            await accounts.check(KEY)
    assert caught.value.code == "insufficient_quota"


async def test_a_budget_that_is_hardly_touched_is_looked_at_now_and_then(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.db") as ledger:
        accounts = Accounts(ledger, read_again_s=3600)
        spend(ledger, 0.1)
        await accounts.check(KEY)
        spend(ledger, 0.5)
        assert (await accounts.spent(KEY)).day == round(0.1 * PICO)
