"""Models without a price, without a future, or too small for what they are asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta

from consensus.errors import DeclarationError, PriceError
from consensus.policy._check_classifier import classifier_models
from consensus.policy._check_fallbacks import check_windows
from consensus.policy._checking import Findings, Prices, follow_rows, layers
from consensus.policy._lines import KeyPath
from consensus.policy.findings import Finding
from consensus.policy.resolve import Hop, Resolved, is_model, shadow_hop
from consensus.policy.table import PolicyTable

__all__ = ["check_prices", "check_retired", "named_models"]

RETIRES_SOON = timedelta(days=90)


def check_prices(table: PolicyTable, prices: Prices) -> list[Finding]:
    """Models that a row can reach and whose price or window is unknown, or too small."""
    found = Findings(table)
    routes = list(follow_rows(table, Findings(table)))
    for model, path in named_models(table, routes).items():
        if not is_model(model):
            if "fallback" in path:
                continue  # found by name
            found.add(
                "error",
                "unknown-name",
                path,
                f'the model name "{model}" has no provider',
                'write "provider/model", as LiteLLM does',
            )
            continue
        try:
            prices.price(model)
        except PriceError as error:
            found.add(
                "error",
                "no-price",
                path,
                f'model "{model}": {error.message}',
                f'check the name, or add [prices."{model}"] with input and output, '
                "in $ per million tokens",
            )
            continue
        if not prices.window(model).known and not model.startswith("scripted/"):
            found.add(
                "warning",
                "window-unknown",
                path,
                f'the window of "{model}" is not known, a small one is assumed',
                f'add max_input_tokens to [prices."{model}"]',
            )
    unknown = any(f.level == "error" for f in found.items)
    for resolved, hops in routes:
        if not unknown:
            check_windows(found, resolved, hops, prices)
    return found.items


def named_models(
    table: PolicyTable, routes: list[tuple[Resolved, tuple[Hop, ...]]]
) -> dict[str, KeyPath]:
    """Every model that a row can reach, and where it is named."""
    reached: dict[str, KeyPath] = {}
    for resolved, hops in routes:
        for model in _asked(hops):
            reached.setdefault(model, resolved.path)
    for resolved, _ in routes:
        for model in _shadowing(table, resolved):
            reached.setdefault(model, (*resolved.key("shadow"), "route"))
    for model, path in classifier_models(table).items():
        reached.setdefault(model, path)
    for name, models in table.tiers.items():
        for position, model in enumerate(models):
            if model in reached and reached[model][0] != "tiers":
                reached[model] = ("tiers", name, position)
    for layer in layers(table):
        for key in ("models", "fallback", "escalate_to"):
            for position, model in enumerate(getattr(layer.fields, key) or ()):
                if model in reached and reached[model][0] != "tiers":
                    reached[model] = (*layer.path, key, position)
    return reached


def _asked(hops: Iterable[Hop]) -> Iterator[str]:
    for hop in hops:
        yield from (*hop.models, *hop.spec.fallbacks)


def _shadowing(table: PolicyTable, resolved: Resolved) -> Iterator[str]:
    try:
        hop = shadow_hop(table, resolved)
    except (DeclarationError, ValueError):
        return  # found by name
    yield from _asked([] if hop is None else [hop])


def check_retired(
    found: Findings, models: Mapping[str, KeyPath], prices: Prices, today: date
) -> None:
    for model, path in models.items():
        try:
            retires = getattr(prices.price(model), "deprecation_date", None)
        except PriceError:
            continue
        if retires is None:
            continue
        if retires <= today:
            found.add(
                "error",
                "retired",
                path,
                f'model "{model}" was retired on {retires}',
                "name its successor, and profile the row again",
            )
        elif retires - today <= RETIRES_SOON:
            found.add("warning", "retired", path, f'model "{model}" retires on {retires}')
