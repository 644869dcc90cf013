"""Tables, audits and profiles for tests of the projection."""

from __future__ import annotations

import tomllib
from typing import Any

from consensus.policy import PolicyTable
from consensus.policy.audit.model import Audit

PRICES = """\
[prices."x/small"]
input = 1.0
output = 4.0
cache_read = 0.1
[prices."x/mid"]
input = 3.0
output = 15.0
[prices."x/front"]
input = 10.0
output = 50.0
[tiers]
small = ["x/small"]
mid = ["x/mid"]
frontier = ["x/front"]
[defaults]
tier = "small"
"""


def policy(rows: str = "", *, head: str = PRICES) -> PolicyTable:
    """A table with three priced models and these rows."""
    return PolicyTable.model_validate(tomllib.loads(f"version = 1\n{head}\n{rows}"))


def audit(**tasks: dict[str, Any]) -> Audit:
    """An audit of these task types; what they do not say is ordinary."""
    return Audit.model_validate(
        {
            "version": 1,
            "tasks": {
                name: {
                    "kind": "approve",
                    "complexity": "low",
                    "consequence": "low",
                    "structured": True,
                    "monthly_volume": 1_000,
                    "input_tokens": {"p50": 1_000, "p95": 1_000},
                    "output_tokens": {"p50": 100, "p95": 100},
                    **given,
                }
                for name, given in tasks.items()
            },
        }
    )
