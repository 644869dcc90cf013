"""``consensus audit schema``: for editors."""

from __future__ import annotations

import sys

__all__ = ["schema"]


def schema() -> None:
    """Print the JSON Schema of audit.toml."""
    from consensus.policy.audit.schema import schema_text

    sys.stdout.write(schema_text())
