"""What the calls of a log cost, and what the same tokens would cost elsewhere, at today's prices.

"Would cost" is arithmetic and no promise: another model has another tokenizer, writes answers of
another length, and may need more attempts. It is marked as *same tokens* wherever it is shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from consensus.ballots import PICO
from consensus.benchmark.importing.exchange import Exchange
from consensus.benchmark.importing.grouping import Group
from consensus.errors import PriceError
from consensus.models.prices import PriceBook

__all__ = ["TypeCost", "cost_of", "cost_table"]


@dataclass(slots=True)
class TypeCost:
    """One task type's calls.

    Attributes:
        calls: how many; priced: of how many the cost is known (recorded, or by token counts).
        uncounted: calls without token counts: they take no part in ``would_cost``.
        input_tokens, output_tokens: of the counted calls, cache reads and writes included.
        cost_usd: of the priced calls: as recorded, else at today's price of the served model.
        recorded: how many of the costs the log itself gave.
        today_usd: the counted calls at today's prices of the models that served them; None where
            one of them has no price.
        would_cost: model → the counted calls' tokens at today's price of that model.
    """

    name: str
    calls: int = 0
    priced: int = 0
    uncounted: int = 0
    recorded: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    today_usd: float | None = 0.0
    models: dict[str, int] = field(default_factory=dict)
    would_cost: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "would_cost_basis": "same tokens at today's price map"}


def cost_of(exchange: Exchange, prices: PriceBook) -> float | None:
    """What one call cost: as recorded, else by its tokens at today's price; None if unknown."""
    if exchange.recorded_usd is not None:
        return exchange.recorded_usd
    return _today(exchange, prices)


def _today(exchange: Exchange, prices: PriceBook) -> float | None:
    if exchange.usage is None:
        return None
    for model in (exchange.served_model, exchange.model):
        if model is not None:
            try:
                return prices.price(model).cost_pico(exchange.usage) / PICO
            except PriceError:
                continue
    return None


def cost_table(
    groups: Sequence[Group],
    exchanges: Sequence[Exchange],
    prices: PriceBook,
    alternatives: Sequence[str],
) -> list[TypeCost]:
    """A row a task type, in the order of the groups; groups of one name are one type.

    Raises:
        PriceError: an alternative has no known price.
    """
    members: Mapping[str, list[Exchange]] = defaultdict(list)
    for group in groups:
        if group.kind != "skip":
            members[group.name].extend(exchanges[i] for i in group.members)
    cards = {model: prices.price(model) for model in alternatives}
    return [_row(name, own, prices, cards) for name, own in members.items()]


def _row(name: str, own: list[Exchange], prices: PriceBook, cards: Mapping[str, Any]) -> TypeCost:
    row = TypeCost(name, calls=len(own), would_cost=dict.fromkeys(cards, 0.0))
    for exchange in own:
        row.models[exchange.model] = row.models.get(exchange.model, 0) + 1
        cost = cost_of(exchange, prices)
        if cost is not None:
            row.priced += 1
            row.cost_usd += cost
            row.recorded += exchange.recorded_usd is not None
        if exchange.usage is None:
            row.uncounted += 1
            continue
        row.input_tokens += exchange.usage.total_input
        row.output_tokens += exchange.usage.output
        today = _today(exchange, prices)
        row.today_usd = None if today is None or row.today_usd is None else row.today_usd + today
        for model, card in cards.items():
            row.would_cost[model] += card.cost_pico(exchange.usage) / PICO
    if row.uncounted == row.calls:
        row.today_usd, row.would_cost = None, {}
    return row
