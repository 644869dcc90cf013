"""What the clients themselves say to a model, where its API leaves them no other way."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["schema_instruction"]


def schema_instruction(schema: dict[str, Any]) -> str:
    """For a model whose API cannot hold it to a schema: the schema, as words."""
    text = json.dumps(schema, ensure_ascii=False)
    return f"Answer with one JSON value that satisfies this JSON Schema, and nothing else:\n{text}"
