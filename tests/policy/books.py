"""Small stand-ins for tests: tables from text, and prices that need no price map."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from consensus.errors import PriceError
from consensus.policy import PolicyTable, parse_policy

CONTRACT = """\
version = 1
[providers.openai]                       # optional; the standard environment variables otherwise
base_url = "http://127.0.0.1:8080/v1"
requests_per_minute = 600
tokens_per_minute = 2_000_000
concurrency = 100
[prices."openai/in-house"]               # $ per million tokens; over the price map
input = 0.10
output = 0.40
[tiers]
small = ["anthropic/claude-haiku-5-5", "openai/gpt-5.4-nano"]
frontier = ["anthropic/claude-opus-5-5"]
[defaults]                               # the row of a task type that has none
strategy = "single"
tier = "small"
context_guard = 0.8
[tasks.refund_approval]
kind = "approve"
consequence = "high"                     # low | medium | high | irreversible
strategy = "vote"
tier = "small"
seats = 5                                # the tier's models in turn, each seat another framing
quorum = 4
losses = { false_approve = 20, false_reject = 1 }
escalate_to = ["frontier"]
max_usd = 0.05
deadline_s = 20
"""
"""The smallest useful policy, as the fixed contract writes it."""

TIERS = """\
[tiers]
small = ["x/s1", "x/s2", "x/s3"]
mid = ["x/m1", "x/m2"]
frontier = ["x/f"]
[defaults]
tier = "small"
"""


@dataclass
class Window:
    max_input: int = 100_000
    max_output: int = 8_000
    known: bool = True


@dataclass
class ListPrice:
    deprecation_date: date | None = None


@dataclass
class Book:
    """Knows every model but the ones named ``unpriced``."""

    unpriced: tuple[str, ...] = ()
    windows: dict[str, Window] = field(default_factory=dict)
    retires: dict[str, date] = field(default_factory=dict)

    def price(self, model: str) -> ListPrice:
        if model in self.unpriced:
            raise PriceError("no price is known for this model")
        return ListPrice(self.retires.get(model))

    def window(self, model: str) -> Window:
        return self.windows.get(model, Window())


def write(folder: Path, text: str, name: str = "policy.toml") -> Path:
    """A file of TOML in a folder."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def table_of(folder: Path, text: str) -> PolicyTable:
    """A table of the right shape, unchecked."""
    table, findings = parse_policy(write(folder, text))
    assert table is not None, findings
    return table
