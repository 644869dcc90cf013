"""The JSON Schema of the policy's TOML, for editors and other tools."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from consensus.policy.table import PolicyTable

__all__ = ["SCHEMA_FILE", "policy_schema", "schema_text", "toml_schema"]

SCHEMA_FILE = "policy.schema.json"
"""Stands beside the shipped TOML, whose first line points at it."""


def policy_schema() -> dict[str, Any]:
    """The schema of a whole table (draft 2020-12). Each file of a folder holds a part of one."""
    return toml_schema(PolicyTable, "Consensus policy")


def toml_schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    """The schema (draft 2020-12) of the TOML that a model reads."""
    tidy: dict[str, Any] = _without_null(model.model_json_schema(by_alias=True))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **tidy, "title": title}


def schema_text() -> str:
    """The schema as the file that is shipped."""
    return json.dumps(policy_schema(), indent=2, ensure_ascii=False) + "\n"


def _without_null(node: Any) -> Any:
    """TOML has no null: what may be left out is optional, and no more than that."""
    if isinstance(node, list):
        return [_without_null(item) for item in node]
    if not isinstance(node, dict):
        return node
    options = node.get("anyOf")
    if isinstance(options, list):
        kept = [option for option in options if option != {"type": "null"}]
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        node = {**rest, **kept[0]} if len(kept) == 1 else {**rest, "anyOf": kept}
    # pydantic's titles only repeat the key, which editors show anyway
    return {
        key: _without_null(value)
        for key, value in node.items()
        if not (key == "default" and (value is None or isinstance(value, dict)))
        and not (key == "title" and isinstance(value, str))
    }
