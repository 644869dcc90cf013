"""What is wrong, or looks wrong, with a table whose shape is right."""

from __future__ import annotations

from datetime import UTC, date, datetime

from consensus.policy._check_calibrations import check_calibrations, check_files
from consensus.policy._check_classifier import check_classifier
from consensus.policy._check_fallbacks import check_fallback_circles
from consensus.policy._check_models import check_prices, check_retired, named_models
from consensus.policy._check_names import check_names
from consensus.policy._check_oracles import (
    check_acting,
    check_latency,
    check_oracles,
    live_graders,
)
from consensus.policy._check_rows import check_row
from consensus.policy._check_watch import check_watch
from consensus.policy._checking import Findings, Prices, Prompts, follow_rows
from consensus.policy.findings import Code, Finding
from consensus.policy.oracles import grader_of, oracle_of
from consensus.policy.table import PolicyTable

__all__ = ["LOAD_CODES", "Prices", "Prompts", "check", "check_prices", "reached_models"]

LOAD_CODES: frozenset[Code] = frozenset(
    {
        "shape",
        "unknown-name",
        "no-models",
        "no-price",
        "cycle",
        "cascade",
        "calibration",
        "classifier",
        "quorum",
        "oracle",
        "gate",
        "no-gate",
    }
)
"""Errors with which a table is not loaded at all; the others are for ``consensus policy check``."""


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
    found = Findings(table)
    check_names(table, found, prompts)
    check_files(table, found)
    check_oracles(table, found)
    routes = list(follow_rows(table, found))
    for resolved, hops in routes:
        check_row(found, resolved, hops, prompts)
        check_acting(found, resolved, hops)
        check_latency(found, resolved, hops)
        check_calibrations(found, resolved, hops, prompts)
    check_fallback_circles(found, routes)
    check_classifier(found)
    check_watch(table, found)
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
    graders = live_graders(table, [resolved for resolved, _ in routes], prices, found)
    check_retired(found, {**graders, **named_models(table, routes)}, prices, day)
    unique = {(f.code, f.key, f.message): f for f in found.items}
    return sorted(unique.values(), key=lambda f: (f.file or "", f.line or 0, f.key, f.message))


def reached_models(table: PolicyTable) -> tuple[str, ...]:
    """Every model that a sound table can have asked: by its rows, their oracles, its classifier."""
    named = named_models(table, list(follow_rows(table, Findings(table))))
    graders = (grader_of(oracle_of(table, name)) for name in table.oracles)
    return tuple(dict.fromkeys((*named, *(model for model in graders if model is not None))))
