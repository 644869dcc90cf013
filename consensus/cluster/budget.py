"""What a whole run may cost, held over all its processes.

Money is set aside at a call's worst case before it is made and corrected when it has ended, so a
run never costs more than its cap, except by a call that costs more than its own worst case. A call
for which no money is left waits for those under way; where none is, the run stops, and nothing is
decided on what could not be asked: the same command with a higher cap goes on where it stopped.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from consensus.ballots import PICO
from consensus.engine import Engine
from consensus.errors import LedgerError
from consensus.models.purse import Hold, Purse
from consensus.models.sharing import Sharing

if TYPE_CHECKING:
    from consensus.ledger.store import Ledger
    from consensus.models.factory import ProviderSettings
    from consensus.models.limits import ProviderLimits

__all__ = ["CapError", "Funds", "RunEngine", "Till", "held_to", "paid_for_job"]


class CapError(LedgerError):
    """The next call could pass what the whole run may cost: the run stops there.

    It ends a decision as a record that cannot be kept does: without one, so it is made anew later.
    """


class Till:
    """What is left of a run's cap, in pico-dollars. One for the whole run.

    Args:
        cap_pico: the most the run may cost.
        spent_pico: what earlier parts of it have cost.
        processes: how many draw on it; each is given somewhat more than it asks for, so that it
            need not ask for every call.
    """

    def __init__(self, cap_pico: int, *, spent_pico: int = 0, processes: int = 1) -> None:
        self.left = cap_pico - spent_pico
        self.processes = processes

    def draw(self, least: int) -> int:
        """Take at least so much out; how much it is: 0 where there is too little."""
        if least > self.left:
            return 0
        wish = self.left // (8 * self.processes) if self.processes > 1 else 0
        drawn = min(self.left, max(least, wish))
        self.left -= drawn
        return drawn

    def give_back(self, pico: int) -> None:
        """Put back what is not needed."""
        self.left += pico


class Source(Protocol):
    """A till, wherever it stands."""

    async def draw(self, least: int) -> int:
        """As :meth:`Till.draw`."""


class Funds:
    """One process's share of what a run may cost.

    Args:
        source: where more comes from.
        cap_pico: the run's cap, for messages.
    """

    def __init__(self, source: Source, cap_pico: int) -> None:
        self._source = source
        self._cap = cap_pico
        self._here = 0
        self._held = 0
        self._asking = asyncio.Lock()
        self._settled = asyncio.Event()

    async def take(self, pico: int) -> None:
        """Set money aside for one call; waits for calls under way where there is too little.

        Raises:
            CapError: there is too little, and no call of this process is under way.
        """
        while not self._taken(pico):
            async with self._asking:
                if self._taken(pico):
                    return
                self._here += await self._source.draw(pico - self._here)
            if self._taken(pico):
                return
            if not self._held:
                raise CapError(
                    f"the next call could cost ${pico / PICO:.6f}, and the run may cost "
                    f"${self._cap / PICO:g} (what is finished is kept; run the same command again "
                    "with a higher --max-usd)"
                )
            await self._settled.wait()

    def settle(self, held: int, actual: int) -> None:
        """End a call: what it really cost in place of what was set aside."""
        self._held -= held
        self._here += held - actual
        self._settled.set()
        self._settled = asyncio.Event()

    def _taken(self, pico: int) -> bool:
        if self._here < pico:
            return False
        self._here -= pico
        self._held += pico
        return True


class _RunHold(Hold):
    """Money set aside in a run's funds, and in the budget that processes share, if there is one."""

    __slots__ = ("_funds", "_shared")

    def __init__(self, funds: Funds, pico: int, shared: Hold | None) -> None:
        self._funds: Funds | None = funds
        self._pico = pico
        self._shared = shared

    def settle(self, actual_pico: int) -> None:
        """Book what was spent in place of what was set aside. Doing it twice does nothing."""
        funds, self._funds = self._funds, None
        if funds is not None:
            funds.settle(self._pico, actual_pico)
        if self._shared is not None:
            self._shared.settle(actual_pico)


class _RunPurse(Purse):
    """A run's funds as the gateway asks for money, over the budget that processes share."""

    def __init__(self, funds: Funds, shared: Purse | None) -> None:
        self._funds = funds
        self._shared = shared

    async def reserve(self, pico: int) -> Hold:
        """Set money aside.

        Raises:
            CapError: the run's cap would be passed.
            BudgetError: the shared budget's would.
        """
        await self._funds.take(pico)
        try:
            shared = None if self._shared is None else await self._shared.reserve(pico)
        except BaseException:
            self._funds.settle(pico, 0)
            raise
        return _RunHold(self._funds, pico, shared)

    async def aclose(self) -> None:
        """The shared budget is closed by whoever made it."""


class _RunSharing(Sharing):
    """The limits of a process as they are, with a run's funds in front of its budget."""

    def __init__(self, inner: Sharing | None, funds: Funds) -> None:
        self._inner = inner
        self.purse = _RunPurse(funds, None if inner is None else inner.purse)

    def limits(self, provider: str, settings: ProviderSettings) -> ProviderLimits:
        """A provider's limits, as without a cap."""
        inner = self._inner
        return settings.limits(provider) if inner is None else inner.limits(provider, settings)

    async def aclose(self) -> None:
        """Close what is shared."""
        if self._inner is not None:
            await self._inner.aclose()


def held_to(funds: Funds, sharing: Sharing | None) -> Sharing:
    """What a process keeps to, with a run's funds in front of its budget."""
    return _RunSharing(sharing, funds)


class RunEngine(Engine):
    """An engine whose calls are held to what a whole run may cost, beside every other budget."""

    def hold_to(self, funds: Funds) -> None:
        """Draw on these funds; to be said before the engine is entered."""
        self._sharing = held_to(funds, self._sharing)


def paid_for_job(ledger: Ledger, job_id: str) -> int:
    """What a job's calls have cost so far, in pico-dollars."""
    from sqlalchemy import func, select

    from consensus.ledger.schema import calls

    query = select(func.coalesce(func.sum(calls.c.cost_pico), 0)).where(
        calls.c.job_id == job_id, calls.c.replayed.is_(False)
    )
    return int(ledger.read(lambda connection: connection.scalar(query)) or 0)
