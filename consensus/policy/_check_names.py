"""Names that lead nowhere, and names that could mean two things."""

from __future__ import annotations

import re

from consensus.policy._checking import Findings, Layer, Prompts, layers
from consensus.policy._lines import KeyPath
from consensus.policy.findings import suggest
from consensus.policy.resolve import is_model
from consensus.policy.rows import BUILT_IN, DefaultsRow, TaskRow, When
from consensus.policy.table import PolicyTable

__all__ = ["check_names"]


def check_names(table: PolicyTable, found: Findings, prompts: Prompts | None) -> None:
    for name, models in table.tiers.items():
        if not models:
            found.add(
                "error", "no-models", ("tiers", name), "has no models", "name at least one model"
            )
        if name in table.strategies or name in BUILT_IN:
            found.add(
                "error",
                "unknown-name",
                ("tiers", name),
                "is the name of a strategy too, so escalate_to could mean either",
                "rename one",
            )
    for name, provider in table.providers.items():
        url = provider.base_url
        if url is not None and name != "scripted" and not re.match(r"https?://[^/\s]+", url):
            found.add(
                "error",
                "shape",
                ("providers", name, "base_url"),
                "must be an http:// or https:// address",
            )
    for name in table.strategies:
        if name in BUILT_IN:
            found.add(
                "error",
                "unknown-name",
                ("strategies", name),
                f'"{name}" is a built-in strategy',
                "choose another name",
            )
    for layer in layers(table):
        _check_layer(table, found, layer, prompts)


def _check_layer(
    table: PolicyTable, found: Findings, layer: Layer, prompts: Prompts | None
) -> None:
    fields, path = layer.fields, layer.path
    tiers, strategies = list(table.tiers), [*BUILT_IN, *table.strategies]
    if fields.tier is not None and fields.tier not in table.tiers:
        _unknown(found, (*path, "tier"), "tier", fields.tier, tiers)
    if isinstance(fields, DefaultsRow | When) and fields.strategy not in (None, *strategies):
        _unknown(found, (*path, "strategy"), "strategy", str(fields.strategy), strategies)
    _check_mix(found, layer, strategies)
    for position, name in enumerate(fields.escalate_to or ()):
        if name in BUILT_IN:
            found.add(
                "error",
                "unknown-name",
                (*path, "escalate_to", position),
                f'"{name}" alone names no models to escalate to',
                f'name a tier, or a [strategies.NAME] with orchestrator = "{name}"',
            )
        elif not (name in table.tiers or name in table.strategies or is_model(name)):
            _unknown(
                found,
                (*path, "escalate_to", position),
                "tier, strategy or model",
                name,
                [*tiers, *table.strategies],
            )
    for position, name in enumerate(fields.fallback or ()):
        if not (name in table.tiers or is_model(name)):
            _unknown(found, (*path, "fallback", position), "model or tier", name, tiers)
    shadow = fields.shadow if isinstance(fields, TaskRow) else None
    if shadow and not (
        shadow.route in table.tiers or shadow.route in table.strategies or is_model(shadow.route)
    ):
        _unknown(found, (*path, "shadow", "route"), "tier, strategy or model", shadow.route, tiers)
    if prompts is not None:
        known = [*prompts.framings, *table.framing_sets]
        for position, name in enumerate(fields.framings or ()):
            if name not in known:
                _unknown(found, (*path, "framings", position), "framing", name, known)


def _check_mix(found: Findings, layer: Layer, strategies: list[str]) -> None:
    mix = layer.fields.mix if isinstance(layer.fields, DefaultsRow) else None
    for position, part in enumerate(mix or ()):
        if part.strategy not in strategies:
            at = (*layer.path, "mix", position, "strategy")
            _unknown(found, at, "strategy", part.strategy, strategies)


def _unknown(found: Findings, path: KeyPath, what: str, name: str, known: list[str]) -> None:
    found.add("error", "unknown-name", path, f'"{name}" is no {what}', suggest(name, known))
