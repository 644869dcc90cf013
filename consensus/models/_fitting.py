"""Before anything is sent: does it fit the model's window, and can it be paid for?

Both are shown by counting bytes, because a token is at least one byte: no tokenizer is needed for
the calls that fit with room to spare, which is nearly all. Only where bytes are too coarse a bound
are tokens counted by the model's own tokenizer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from consensus.errors import BudgetError, GuardError, ProviderError
from consensus.models._lanes import Hop
from consensus.models.factory import ClientFactory
from consensus.models.protocol import Budget, Deadline, Request

if TYPE_CHECKING:
    from consensus.models.prices import PriceBook

__all__ = ["SCHEMA_TOKENS", "TURN_TOKENS", "Fitting", "byte_bound"]

SCHEMA_TOKENS: Final = 640
"""Allowance for the instructions that providers add to a prompt that asks for a schema or a tool
(Anthropic documents 313–530 tokens)."""

TURN_TOKENS: Final = 16
"""Allowance for a chat template's marks around each turn."""


class Fitting:
    """The window guard and the reservation."""

    def __init__(self, clients: ClientFactory, prices: PriceBook) -> None:
        self._clients = clients
        self._prices = prices

    async def count(self, hop: Hop, share: float, deadline: Deadline) -> None:
        """Let a request pass whose tokens, counted, fit ``share`` of its model's window with the
        output reserved; after :meth:`fits` could not tell.

        Raises:
            GuardError: it does not fit, or cannot be shown to.
        """
        request = hop.request
        window, _ = hop.lane.room(self._prices, hop)
        tokens = await self._count(hop, deadline)
        if tokens is None or tokens > share * window.max_input - hop.output:
            size = "an unknown number of" if tokens is None else f"{tokens:,}"
            raise GuardError(
                f"{request.model}: {size} tokens of input and {hop.output:,} reserved for output "
                f"do not fit {share:.0%} of its window of {window.max_input:,}"
                + ("" if window.known else " (assumed: nobody declared it)")
            )

    def fits(self, hop: Hop, share: float) -> bool:
        """Whether its bytes alone show that a request fits ``share`` of its model's window, with
        the output reserved: nearly always, and nobody need be asked.

        Raises:
            GuardError: more output is asked for than the model writes.
        """
        request = hop.request
        window, hop.output = hop.lane.room(self._prices, hop)
        if window.known and request.max_output_tokens > window.max_output:
            raise GuardError(
                f"{request.model} writes at most {window.max_output:,} tokens; "
                f"{request.max_output_tokens:,} are asked for"
            )
        if request.output_schema is not None:
            hop.bound += SCHEMA_TOKENS
        room = share * window.max_input - hop.output
        if hop.bound > room:
            hop.bound = min(hop.bound, byte_bound(request))
        return hop.bound <= room

    async def check_budget(self, hop: Hop, budget: Budget, deadline: Deadline) -> None:
        """Refuse at once what the money that is not spent cannot pay for, whoever gives back what.

        Raises:
            BudgetError: not even the counted worst case is left.
        """
        if budget.cap is not None and budget.spent + self._worst(hop) > budget.cap:
            budget.settle(await self.reserve(hop, budget, deadline), 0)

    async def reserve(self, hop: Hop, budget: Budget, deadline: Deadline) -> int:
        """Set the worst case of one attempt aside; return it, in pico-dollars.

        Raises:
            BudgetError: not even the counted worst case is left.
        """
        worst = self._worst(hop)
        try:
            budget.reserve(worst)
        except BudgetError:
            if hop.counted or await self._count(hop, deadline) is None:
                raise
            worst = self._worst(hop)
            budget.reserve(worst)
        return worst

    def at_once(self, hop: Hop, budget: Budget) -> int | None:
        """As :meth:`reserve`, where that takes no counting; None: nothing is set aside."""
        worst = self._worst(hop)
        if budget.cap is not None and budget.spent + budget.reserved + worst > budget.cap:
            return None
        budget.reserved += worst
        return worst

    @staticmethod
    def _worst(hop: Hop) -> int:
        return hop.lane.worst_pico(hop.price, hop.bound, hop.output)

    async def _count(self, hop: Hop, deadline: Deadline) -> int | None:
        """Tokens by the model's own tokenizer; None where they cannot be counted."""
        client = self._clients.client(hop.request.model)
        try:
            async with asyncio.timeout(min(hop.lane.timeout_s, deadline.left())):
                tokens = await client.count_tokens(hop.request)
        except (ProviderError, TimeoutError):
            deadline.check()
            return None
        hop.bound = min(hop.bound, tokens)
        hop.counted = True
        return tokens


def byte_bound(request: Request) -> int:
    """Input tokens at most: a token is at least one byte; templates and schemas add their own."""
    schema = 0 if request.output_schema is None else SCHEMA_TOKENS
    return request.input_bytes() + TURN_TOKENS * (len(request.turns) + 1) + schema
