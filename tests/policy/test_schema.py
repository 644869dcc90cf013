from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from consensus.policy.schema import SCHEMA_FILE, policy_schema, schema_text
from consensus.resources import packaged
from tests.policy.books import CONTRACT


def test_the_committed_schema_is_current() -> None:
    shipped = packaged("strategies") / SCHEMA_FILE
    assert shipped.read_text(encoding="utf-8") == schema_text(), (
        "write it again: consensus policy schema > strategies/policy.schema.json"
    )


def test_the_schema_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(policy_schema())


@pytest.mark.parametrize(
    "file", sorted(packaged("strategies").glob("*.toml")), ids=lambda file: file.name
)
def test_a_shipped_file_satisfies_the_schema_and_points_at_it(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    Draft202012Validator(policy_schema()).validate(tomllib.loads(text))
    assert text.splitlines()[0] == f"#:schema ./{SCHEMA_FILE}"


def test_the_contract_satisfies_the_schema() -> None:
    Draft202012Validator(policy_schema()).validate(tomllib.loads(CONTRACT))


@pytest.mark.parametrize(
    "text",
    ["[tasks.x]\nseat = 5", "[tasks.x]\nseats = 0", '[tasks.x]\nkind = "aprove"', "tiers = 3"],
)
def test_the_schema_refuses_what_the_table_refuses(text: str) -> None:
    assert not Draft202012Validator(policy_schema()).is_valid(tomllib.loads(text))


def _fields(node: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    if isinstance(node, dict):
        for name, field in node.get("properties", {}).items():
            found.append((f"{path}.{name}", field))
        for name, value in node.items():
            found += _fields(value, f"{path}.{name}")
    return found


def test_every_key_has_a_description_for_editors() -> None:
    fields = _fields(policy_schema())
    assert len(fields) > 100
    assert [name for name, field in fields if not field.get("description")] == []


def test_nothing_may_be_null_since_toml_has_no_null() -> None:
    assert "null" not in json.dumps(policy_schema())
