from __future__ import annotations

import json
import tomllib

import pytest
from jsonschema import Draft202012Validator

from consensus.policy.audit.draft import audit_text
from consensus.policy.audit.schema import SCHEMA_FILE, audit_schema, schema_text
from consensus.resources import packaged
from tests.policy.audit.audits import task_text


def test_the_committed_schema_is_current() -> None:
    shipped = packaged("strategies") / SCHEMA_FILE
    assert shipped.read_text(encoding="utf-8") == schema_text(), (
        "write it again: consensus audit schema > strategies/audit.schema.json"
    )


def test_a_new_audit_satisfies_the_schema_and_points_at_it() -> None:
    Draft202012Validator(audit_schema()).validate(tomllib.loads(audit_text()))
    assert audit_text().splitlines()[0] == f"#:schema ./strategies/{SCHEMA_FILE}"


@pytest.mark.parametrize("change", [{"kind": '"aprove"'}, {"delta": "1.0"}, {"ovner": '"x"'}])
def test_the_schema_refuses_what_the_model_refuses(change: dict[str, str]) -> None:
    text = task_text("refund", **change)
    assert not Draft202012Validator(audit_schema()).is_valid(tomllib.loads(text))


def test_nothing_may_be_null_since_toml_has_no_null() -> None:
    assert "null" not in json.dumps(audit_schema())
