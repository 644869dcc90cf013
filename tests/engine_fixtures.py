"""A policy in a line, and an engine on scripted models, for tests of the whole path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consensus.engine import Engine
from consensus.models.scripted import Behaviour, ScriptedClient

MODELS = """
version = 1
[tiers]
small = ["scripted/a", "scripted/b"]
frontier = ["scripted/f"]
[defaults]
strategy = "single"
tier = "small"
"""


def policy_file(folder: Path, rows: str, *, head: str = MODELS) -> Path:
    path = folder / "policy.toml"
    path.write_text(head + rows, encoding="utf-8")
    return path


def engine_of(
    folder: Path,
    rows: str,
    behaviour: Behaviour | Mapping[str, Any] | None = None,
    *,
    head: str = MODELS,
    **options: Any,
) -> tuple[Engine, ScriptedClient]:
    """An engine over scripted models, and the client that sees its requests."""
    client = (
        ScriptedClient.answering(behaviour)
        if isinstance(behaviour, Mapping)
        else ScriptedClient(behaviour)
    )
    options.setdefault("ledger", folder / "ledger.db")
    engine = Engine(policy_file(folder, rows, head=head), clients={"scripted": client}, **options)
    return engine, client
