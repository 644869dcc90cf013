"""Schema validity and field accuracy."""

from __future__ import annotations

import pytest

from consensus.errors import SuiteError
from consensus.oracles import Fields, JsonSchema

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


def test_schema_judges_text_and_objects_alike() -> None:
    oracle = JsonSchema(SCHEMA)
    assert oracle.judge('{"name": "A", "age": 3}').passed
    assert oracle.judge({"name": "A", "age": 3}).passed
    assert not oracle.judge('{"name": "A"}').passed
    assert not oracle.judge("not json").passed
    assert not oracle.judge('{"name": "A", "age": NaN}').passed


def test_a_remote_reference_is_refused_and_never_fetched() -> None:
    with pytest.raises(SuiteError, match="refers to"):
        JsonSchema({"$ref": "http://127.0.0.1:9/schema.json"}).judge({})


def test_deep_nesting_is_a_wrong_answer_and_no_crash() -> None:
    assert not JsonSchema(SCHEMA).judge("[" * 100_000).passed


def test_fields_give_the_weighted_share_that_is_right() -> None:
    oracle = Fields({"name": 3, "age": 1}, floor=0.7)
    result = oracle.judge({"name": " ann ", "age": 4}, {"name": "Ann", "age": 3})
    assert result.score == pytest.approx(0.75)
    assert result.passed
    assert result.detail == "wrong: age"


def test_fields_without_an_object_score_nothing() -> None:
    assert Fields().judge("[1]", {"a": 1}).score == 0.0


def test_a_weight_for_a_field_that_the_reference_lacks_is_the_suites_error() -> None:
    with pytest.raises(SuiteError, match="no field"):
        Fields({"x": 1}).judge({"x": 1}, {"y": 1})
