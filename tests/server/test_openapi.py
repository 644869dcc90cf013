"""The document that describes the API is the API's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from consensus.server.app import ROUTES
from consensus.server.openapi import openapi
from tests.server.serving import TASK, serving


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def validator(document: dict[str, Any], name: str) -> Draft202012Validator:
    return Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    )


def test_every_route_is_described_and_nothing_else() -> None:
    document = openapi(ROUTES)
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert described == {(spec.method, spec.path) for spec in ROUTES}
    names = [op["operationId"] for path in document["paths"].values() for op in path.values()]
    assert len(set(names)) == len(names)


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    document = openapi(ROUTES)
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in references(document):
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert isinstance(node, dict)


def test_every_operation_is_whole() -> None:
    for path, methods in openapi(ROUTES)["paths"].items():
        for operation in methods.values():
            assert operation["summary"]
            assert operation["responses"]["200"]["description"]
            named = {p["name"] for p in operation.get("parameters", ())}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}


async def test_what_the_server_answers_is_what_the_document_says(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        document = (await served.http.get("/openapi.json")).json()
        decision = await served.decide({**TASK, "frontier": "scripted/f"})
        stream = await served.http.post("/v1/decide/stream", json=[TASK, {}])
        messages = [{"role": "user", "content": "x"}]
        chat = await served.http.post(
            "/v1/chat/completions", json={"model": "refund", "messages": messages}
        )
        split = await served.http.post(
            "/v1/chat/completions", json={"model": "queue", "messages": messages}
        )
        label = {"receipt_id": decision.json()["receipt_id"], "label": "approve"}
        kept = await served.http.post("/v1/feedback", json=label)
        receipt = await served.http.get(f"/v1/receipts/{decision.json()['receipt_id']}")
        got = {
            "DecisionRow": [decision.json(), *map(json.loads, stream.text.splitlines())],
            "ChatAnswer": [chat.json()],
            "ErrorBody": [split.json(), (await served.http.get("/nope")).json()],
            "KeptLabel": [kept.json()],
            "ReceiptBody": [receipt.json()],
            "PolicyReport": [(await served.http.get("/v1/policy")).json()],
            "ModelList": [(await served.http.get("/v1/models")).json()],
            "Model": [(await served.http.get("/v1/models/refund")).json()],
            "Ready": [(await served.http.get("/ready")).json()],
        }
    assert split.status_code == 400
    for name, bodies in got.items():
        for body in bodies:
            assert list(validator(document, name).iter_errors(body)) == [], name
