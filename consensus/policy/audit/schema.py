"""The JSON Schema of the audit's TOML, for editors and other tools."""

from __future__ import annotations

import json
from typing import Any

from consensus.policy.audit.model import Audit
from consensus.policy.schema import toml_schema

__all__ = ["SCHEMA_FILE", "audit_schema", "schema_text"]

SCHEMA_FILE = "audit.schema.json"
"""Stands beside the policy's."""


def audit_schema() -> dict[str, Any]:
    """The schema of an audit (draft 2020-12)."""
    return toml_schema(Audit, "Consensus audit")


def schema_text() -> str:
    """The schema as the file that is shipped."""
    return json.dumps(audit_schema(), indent=2, ensure_ascii=False) + "\n"
