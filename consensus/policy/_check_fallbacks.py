"""Fallbacks that lead back, or to a model that cannot hold what it would be handed."""

from __future__ import annotations

from collections.abc import Iterable

from consensus.policy._checking import Findings, Prices
from consensus.policy._lines import KeyPath
from consensus.policy.findings import dotted
from consensus.policy.resolve import Hop, Resolved

__all__ = ["check_fallback_circles", "check_windows"]


def check_fallback_circles(
    found: Findings, routes: Iterable[tuple[Resolved, tuple[Hop, ...]]]
) -> None:
    """A route that falls back to itself is an error; two that fall back to each other are noted.

    No call runs in circles: each row's fallbacks are one flat list. But where A falls back to B and
    B, in another row, to A, the loss of either puts the load of both on the other.
    """
    edges: dict[tuple[str, str], tuple[KeyPath, KeyPath]] = {}
    for resolved, hops in routes:
        tiers = found.table.tiers
        row = resolved.row
        for place, name in enumerate(row.fallback or ()):
            if name == row.tier and name in tiers:
                found.add(
                    "error",
                    "cycle",
                    (*resolved.key("fallback"), place),
                    f'falls back to its own tier "{name}"',
                    "name another tier, or a model of another provider",
                )
        model, own = hops[0].models[0], row.tier in (row.fallback or ())
        alone = set(hops[0].models) == {model}
        if alone and not own and model in hops[0].spec.fallbacks:
            at = resolved.key("fallback")
            found.add("error", "cycle", at, f'"{model}" falls back to itself', "take it out")
        for hop in hops:
            at = _fallback_key(resolved, hop, first=hop is hops[0])
            for model in dict.fromkeys(hop.models):
                for other in hop.spec.fallbacks:
                    if other not in hop.models:
                        edges.setdefault((model, other), (at, hop.path))
    for (model, other), (at, path) in edges.items():
        back = edges.get((other, model))
        if back is None or back[0] == at or model > other:
            continue
        found.add(
            "warning",
            "cycle",
            back[0],
            f'"{other}" falls back to "{model}", which falls back to "{other}" in {dotted(path)}: '
            "the loss of one puts the load of both on the other",
            "give one of them a third model to fall back to",
        )


def check_windows(
    found: Findings, resolved: Resolved, hops: tuple[Hop, ...], prices: Prices
) -> None:
    """Every hop: no fallback into a smaller window, and no answer longer than a model can write."""
    for hop in hops:
        first = hop is hops[0]
        at = _fallback_key(resolved, hop, first=first)
        widest = max(hop.models, key=lambda model: prices.window(model).max_input)
        size = prices.window(widest).max_input
        for model in hop.spec.fallbacks:
            window = prices.window(model)
            if window.known and prices.window(widest).known and window.max_input < size:
                found.add(
                    "error",
                    "window",
                    at,
                    f'"{model}" has a smaller window ({window.max_input:,} tokens) '
                    f'than "{widest}" ({size:,}), whose place it would take',
                    "fall back to a model with as large a window",
                )
        reserved = hop.spec.max_output_tokens
        for model in (*hop.models, *hop.spec.fallbacks):
            window = prices.window(model)
            if reserved is None or not window.known or reserved <= window.max_output:
                continue
            found.add(
                "error",
                "window",
                resolved.key("max_output_tokens"),
                f'"{model}"{"" if first else f" ({hop.name})"} writes at most '
                f"{window.max_output:,} tokens, not {reserved:,}",
                f"max_output_tokens = {window.max_output}",
            )


def _fallback_key(resolved: Resolved, hop: Hop, *, first: bool) -> KeyPath:
    """Where a hop's fallbacks are written."""
    if not first and hop.path[0] == "strategies":
        return (*hop.path, "fallback")
    return resolved.key("fallback")
