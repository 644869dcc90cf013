"""``consensus policy schema``: the JSON Schema of the policy's TOML."""

from __future__ import annotations

import sys

__all__ = ["schema"]


def schema() -> None:
    """Print the JSON Schema of the policy's TOML."""
    from consensus.policy.schema import schema_text

    sys.stdout.write(schema_text())
