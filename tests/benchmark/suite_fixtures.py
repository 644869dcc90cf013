"""Suites and runs for tests: small, whole, on scripted models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from consensus.benchmark.plan import Plan
from consensus.benchmark.runs import Run, open_run
from consensus.benchmark.suites import load_suite
from consensus.models.prices import PriceBook
from consensus.models.protocol import ModelClient
from consensus.models.scripted import Behaviour, ScriptedClient
from consensus.panel.book import load_prompts
from consensus.policy.load import load_policy
from consensus.policy.table import PolicyTable

SUITE = """
version = 1
name = "mini"
[types.refund]
kind = "approve"
criteria = "Unused, and bought within 30 days."
"""

ALL_KINDS = (
    SUITE
    + """
[types.triage]
kind = "choose"
options = ["billing", "bug", "other"]
[types.which]
kind = "compare"
[types.order]
kind = "rank"
[types.mark]
kind = "score"
scale = [1, 5]
oracle = { kind = "numeric", absolute = 1 }
[types.write]
kind = "generate"
oracle = { kind = "exact", normalisation = ["case", "space"] }
"""
)

ONE_OF_EACH: list[dict[str, Any]] = [
    {"id": "r", "type": "refund", "subject": "Unused, 3 days old.", "label": "approve"},
    {"id": "t", "type": "triage", "subject": "It crashes.", "label": "bug"},
    {"id": "w", "type": "which", "a": "first", "b": "second", "label": "A"},
    {"id": "o", "type": "order", "items": ["x", "y", "z"], "label": ["z", "x", "y"]},
    {"id": "m", "type": "mark", "subject": "An essay.", "label": 4},
    {"id": "g", "type": "write", "prompt": "Capital of France?", "label": "Paris"},
]

POLICY = """
version = 1
[tiers]
small = ["scripted/a", "scripted/b"]
[prices."scripted/a"]
input = 1.0
output = 5.0
[prices."scripted/b"]
input = 2.0
output = 10.0
[prices."scripted/g"]
input = 3.0
output = 15.0
"""


def refunds(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"r{i:02d}",
            "type": "refund",
            "subject": f"Case {i}: unused, {i} days old.",
            "label": "approve" if i % 2 else "reject",
        }
        for i in range(count)
    ]


def suite_folder(
    folder: Path,
    toml: str = SUITE,
    cases: Sequence[Mapping[str, Any] | str] = (),
) -> Path:
    """A suite's folder; a case may be given as its raw line."""
    root = folder / "suite"
    root.mkdir(parents=True, exist_ok=True)
    (root / "suite.toml").write_text(toml, encoding="utf-8")
    lines = [c if isinstance(c, str) else json.dumps(c) for c in cases or refunds(4)]
    (root / "cases.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def policy(folder: Path, text: str = POLICY) -> PolicyTable:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return load_policy(path)


async def opened(
    folder: Path,
    behaviour: Behaviour | None = None,
    *,
    plan: Plan | None = None,
    suite: Path | None = None,
    client: ModelClient | None = None,
    text: str = POLICY,
    out: str = "run",
    **options: Any,
) -> Run:
    """A run of ``folder/suite`` in ``folder/run`` on one scripted client."""
    table = policy(folder, text)
    return await open_run(
        load_suite(suite or folder / "suite"),
        plan or Plan(("scripted/a", "scripted/b")),
        folder / out,
        table=table,
        prices=PriceBook(overrides=table.price_overrides()),
        book=load_prompts(None),
        clients={"scripted": client or ScriptedClient(behaviour)},
        waits_s=(),
        **options,
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def results(folder: Path) -> dict[str, bytes]:
    names = ("cases.jsonl", "answers.jsonl", "manifest.json")
    return {name: (folder / name).read_bytes() for name in names}
