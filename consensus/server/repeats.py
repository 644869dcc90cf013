"""Requests that are sent again: one decision for one ``Idempotency-Key``, whichever worker answers.

The name that a caller gives a request stands on the ledger, with a hash of its body and the id of
its decision, before anything is asked. Sent again, the same request gets

- the decision as it was kept, where it was made;
- 409 where it is still being made;
- the rest of it, where the process that was making it has died or its client had gone: under the
  same id, and what was already paid for is not paid again.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from consensus.decisions import Decision
from consensus.errors import LedgerError
from consensus.ledger.jobs import PaidCalls
from consensus.ledger.store import Ledger
from consensus.models.ids import new_id
from consensus.server.errors import ApiError, refuse

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["AGAIN", "HEADER", "LONGEST", "Claim", "Named", "Repeats", "named"]

T = TypeVar("T")

HEADER: Final = "idempotency-key"
AGAIN: Final = "idempotent-replayed"
"""Set in an answer that was given before."""

LONGEST: Final = 255
"""Characters of a name."""


@dataclass(frozen=True, slots=True)
class Named:
    """A request with a name: hashes of the two, the name's with whom it belongs to."""

    name_sha256: str
    body_sha256: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What becomes of a named request.

    Attributes:
        decision_id: of its decision, the first time and every other.
        made: the decision, where it was made before.
        paid: what an attempt that was cut short has paid for.
    """

    decision_id: str
    made: Decision | None
    paid: PaidCalls


class _Row(NamedTuple):
    body_sha256: str
    decision_id: str
    owner: str


def named(name: str | None, caller: str, path: str, body: bytes) -> Named | None:
    """A request by its header; None where it has none.

    Raises:
        ApiError: 400: the name is empty, too long, or not printable ASCII.
    """
    if name is None:
        return None
    if not (0 < len(name) <= LONGEST and name.isascii() and name.isprintable()):
        raise refuse(
            f"Idempotency-Key is 1 to {LONGEST} printable characters", param="Idempotency-Key"
        )
    whose = hashlib.sha256(f"{caller}\n{name}".encode()).hexdigest()
    return Named(whose, hashlib.sha256(path.encode() + b"\n" + body).hexdigest())


class Repeats:
    """The named requests of one process's callers.

    Args:
        ledger: shared by every process that serves these callers.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._owner = f"serve-{new_id()}"
        self._holding = asyncio.Lock()
        self._held = False
        self._under_way: set[str] = set()

    @asynccontextmanager
    async def claimed(
        self, request: Named, decision_id: str, *, anew: Callable[[Decision], bool]
    ) -> AsyncIterator[Claim]:
        """Take a named request for as long as it is decided, or find what has become of it.

        Args:
            request: its hashes.
            decision_id: of its decision, if nobody has claimed it before.
            anew: decisions that were made and are not to be given again.

        Raises:
            ApiError: 422: the name was used for another request; 409: it is being decided.
            LedgerError: the claim cannot be kept.
        """
        claim = await self._claim(request, decision_id)
        if claim.made is not None and anew(claim.made):
            if not await self._write(_moving(request, claim.decision_id, decision_id)):
                raise _in_progress()
            claim = Claim(decision_id, None, PaidCalls())
        if claim.made is not None:
            yield claim
            return
        if claim.decision_id in self._under_way:
            raise _in_progress()
        self._under_way.add(claim.decision_id)
        try:
            yield claim
        finally:
            self._under_way.discard(claim.decision_id)

    async def aclose(self) -> None:
        """Let others finish what this process has left unfinished."""
        if self._held:
            self._held = False
            await asyncio.to_thread(self._ledger.let_go, self._owner)

    # -- within ------------------------------------------------------------------------------------

    async def _claim(self, request: Named, decision_id: str) -> Claim:
        await self._hold()
        row = await self._write(_claiming(request, decision_id, self._owner))
        if row.body_sha256 != request.body_sha256:
            raise ApiError(
                422,
                "idempotency_key_reused",
                "this Idempotency-Key was used for another request",
                param="Idempotency-Key",
            )
        if row.decision_id == decision_id:
            return Claim(decision_id, None, PaidCalls())
        made = await asyncio.to_thread(self._made, row.decision_id)
        if made is not None:
            return Claim(row.decision_id, made, PaidCalls())
        if row.owner != self._owner and not await self._inherit(request, row):
            raise _in_progress()
        if row.decision_id in self._under_way:
            raise _in_progress()
        # Kept as the last act of whoever was making it, perhaps.
        made = await asyncio.to_thread(self._made, row.decision_id)
        paid = await asyncio.to_thread(self._ledger.calls_of, row.decision_id)
        return Claim(row.decision_id, made, PaidCalls(paid))

    async def _hold(self) -> None:
        """Hold this process's lock, which the system lets go of when the process dies."""
        async with self._holding:
            if not self._held:
                await asyncio.to_thread(self._ledger.hold, self._owner)
                self._held = True

    async def _inherit(self, request: Named, row: _Row) -> bool:
        """Whether its process is dead, and this one the first to take its place."""
        try:
            await asyncio.to_thread(self._ledger.hold, row.owner)
        except LedgerError:
            return False
        try:
            return await self._write(_taking(request, row.owner, self._owner))
        finally:
            await asyncio.to_thread(self._ledger.let_go, row.owner)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.to_thread(self._ledger.work, work)

    def _made(self, decision_id: str) -> Decision | None:
        try:
            found = self._ledger.receipt(decision_id)
        except LedgerError:
            return None
        return found.decision if found.receipt_id == decision_id else None


def _in_progress() -> ApiError:
    return ApiError(
        409,
        "in_progress",
        "a request with this Idempotency-Key is being decided",
        param="Idempotency-Key",
        headers={"retry-after": "1"},
    )


def _claiming(request: Named, decision_id: str, owner: str) -> Callable[[Connection], _Row]:
    """The row of this name, made if there is none. The writer keeps everybody else out."""

    def work(connection: Connection) -> _Row:
        from sqlalchemy import insert, select

        from consensus.ledger.schema import requests as r

        query = select(r.c.body_sha256, r.c.decision_id, r.c.owner)
        found = connection.execute(query.where(r.c.name_sha256 == request.name_sha256)).first()
        if found is not None:
            return _Row(*found)
        row = insert(r).values(
            name_sha256=request.name_sha256,
            body_sha256=request.body_sha256,
            decision_id=decision_id,
            owner=owner,
            created_at=time.time(),
        )
        connection.execute(row)
        return _Row(request.body_sha256, decision_id, owner)

    return work


def _taking(request: Named, dead: str, owner: str) -> Callable[[Connection], bool]:
    """Put a new owner in a dead one's place; False where another was first."""
    return _changing(request, "owner", dead, owner)


def _moving(request: Named, old: str, new: str) -> Callable[[Connection], bool]:
    """Begin another decision in place of one; False where another was first."""
    return _changing(request, "decision_id", old, new)


def _changing(request: Named, column: str, old: str, new: str) -> Callable[[Connection], bool]:
    def work(connection: Connection) -> bool:
        from sqlalchemy import update

        from consensus.ledger.schema import requests as r

        mine = r.c.name_sha256 == request.name_sha256
        change = update(r).where(mine, r.c[column] == old).values({column: new})
        return connection.execute(change).rowcount == 1

    return work
