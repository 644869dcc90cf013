"""Where the ledger lies."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

__all__ = ["DEFAULT_PATH", "ledger_path"]

DEFAULT_PATH = ".consensus/ledger.db"


def ledger_path(
    option: str | Path | None = None,
    *,
    policy: str | Path | None = None,
    declared: str | None = None,
) -> Path:
    """The first of: the option, ``CONSENSUS_LEDGER``, the policy's ``[ledger] path``, the default.

    Relative paths are seen from the current folder.

    Args:
        option: what the command line says.
        policy: a policy's folder or file, whose ``[ledger] path`` is read; None: ``strategies``.
        declared: the ``[ledger] path`` of a policy that is loaded already, in place of ``policy``.
    """
    if option is not None:
        return Path(option)
    if named := os.environ.get("CONSENSUS_LEDGER"):
        return Path(named)
    return Path(declared or _declared(Path(policy or "strategies")) or DEFAULT_PATH)


def _declared(policy: Path) -> str | None:
    """The policy's ``[ledger] path``. A policy that cannot be read does not hide its ledger."""
    files = sorted(policy.glob("*.toml")) if policy.is_dir() else [policy]
    for file in files:
        try:
            path = tomllib.loads(file.read_text(encoding="utf-8")).get("ledger", {}).get("path")
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(path, str) and path:
            return path
    return None
