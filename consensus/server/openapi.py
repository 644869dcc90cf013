"""The OpenAPI 3.1 document, generated from the routes: what is not served is not in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from consensus._version import __version__
from consensus.server.endpoint import Spec
from consensus.server.shapes import ErrorBody

__all__ = ["openapi"]

REFERENCE = "#/components/schemas/{model}"

ERRORS = {
    400: "the request cannot be understood; trying again cannot help",
    401: "no key, or an unknown one",
    403: "the key is not for this",
    404: "there is no such thing, or not for this key",
    408: "the body arrived too slowly",
    413: "the body is too large",
    415: "another content type than JSON",
    429: "too many decisions are waiting, or the key's budget is spent; see retry-after",
    500: "a bug; the server's log has it",
    502: "no provider answered, and nothing was paid",
    503: "the server is going down, or the ledger cannot be written",
}


def openapi(specs: Iterable[Spec]) -> dict[str, Any]:
    """The document of these routes."""
    routes = list(specs)
    models: dict[type[BaseModel], None] = {ErrorBody: None}
    for spec in routes:
        if spec.request is not None:
            models[spec.request] = None
        models |= {
            shape: None for _, shape in spec.responses.values() if not isinstance(shape, str)
        }
    _, schemas = models_json_schema(
        [(model, "validation") for model in models], ref_template=REFERENCE
    )
    paths: dict[str, dict[str, Any]] = {}
    for spec in routes:
        paths.setdefault(_plain(spec.path), {})[spec.method.lower()] = _operation(spec)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Consensus",
            "version": __version__,
            "description": "Decides judgement tasks by a policy table: one model, a cascade or a "
            "panel. In /v1/chat/completions the model is a task type.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.get("$defs", {}),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _plain(path: str) -> str:
    """A path without the router's converters."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", path)


def _operation(spec: Spec) -> dict[str, Any]:
    answers = {
        str(status): {"description": said, "content": _content(shape)}
        for status, (said, shape) in spec.responses.items()
    }
    for status, said in ERRORS.items():
        if status in _possible(spec):
            answers.setdefault(str(status), {"description": said, "content": _content(ErrorBody)})
    operation: dict[str, Any] = {
        "operationId": spec.handle.__name__,
        "summary": spec.summary,
        "tags": [spec.tag],
        "responses": answers,
    }
    if spec.request is not None:
        operation["requestBody"] = {"required": True, "content": _content(spec.request)}
        if spec.handle.__name__ == "decide_stream":
            operation["requestBody"]["content"]["application/x-ndjson"] = {
                "schema": {"type": "string", "description": "a task a line"}
            }
    names = re.findall(r"\{(\w+)(?::\w+)?\}", spec.path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
    if spec.public:
        operation["security"] = []
    return operation


def _possible(spec: Spec) -> set[int]:
    found = {500}
    if not spec.public:
        found |= {401, 403}
    if "{" in spec.path:
        found.add(404)
    if spec.request is not None:
        found |= {400, 404, 408, 413, 415, 429, 502, 503}
    return found


def _content(shape: type[BaseModel] | str) -> dict[str, Any]:
    if isinstance(shape, str):
        return {shape: {"schema": {"type": "string"}}}
    return {"application/json": {"schema": {"$ref": REFERENCE.format(model=shape.__name__)}}}
