"""What an attempt cost: the served model's price, applied to a usage that makes sense.

Both can be missing. Then the call is still billed, on the dear side, and its record says so in
``price_basis``: nothing is ever free because somebody forgot to say what it costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consensus.ballots import Usage
from consensus.errors import PriceError
from consensus.models.protocol import PriceBasis, Request

if TYPE_CHECKING:
    from consensus.models.prices import ModelPrice, PriceBook

__all__ = ["BYTES_PER_TOKEN", "MOST_TOKENS", "Biller"]

BYTES_PER_TOKEN: Final = 3
"""For estimating a usage that the provider did not give: English has over four bytes a token."""

MOST_TOKENS: Final = 10**9
"""A count above this is no count: no model has such a window."""


class Biller:
    """Prices attempts from one price book."""

    __slots__ = ("_estimates", "_prices")

    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices
        self._estimates: dict[tuple[str, str], tuple[ModelPrice, ...]] = {}

    def bill(
        self,
        request: Request,
        served_model: str,
        usage: Usage,
        text: str,
        *,
        batch: bool = False,
    ) -> tuple[Usage, int, PriceBasis]:
        """The usage to keep, its cost in pico-dollars, and what that rests on.

        Where the served model has no known price, the dearest of these is charged: the price of
        the model that was asked, and that of the nearest name that contains the served one's
        beginning (``openai/gpt-5.4-nano`` for ``openai/gpt-5.4-nano-eu``). ``batch``: at the price
        of batches.
        """
        sound = _is_sound(usage)
        # A request that reserves no output asks for an embedding, and nobody counts tokens of one.
        wrote = usage.output or not request.max_output_tokens
        if not sound or (text and not (usage.total_input and wrote)):
            usage = _mended(usage if sound else Usage(), request, text)
            sound = False
        try:
            cost = self._prices.price(served_model).cost_pico(usage, batch=batch)
        except PriceError:
            prices = self._substitutes(request.model, served_model)
            cost = max(price.cost_pico(usage, batch=batch) for price in prices)
            return usage, cost, "estimated_price" if sound else "estimated_price_and_usage"
        if not sound:
            return usage, cost, "estimated_usage"
        return usage, cost, "batch" if batch else "served"

    def estimate(self, request: Request, most: int, output: int) -> tuple[Usage, int]:
        """What a request that was sent costs, with an answer of so many tokens: an estimate.

        ``most``: input tokens that it has at most, where it was counted.
        """
        read = min(most, -(-request.input_bytes() // BYTES_PER_TOKEN))
        usage = Usage(input=read, output=output)
        return usage, self._prices.price(request.model).cost_pico(usage)

    def _substitutes(self, requested: str, served: str) -> tuple[ModelPrice, ...]:
        known = self._estimates.get((requested, served))
        if known is None:
            known = (self._prices.price(requested), *self._relative(served))
            if len(self._estimates) < 1000:  # a provider invents no end of names
                self._estimates[requested, served] = known
        return known

    def _relative(self, served: str) -> tuple[ModelPrice, ...]:
        name = served[:200]
        while "-" in name:
            name = name.rpartition("-")[0]
            try:
                return (self._prices.price(name),)
            except PriceError:
                continue
        return ()


def _is_sound(usage: Usage) -> bool:
    counts = (usage.input, usage.cache_read, usage.cache_write, usage.cache_write_1h)
    return (
        min(counts) >= 0
        and 0 <= usage.reasoning <= usage.output <= MOST_TOKENS
        and sum(counts) <= MOST_TOKENS
    )


def _mended(usage: Usage, request: Request, text: str) -> Usage:
    changes: dict[str, int] = {}
    if not usage.total_input:
        changes["input"] = -(-request.input_bytes() // BYTES_PER_TOKEN)
    if not usage.output:
        changes["output"] = -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
    return usage.model_copy(update=changes)
