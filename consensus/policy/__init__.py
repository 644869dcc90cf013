"""Which task type uses which strategy, panel and thresholds: the table, its checks, its routes."""

from __future__ import annotations

from consensus.policy.check import check
from consensus.policy.findings import Finding
from consensus.policy.load import load_policy, parse_policy, validate_prices
from consensus.policy.resolve import Hop
from consensus.policy.route import Route, estimate_tokens, route, route_type
from consensus.policy.rows import DefaultsRow, StrategyTable, TaskRow
from consensus.policy.settings import LedgerSettings, Price, ProviderSettings
from consensus.policy.table import Place, PolicyTable

__all__ = [
    "DefaultsRow",
    "Finding",
    "Hop",
    "LedgerSettings",
    "Place",
    "PolicyTable",
    "Price",
    "ProviderSettings",
    "Route",
    "StrategyTable",
    "TaskRow",
    "check",
    "estimate_tokens",
    "load_policy",
    "parse_policy",
    "route",
    "route_type",
    "validate_prices",
]
