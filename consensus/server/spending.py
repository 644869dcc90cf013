"""What a key has spent: a range of the ledger's primary key, read again and again.

A decision's id begins with its key's, and its second half sorts by time. So the calls of a key
since some moment lie side by side, and their sum holds whatever became of their decisions.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from consensus.ballots import PICO
from consensus.ledger.store import Ledger
from consensus.server.errors import ApiError
from consensus.server.keys import SEPARATOR, ApiKey

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Accounts", "Spent", "first_id"]

OPEN_S = 900.0
"""How long after its beginning a decision may still be charged with calls; older sums are kept."""

DAY_S = 86400

NEAR = 0.1
"""Share of a budget: with less than this left, every decision looks at the ledger."""

PACES = 3
"""So many times what is spent between two looks must be left, or every decision looks as well."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Spent(NamedTuple):
    """Of one key, in pico-dollars, of the current day and month (UTC)."""

    day: int
    month: int


def first_id(seconds: float) -> str:
    """The lowest id (:func:`consensus.models.ids.new_id`) of the millisecond of a moment."""
    value, letters = int(seconds * 1000), ""
    for _ in range(10):
        value, digit = divmod(value, 32)
        letters = _ALPHABET[digit] + letters
    return letters + "0" * 16


@dataclass(slots=True)
class _Account:
    """One key's: what is closed, what is still open, and what was settled since the last read."""

    closed: Counter[int] = field(default_factory=Counter)
    closed_until: float = 0.0
    open: Counter[int] = field(default_factory=Counter)
    unread: int = 0
    pace: float = 0.0
    marked: int = 0
    marked_at: float = 0.0
    read_at: float | None = None
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)


class Accounts:
    """What each key has spent, as the ledger knows it.

    Args:
        ledger: shared by every process that serves these keys.
        read_again_s: how old a sum may be; what this process settled since is added. Where a
            budget is nearly spent every decision looks again.
    """

    def __init__(self, ledger: Ledger, *, read_again_s: float) -> None:
        self._ledger = ledger
        self._read_again_s = read_again_s
        self._accounts: dict[str, _Account] = {}

    async def spent(self, key: ApiKey) -> Spent:
        """Today's and this month's."""
        account = self._accounts.setdefault(key.key_id, _Account())
        async with account.reading:
            age = None if account.read_at is None else time.monotonic() - account.read_at
            if age is None or age >= self._read_again_s or self._near(key, account):
                await self._read(key, account)
            return _sums(account)

    def _near(self, key: ApiKey, account: _Account) -> bool:
        """Whether other processes could spend what is left before the next look at the ledger.

        Then each decision looks: what a key passes its budget by is what is in flight, and not
        what two seconds of all processes bring.
        """
        spent = _sums(account)
        soon = PACES * account.pace * self._read_again_s
        return any(
            usd is not None and usd * PICO - pico <= max(soon, NEAR * usd * PICO)
            for usd, pico in ((key.usd_per_day, spent.day), (key.usd_per_month, spent.month))
        )

    def settle(self, key: ApiKey, pico: int) -> None:
        """Count a finished decision until the next read sees it on the ledger."""
        account = self._accounts.get(key.key_id)
        if account is not None:
            account.unread += pico

    def doubt(self, key: ApiKey) -> None:
        """A decision was cut short: only the ledger knows what it cost."""
        account = self._accounts.get(key.key_id)
        if account is not None:
            account.read_at = None

    async def check(self, key: ApiKey) -> None:
        """Refuse a key that has spent its budget.

        Raises:
            ApiError: 429 ``insufficient_quota``, with the moment at which it may call again.
        """
        if not key.has_budget:
            return
        spent = await self.spent(key)
        for word, usd, pico in (
            ("month", key.usd_per_month, spent.month),
            ("day", key.usd_per_day, spent.day),
        ):
            if usd is not None and pico >= usd * PICO:
                raise ApiError(
                    429,
                    "insufficient_quota",
                    f"this key has spent its ${usd:g} of the {word} (UTC)",
                    headers={"retry-after": str(_until_next(word)), "x-should-retry": "false"},
                )

    async def _read(self, key: ApiKey, account: _Account) -> None:
        now = time.time()
        month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        since = max(account.closed_until, month.timestamp() - OPEN_S)
        until = max(since, now - OPEN_S)
        account.unread = 0  # from here on: what is settled while the ledger is read counts twice
        newly = await asyncio.to_thread(self._sum, key.key_id, since, until)
        account.open = await asyncio.to_thread(self._sum, key.key_id, until, now + DAY_S)
        account.closed += newly
        account.closed_until = until
        self._mark(account)
        account.read_at = time.monotonic()

    @staticmethod
    def _mark(account: _Account) -> None:
        """How fast it is spent, over a second at least: looks may come close together."""
        at, total = time.monotonic(), _sums(account).month
        if account.read_at is None:
            account.marked_at, account.marked = at, total
        elif at - account.marked_at >= 1.0:
            account.pace = max(0, total - account.marked) / (at - account.marked_at)
            account.marked_at, account.marked = at, total

    def _sum(self, key_id: str, since: float, until: float) -> Counter[int]:
        """Pico-dollars by day of the decisions that began in a stretch of time."""

        def query(connection: Connection) -> Counter[int]:
            from sqlalchemy import func, select

            from consensus.ledger.schema import calls as c

            first = f"{key_id}{SEPARATOR}{first_id(since)}"
            end = f"{key_id}{SEPARATOR}{first_id(until)}"
            rows = connection.execute(
                select(c.c.day, func.sum(c.c.cost_pico))
                .where(
                    c.c.decision_id >= first,
                    c.c.decision_id < end,
                    c.c.replayed.is_(False),
                    c.c.purpose != "shadow",  # the operator's own question, not the caller's
                )
                .group_by(c.c.day)
            )
            return Counter({int(day): int(pico) for day, pico in rows})

        return self._ledger.read(query)


def _sums(account: _Account) -> Spent:
    """Today's and this month's, as far as they are known."""
    day, month = int(time.time() // DAY_S), _day_of(datetime.now(UTC).replace(day=1))
    both = account.closed + account.open
    return Spent(
        both[day] + account.unread,
        sum(pico for each, pico in both.items() if each >= month) + account.unread,
    )


def _day_of(moment: datetime) -> int:
    return int(moment.timestamp() // DAY_S)


def _until_next(word: str) -> int:
    """Seconds until the next day or month (UTC) begins."""
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if word == "day":
        then = midnight + timedelta(days=1)
    else:
        then = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    return max(1, int((then - now).total_seconds()) + 1)
