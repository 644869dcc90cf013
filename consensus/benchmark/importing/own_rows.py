"""Rows of our own shape: a task's fields, and what a model answered.

``{"type"?, "kind", …the task's fields, "model", "answer", "label"?, "id"?, "sample"?, "variant"?,
"failure"?, "confidence"?, "served_model"?, "prompt_tokens"?, "completion_tokens"?, "cost_usd"?,
"latency_s"?}``
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus.benchmark.importing.exchange import (
    BrokenRowError,
    Exchange,
    named_model,
    number,
    openai_usage,
)
from consensus.errors import TaskError
from consensus.tasks import KINDS, parse_task

__all__ = ["looks_like", "read_row"]

_ABOUT = frozenset(
    {
        "model",
        "answer",
        "label",
        "reference",
        "sample",
        "variant",
        "failure",
        "confidence",
        "served_model",
        "prompt_tokens",
        "completion_tokens",
        "cost_usd",
        "latency_s",
    }
)


def looks_like(row: Mapping[str, Any]) -> bool:
    """Whether a row is one of these."""
    return row.get("kind") in KINDS and "model" in row and ("answer" in row or "failure" in row)


def read_row(row: Mapping[str, Any], where: str) -> list[Exchange]:
    """The exchange of a row.

    Raises:
        BrokenRowError: it cannot be asked, or has no model.
    """
    fields = {name: value for name, value in row.items() if name not in _ABOUT}
    try:
        task = parse_task({"type": "task", **fields})
    except TaskError as error:
        raise BrokenRowError(error.message) from None
    sample = row.get("sample")
    if sample is not None and (type(sample) is not int or sample < 0):
        raise BrokenRowError('"sample" is no count')
    served = row.get("served_model")
    failure = row.get("failure")
    answer = row.get("answer")
    if answer is None and not failure:
        failure = "empty"
    confidence = number(row.get("confidence"))
    return [
        Exchange(
            where,
            named_model(row.get("model")),
            output=None if failure else answer,
            failure=str(failure) if failure else None,
            served_model=served if isinstance(served, str) else None,
            usage=openai_usage(row),
            recorded_usd=number(row.get("cost_usd")),
            latency_s=number(row.get("latency_s")),
            task=task.model_dump(mode="json", by_alias=True, exclude={"id", "type"}),
            task_type=str(row["type"]) if "type" in row else None,
            label=row.get("label", row.get("reference")),
            case_id=task.id,
            sample=sample,
            variant=str(row.get("variant") or "recorded"),
            confidence=confidence if confidence is not None and confidence <= 1 else None,
        )
    ]
