"""What is wrong, or looks wrong, with a table whose shape is right."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from consensus.errors import DeclarationError, PolicyError, PriceError
from consensus.policy._lines import KeyPath
from consensus.policy.findings import Code, Finding, Level, dotted, suggest
from consensus.policy.resolve import (
    Hop,
    Resolved,
    escalations,
    first_hop,
    is_model,
    resolve,
)
from consensus.policy.table import (
    BUILT_IN,
    DefaultsRow,
    PanelFields,
    PolicyTable,
    TaskRow,
    When,
)

__all__ = ["LOAD_CODES", "FramingLike", "Prices", "Prompts", "WindowLike", "check", "check_prices"]

LOAD_CODES: frozenset[Code] = frozenset(
    {"shape", "unknown-name", "no-models", "no-price", "cycle", "quorum", "no-gate"}
)
"""Errors with which a table is not loaded at all; the others are for ``consensus policy check``."""

RETIRES_SOON = timedelta(days=90)

NOT_ACTED_ON = ("gate", "shadow")
"""Keys of a row that are kept for tools and that no engine acts on yet."""

_PANEL_SETTINGS = ("waves", "stop", "debate", "cascade", "latency")


class WindowLike(Protocol):
    """Tokens that a model takes and gives."""

    @property
    def max_input(self) -> int: ...  # noqa: D102
    @property
    def max_output(self) -> int: ...  # noqa: D102
    @property
    def known(self) -> bool: ...  # noqa: D102


class Prices(Protocol):
    """Where prices and windows are looked up: a ``PriceBook``."""

    def price(self, model: str) -> object:
        """The price, or :class:`PriceError`."""
        ...

    def window(self, model: str) -> WindowLike:
        """The window; ``known`` is False where it is a guess."""
        ...


class FramingLike(Protocol):
    """A framing, as far as the table cares."""

    @property
    def kinds(self) -> Collection[str]: ...  # noqa: D102


class Prompts(Protocol):
    """The known framings by name: a ``PromptBook``."""

    @property
    def framings(self) -> Mapping[str, FramingLike]: ...  # noqa: D102


def check(
    table: PolicyTable,
    *,
    prices: Prices | None = None,
    prompts: Prompts | None = None,
    today: date | None = None,
) -> list[Finding]:
    """Everything that is wrong with a table, errors and warnings, in file order.

    Args:
        prices: the price map under the table's own prices by default.
        prompts: known framings; without it framings are not looked up.
        today: against which models are retired; the current day (UTC) by default.
    """
    found = _Findings(table)
    _check_names(table, found, prompts)
    routes = list(_routes(table, found))
    for resolved, hops in routes:
        _check_row(found, resolved, hops, prompts)
    if table.defaults.tier is None and table.defaults.models is None:
        found.add(
            "warning",
            "no-defaults",
            ("defaults",),
            "has neither a tier nor models: a task type without a row is refused",
            'give [defaults] a tier, such as tier = "small"',
        )
    if prices is None:
        from consensus.models.prices import PriceBook

        prices = PriceBook(overrides=table.price_overrides())
    found.items += check_prices(table, prices)
    day = today or datetime.now(UTC).date()
    _check_retired(found, _named_models(table, routes), prices, day)
    unique = {(f.code, f.key, f.message): f for f in found.items}
    return sorted(unique.values(), key=lambda f: (f.file or "", f.line or 0, f.key, f.message))


class _Findings:
    def __init__(self, table: PolicyTable) -> None:
        self.table = table
        self.items: list[Finding] = []

    def add(
        self, level: Level, code: Code, path: KeyPath, message: str, fix: str | None = None
    ) -> None:
        place = self.table.place(*path)
        self.items.append(
            Finding(
                level=level,
                code=code,
                key=dotted(path),
                message=message,
                fix=fix,
                file=place.file if place else None,
                line=place.line if place else None,
            )
        )


@dataclass(frozen=True, slots=True)
class _Layer:
    path: KeyPath
    fields: PanelFields


def _layers(table: PolicyTable) -> Iterator[_Layer]:
    rows: list[tuple[KeyPath, DefaultsRow]] = [(("defaults",), table.defaults)]
    rows += [(("tasks", name), row) for name, row in table.tasks.items()]
    for name, strategy in table.strategies.items():
        yield _Layer(("strategies", name), strategy)
    for path, row in rows:
        yield _Layer(path, row)
        for position, rule in enumerate(row.when or ()):
            yield _Layer((*path, "when", position), rule)


# names ------------------------------------------------------------------------------------------


def _check_names(table: PolicyTable, found: _Findings, prompts: Prompts | None) -> None:
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
    for layer in _layers(table):
        _check_layer(table, found, layer, prompts)


def _check_layer(
    table: PolicyTable, found: _Findings, layer: _Layer, prompts: Prompts | None
) -> None:
    fields, path = layer.fields, layer.path
    tiers, strategies = list(table.tiers), [*BUILT_IN, *table.strategies]
    if fields.tier is not None and fields.tier not in table.tiers:
        _unknown(found, (*path, "tier"), "tier", fields.tier, tiers)
    if isinstance(fields, DefaultsRow | When) and fields.strategy not in (None, *strategies):
        _unknown(found, (*path, "strategy"), "strategy", str(fields.strategy), strategies)
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


def _unknown(found: _Findings, path: KeyPath, what: str, name: str, known: list[str]) -> None:
    found.add("error", "unknown-name", path, f'"{name}" is no {what}', suggest(name, known))


# rows -------------------------------------------------------------------------------------------


def _routes(table: PolicyTable, found: _Findings) -> Iterator[tuple[Resolved, tuple[Hop, ...]]]:
    """Every row with every rule of it, as far as it can be followed; what stops it is found."""
    types: list[str | None] = [None, *table.tasks]
    for task_type in types:
        row = table.tasks.get(task_type) if task_type else None
        rules = (row.when if row else None) or table.defaults.when or ()
        for rule in (None, *range(len(rules))):
            try:
                resolved = resolve(table, task_type, rule)
            except PolicyError:
                continue  # the unknown strategy is found by name
            followed = _follow(table, found, resolved)
            if followed:
                yield resolved, followed


def _follow(table: PolicyTable, found: _Findings, resolved: Resolved) -> tuple[Hop, ...] | None:
    row, path = resolved.row, resolved.path
    if row.tier is None and row.models is None:
        if path != ("defaults",):
            found.add(
                "error",
                "no-models",
                path,
                "has neither a tier nor models",
                f'add tier = "{next(iter(table.tiers))}"'
                if table.tiers
                else "add [tiers], then tier = …",
            )
        return None
    if row.tier is not None and not table.tiers.get(row.tier):
        return None  # found by name
    try:
        first = first_hop(table, resolved)
    except (DeclarationError, ValueError):
        return None
    names = row.escalate_to or ()
    if row.tier in names and resolved.origin.get("escalate_to") in (path, resolved.origin["tier"]):
        found.add(
            "error",
            "cycle",
            (*resolved.key("escalate_to"), names.index(str(row.tier))),
            f'escalates to its own tier "{row.tier}"',
            "name a stronger one",
        )
    try:
        return (first, *escalations(table, resolved))
    except PolicyError as error:
        if "circle" in error.message:
            found.add("error", "cycle", resolved.key("escalate_to"), error.message, error.fix)
        return (first,)


def _check_row(
    found: _Findings,
    resolved: Resolved,
    hops: tuple[Hop, ...],
    prompts: Prompts | None,
) -> None:
    first = hops[0]
    for hop in hops:
        _check_available(found, resolved, hop)
    _check_panel(found, resolved, first)
    _check_consequence(found, resolved)
    _check_kind(found, resolved, first, prompts)
    fallbacks = first.spec.fallbacks
    if len(set(first.models)) == 1 and first.models[0] in fallbacks:
        found.add(
            "error",
            "cycle",
            resolved.key("fallback"),
            f'"{first.models[0]}" falls back to itself',
            "take it out",
        )
    for name in NOT_ACTED_ON:
        if getattr(resolved.row, name) is not None:
            found.add(
                "warning",
                "not-acted-on",
                resolved.key(name),
                "is kept, and this version of the engine does not act on it",
                "do it yourself before the downstream action" if name == "gate" else None,
            )
    for name in _PANEL_SETTINGS:
        if getattr(resolved.row, name) is not None and name not in type(first.spec).model_fields:
            found.add(
                "warning",
                "not-acted-on",
                resolved.key(name),
                "is kept, and this version of the engine does not act on it",
            )


def _check_available(found: _Findings, resolved: Resolved, hop: Hop) -> None:
    from consensus.orchestrators import ORCHESTRATORS

    if hop.spec.orchestrator not in ORCHESTRATORS:
        path = (
            ("strategies", hop.name, "orchestrator")
            if hop.path[0] == "strategies" or hop.name not in BUILT_IN
            else resolved.key("strategy")
        )
        found.add(
            "error",
            "unknown-name",
            path,
            f'"{hop.spec.orchestrator}" is not available in this version',
            f"use {' or '.join(ORCHESTRATORS)}",
        )


def _check_panel(found: _Findings, resolved: Resolved, hop: Hop) -> None:
    spec, row = hop.spec, resolved.row
    if spec.orchestrator == "single":
        own = resolved.origin.get("seats", ("defaults",)) != ("defaults",)
        if own and (row.seats or 1) > 1:
            found.add(
                "warning",
                "quorum",
                resolved.key("seats"),
                f"{row.seats} seats with a single call: only one is asked",
                'strategy = "vote"',
            )
        return
    if spec.quorum > spec.seats:
        key = "quorum" if "quorum" in resolved.origin else "seats"
        found.add(
            "error",
            "quorum",
            resolved.key(key),
            f"quorum {spec.quorum} is more than the {spec.seats} seats of {dotted(resolved.path)}",
            f"quorum = {spec.seats // 2 + 1}",
        )
    if spec.aggregator == "majority" and spec.seats % 2 == 0:
        found.add(
            "warning",
            "even-seats",
            resolved.key("seats"),
            f"{spec.seats} seats can split evenly, and a tie is no outcome",
            f"seats = {spec.seats + 1}",
        )
    if row.min_agreement is not None:
        _check_agreement(found, resolved, spec.seats, spec.quorum, row.min_agreement)
    if spec.veto is not None and spec.veto > spec.seats:
        found.add(
            "error",
            "agreement",
            resolved.key("veto"),
            f"{spec.veto} rejections cannot come from {spec.seats} seats",
            f"veto = {spec.seats} or fewer",
        )


def _check_agreement(
    found: _Findings, resolved: Resolved, seats: int, quorum: int, share: float
) -> None:
    needed = seats // 2 + 1 if share <= 0.5 else math.ceil(seats * share - 1e-9)
    path = resolved.key("min_agreement")
    if share < 0.5:
        found.add(
            "warning",
            "agreement",
            path,
            f"{share:g} of the seats may agree on two outcomes at once",
            "0.5 means more than half",
        )
    elif needed > quorum:
        found.add(
            "warning",
            "agreement",
            path,
            f"{needed} of {seats} seats must agree, so a quorum of {quorum} can never act",
            f"quorum = {needed}",
        )


def _check_consequence(found: _Findings, resolved: Resolved) -> None:
    row = resolved.row
    if row.consequence == "irreversible" and row.gate is None and row.oracle is None:
        found.add(
            "error",
            "no-gate",
            resolved.key("consequence"),
            "an irreversible row needs a gate between the decision and what it sets off",
            'add gate = "ORACLE" (or oracle = "…")',
        )
    judged = row.losses is not None or row.alpha is not None
    if row.consequence in ("high", "irreversible") and not judged and row.escalate_to is None:
        found.add(
            "warning",
            "no-losses",
            resolved.key("consequence"),
            f"consequence {row.consequence} with neither losses, alpha nor escalate_to: "
            "a bare majority acts",
            "add losses = { false_approve = …, false_reject = … }"
            if row.kind in (None, "approve")
            else 'add escalate_to = ["frontier"]',
        )


_FIELD_KINDS = {"options": "choose", "scale": "score", "output_schema": "generate"}


def _check_kind(
    found: _Findings,
    resolved: Resolved,
    hop: Hop,
    prompts: Prompts | None,
) -> None:
    row = resolved.row
    if row.kind is None:
        return
    for name, kind in _FIELD_KINDS.items():
        if getattr(row, name) is not None and row.kind != kind:
            key = "schema" if name == "output_schema" else name
            found.add(
                "error",
                "kind",
                (*resolved.path, key),
                f"belongs to tasks of kind {kind}, and this row is for {row.kind}",
                "take it out",
            )
    own_losses = resolved.origin.get("losses") == resolved.path
    if own_losses and row.kind != "approve":
        found.add(
            "warning",
            "kind",
            resolved.key("losses"),
            f"false_approve and false_reject mean nothing to tasks of kind {row.kind}",
            "use alpha",
        )
    if row.ballot == "token" and row.kind not in ("approve", "choose", "compare"):
        found.add(
            "warning",
            "kind",
            resolved.key("ballot"),
            f"one token cannot answer a task of kind {row.kind}",
            'ballot = "structured"',
        )
    if prompts is not None:
        for name in hop.spec.framings:
            framing = prompts.framings.get(name)
            if framing is not None and row.kind not in framing.kinds:
                found.add(
                    "error",
                    "unknown-name",
                    resolved.key("framings"),
                    f'framing "{name}" does not suit tasks of kind {row.kind}',
                    f"it suits {', '.join(sorted(framing.kinds))}",
                )


# models -----------------------------------------------------------------------------------------


def check_prices(table: PolicyTable, prices: Prices) -> list[Finding]:
    """Models that a row can reach and whose price or window is unknown, or too small."""
    found = _Findings(table)
    routes = list(_routes(table, _Findings(table)))
    for model, path in _named_models(table, routes).items():
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
        if not prices.window(model).known:
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
            _check_windows(found, resolved, hops[0], prices)
    return found.items


def _check_windows(found: _Findings, resolved: Resolved, hop: Hop, prices: Prices) -> None:
    widest = max(hop.models, key=lambda model: prices.window(model).max_input)
    size = prices.window(widest).max_input
    for model in hop.spec.fallbacks:
        window = prices.window(model)
        if window.known and prices.window(widest).known and window.max_input < size:
            found.add(
                "error",
                "window",
                resolved.key("fallback"),
                f'"{model}" has a smaller window ({window.max_input:,} tokens) '
                f'than "{widest}" ({size:,}), whose place it would take',
                "fall back to a model with as large a window",
            )
    reserved = hop.spec.max_output_tokens
    for model in hop.models:
        limit = prices.window(model).max_output
        if reserved is not None and prices.window(model).known and reserved > limit:
            found.add(
                "error",
                "window",
                resolved.key("max_output_tokens"),
                f'"{model}" writes at most {limit:,} tokens, not {reserved:,}',
                f"max_output_tokens = {limit}",
            )


def _named_models(
    table: PolicyTable, routes: list[tuple[Resolved, tuple[Hop, ...]]]
) -> dict[str, KeyPath]:
    """Every model that a row can reach, and where it is named."""
    reached: dict[str, KeyPath] = {}
    for resolved, hops in routes:
        for hop in hops:
            for model in (*hop.models, *hop.spec.fallbacks):
                reached.setdefault(model, resolved.path)
    for name, models in table.tiers.items():
        for position, model in enumerate(models):
            if model in reached and reached[model][0] != "tiers":
                reached[model] = ("tiers", name, position)
    for layer in _layers(table):
        for key in ("models", "fallback", "escalate_to"):
            for position, model in enumerate(getattr(layer.fields, key) or ()):
                if model in reached and reached[model][0] != "tiers":
                    reached[model] = (*layer.path, key, position)
    return reached


def _check_retired(
    found: _Findings, models: Mapping[str, KeyPath], prices: Prices, today: date
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
