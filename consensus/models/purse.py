"""A budget of money a day and a month that several processes draw on."""

from __future__ import annotations

import asyncio
from collections import deque

from consensus.ballots import PICO
from consensus.errors import BudgetError
from consensus.models.ids import new_id
from consensus.models.limit_store import Booked, Caps, Left, LimitStore, StoreAwayError

__all__ = ["Hold", "Purse"]


class Hold:
    """Money that is set aside in a shared budget; settle it with what was really spent."""

    __slots__ = ("_booked", "_pico", "_purse")

    def __init__(self, purse: Purse, booked: Booked, pico: int) -> None:
        self._purse: Purse | None = purse
        self._booked = booked
        self._pico = pico

    def settle(self, actual_pico: int) -> None:
        """Book what was spent in place of what was set aside. Doing it twice does nothing."""
        purse, self._purse = self._purse, None
        if purse is not None and actual_pico != self._pico:
            purse._correct(self._booked, actual_pico - self._pico)


class Purse:
    """A budget a day and a month that all processes draw on.

    Money is booked at its worst case before a call and corrected after it, so the caps are never
    passed by more than what calls cost above their own worst case. It fails closed: while the store
    cannot be reached, nothing can be set aside.

    Args:
        store: where it is kept.
        caps: pico-dollars a calendar day and month, UTC, by the store's clock.
        name: budgets of other names are other budgets.
    """

    def __init__(self, store: LimitStore, caps: Caps, *, name: str = "all") -> None:
        self.caps = caps
        self.name = name
        self._store = store
        self._owed: dict[Booked, int] = {}
        # Sent, perhaps in vain: sent again under the same name until the store has answered.
        self._unsure: deque[tuple[str, Booked, int]] = deque()
        self._work: asyncio.Task[None] | None = None

    async def reserve(self, pico: int) -> Hold:
        """Set money aside.

        Raises:
            BudgetError: a cap would be passed, or the store cannot be reached.
        """
        asking = asyncio.ensure_future(self._store.reserve(self.name, self.caps, pico))
        try:
            found = await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(lambda asked: self._forgo(asked, pico))
            raise
        except StoreAwayError as error:
            raise BudgetError(
                f"the shared budget cannot be checked ({error}); no call is made without it"
            ) from None
        if isinstance(found, Booked):
            return Hold(self, found, pico)
        left, cap, span = min(
            (max(left, 0), cap, span)
            for left, cap, span in zip(found, self.caps, ("day", "month"), strict=True)
            if left is not None and cap is not None
        )
        raise BudgetError(
            f"the next call could cost ${pico / PICO:.6f}; ${left / PICO:.6f} is left of the "
            f"${cap / PICO:.2f} a {span} that all processes share"
        )

    async def spent(self) -> tuple[int, int]:
        """What is booked today and this month, in pico-dollars."""
        await self._flush()
        return await self._store.spent(self.name)

    async def aclose(self) -> None:
        """Book what is still to be booked."""
        work, self._work = self._work, None
        if work is not None and work.get_loop() is asyncio.get_running_loop():
            await asyncio.gather(work, return_exceptions=True)
        await self._flush()

    def _forgo(self, asked: asyncio.Future[Booked | Left], pico: int) -> None:
        """Whoever asked was cancelled meanwhile: what was set aside is given back."""
        if not asked.cancelled() and asked.exception() is None:
            found = asked.result()
            if isinstance(found, Booked):
                self._correct(found, -pico)

    def _correct(self, booked: Booked, difference: int) -> None:
        self._owed[booked] = self._owed.get(booked, 0) + difference
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # the next settlement, or closing, takes it along
            return
        if self._work is None or self._work.done() or self._work.get_loop() is not loop:
            self._work = loop.create_task(self._flush())

    async def _flush(self) -> None:
        while self._owed or self._unsure:
            if not self._unsure:
                booked, difference = self._owed.popitem()
                self._unsure.append((new_id(), booked, difference))
            once, booked, difference = self._unsure[0]
            try:
                await self._store.settle(self.name, booked, difference, once=once)
            except StoreAwayError:
                return  # booked too high until it is back: the safe side
            if self._unsure and self._unsure[0][0] == once:
                self._unsure.popleft()
