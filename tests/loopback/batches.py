"""Both batch endpoints, as the APIs speak them: states, files, results in any order.

An item is judged and billed when its batch ends, as a live request would be; ``Batches.fate`` says
which of them do not get so far.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from aiohttp import web

from tests.loopback.asking import Api

Fate = Literal["answered", "expired", "canceled"]
Work = Callable[[Api, dict[str, Any], Mapping[str, str]], tuple[int, dict[str, Any]]]
"""Judges and bills one body: its status, and the API's own answer or error."""

ANTHROPIC_MOST, OPENAI_MOST = 100_000, 50_000
_DAY = timedelta(hours=24)


@dataclass
class Batch:
    """One batch. ``looks`` counts how often it was looked at."""

    id: str
    api: Api
    items: list[dict[str, Any]]
    headers: Mapping[str, str]
    created: float
    metadata: dict[str, str] = field(default_factory=dict)
    input_file: str = ""
    model: str = ""
    looks: int = 0
    status: str = "in_progress"
    canceling: bool = False
    refused: str | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def count(self, kind: str) -> int:
        return sum(line["kind"] == kind for line in self.results)


@dataclass
class Batches:
    """The batches of a loopback provider, and how they behave.

    Attributes:
        after_looks: a batch ends when it has been looked at so often.
        fate: what becomes of an item, by its id and body; None: it is answered.
        refuse: error codes for the next OpenAI batches, each of which fails with one.
        begun_in_silence: how many of the next submissions begin a batch and then hang up.
        broken_looks: how many of the next looks at a batch give a 500.
        seed: of the order in which results come.
    """

    work: Work
    after_looks: int = 2
    fate: Callable[[str, dict[str, Any]], Fate | None] | None = None
    refuse: list[str] = field(default_factory=list)
    begun_in_silence: int = 0
    broken_looks: int = 0
    seed: int = 0
    made: dict[str, Batch] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def routes(self, app: web.Application) -> None:
        """Add both APIs' routes."""
        root = "/v1/messages/batches"
        app.router.add_post(root, self._create_anthropic)
        app.router.add_get(root, self._list)
        app.router.add_get(root + "/{id}", self._look)
        app.router.add_post(root + "/{id}/cancel", self._cancel)
        app.router.add_get(root + "/{id}/results", self._results)
        app.router.add_post("/v1/files", self._upload)
        app.router.add_get("/v1/files/{id}/content", self._download)
        app.router.add_post("/v1/batches", self._create_openai)
        app.router.add_get("/v1/batches", self._list)
        app.router.add_get("/v1/batches/{id}", self._look)
        app.router.add_post("/v1/batches/{id}/cancel", self._cancel)

    def of(self, api: Api) -> list[Batch]:
        """One API's batches, in the order in which they were begun."""
        return [batch for batch in self.made.values() if batch.api == api]

    # -- beginning ---------------------------------------------------------------------------------

    async def _create_anthropic(self, request: web.Request) -> web.StreamResponse:
        if not {"x-api-key", "authorization"} & {name.lower() for name in request.headers}:
            return _anthropic_error(401, "authentication_error", "x-api-key header is required")
        items = (await request.json()).get("requests") or []
        ids = [str(item.get("custom_id", "")) for item in items]
        if not items or len(items) > ANTHROPIC_MOST:
            return _anthropic_error(400, "invalid_request_error", "requests: wrong number")
        if len(set(ids)) < len(ids):
            return _anthropic_error(400, "invalid_request_error", "custom_id: must be unique")
        if any(
            not 1 <= len(i) <= 64 or not i.replace("-", "").replace("_", "").isalnum() for i in ids
        ):
            return _anthropic_error(400, "invalid_request_error", "custom_id: wrong pattern")
        batch = self._begin("anthropic", request, items)
        return self._begun(request, _anthropic(batch, request))

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        if form.get("purpose") != "batch" or not isinstance(form.get("file"), web.FileField):
            return _openai_error(400, "invalid_value", "purpose or file is missing")
        file = form["file"]
        assert isinstance(file, web.FileField)
        name = f"file-{len(self.files) + 1:06d}"
        self.files[name] = file.file.read()
        described = {
            "id": name,
            "object": "file",
            "bytes": len(self.files[name]),
            "created_at": int(time.time()),
            "filename": file.filename,
            "purpose": "batch",
            "status": "processed",
        }
        return web.json_response(described)

    async def _create_openai(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body.get("completion_window") != "24h" or body.get("input_file_id") not in self.files:
            return _openai_error(400, "invalid_value", "completion_window or input_file_id")
        content = self.files[body["input_file_id"]]
        items = [json.loads(line) for line in content.splitlines()]
        batch = self._begin("openai", request, items)
        batch.metadata, batch.input_file = body.get("metadata") or {}, body["input_file_id"]
        models = {item["body"].get("model") for item in items}
        urls = {item.get("url") for item in items}
        batch.model = str(next(iter(models), ""))
        if len(items) > OPENAI_MOST or len(models) != 1 or urls != {body["endpoint"]}:
            batch.refused = "invalid_value"
        elif self.refuse:
            batch.refused = self.refuse.pop(0)
        batch.status = "validating"
        return self._begun(request, _openai(batch))

    def _begin(self, api: Api, request: web.Request, items: list[dict[str, Any]]) -> Batch:
        prefix = "msgbatch_" if api == "anthropic" else "batch_"
        name = f"{prefix}{len(self.made) + 1:024d}"
        headers = {key.lower(): value for key, value in request.headers.items()}
        batch = self.made[name] = Batch(name, api, items, headers, time.time())
        return batch

    def _begun(self, request: web.Request, described: dict[str, Any]) -> web.StreamResponse:
        if self.begun_in_silence:
            self.begun_in_silence -= 1
            if request.transport is not None:
                request.transport.abort()
        return web.json_response(described)

    # -- looking -----------------------------------------------------------------------------------

    async def _list(self, request: web.Request) -> web.StreamResponse:
        api: Api = "anthropic" if "messages" in request.path else "openai"
        newest = self.of(api)[::-1]
        after = request.query.get("after_id") or request.query.get("after")
        names = [batch.id for batch in newest]
        start = names.index(after) + 1 if after in names else 0
        limit = int(request.query.get("limit", 20))
        page = newest[start : start + limit]
        shown = [_anthropic(b, request) if api == "anthropic" else _openai(b) for b in page]
        described = {
            "data": shown,
            "has_more": start + limit < len(newest),
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
        }
        if api == "openai":
            described["object"] = "list"
        return web.json_response(described)

    async def _look(self, request: web.Request) -> web.StreamResponse:
        batch = self.made.get(request.match_info["id"])
        if batch is None:
            return _openai_error(404, "not_found_error", "no such batch")
        if self.broken_looks:
            self.broken_looks -= 1
            return _openai_error(500, "server_error", "try again")
        batch.looks += 1
        if batch.looks >= self.after_looks and not batch.results:
            self._end(batch)
        return web.json_response(
            _anthropic(batch, request) if batch.api == "anthropic" else _openai(batch)
        )

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        batch = self.made[request.match_info["id"]]
        batch.canceling = True
        return web.json_response(
            _anthropic(batch, request) if batch.api == "anthropic" else _openai(batch)
        )

    async def _results(self, request: web.Request) -> web.StreamResponse:
        batch = self.made[request.match_info["id"]]
        lines = [
            {"custom_id": line["custom_id"], "result": _anthropic_result(line)}
            for line in batch.results
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        return web.Response(text=text, content_type="application/x-jsonl")

    async def _download(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self.files[request.match_info["id"]])

    # -- ending ------------------------------------------------------------------------------------

    def _end(self, batch: Batch) -> None:
        if batch.refused is not None:
            batch.status = "failed"
            return
        for item in batch.items:
            body = item["params"] if batch.api == "anthropic" else item["body"]
            fate = self.fate(item["custom_id"], body) if self.fate is not None else None
            line = {"custom_id": item["custom_id"], "kind": fate or "answered"}
            if batch.canceling:
                line["kind"] = "canceled"
            if line["kind"] == "answered":
                status, data = self.work(batch.api, body, batch.headers)
                line |= {"status": status, "data": data}
                line["kind"] = "answered" if status == 200 else "errored"
            batch.results.append(line)
        random.Random(self.seed).shuffle(batch.results)
        kinds = {line["kind"] for line in batch.results}
        if batch.api == "anthropic":
            batch.status = "ended"
            return
        batch.status = "completed"
        if "canceled" in kinds:
            batch.status = "cancelled"
        elif "expired" in kinds:
            batch.status = "expired"
        for name, wanted in (("output", True), ("error", False)):
            lines = [
                _openai_line(batch, line)
                for line in batch.results
                if (line["kind"] == "answered") is wanted
            ]
            if lines:
                file = batch.files[name] = f"file-{len(self.files) + 1:06d}"
                self.files[file] = "".join(json.dumps(line) + "\n" for line in lines).encode()


def _anthropic(batch: Batch, request: web.Request) -> dict[str, Any]:
    ended = batch.status == "ended"
    created = datetime.fromtimestamp(batch.created, UTC)
    counts = {"processing": 0 if ended else len(batch.items)}
    for shown, kind in (
        ("succeeded", "answered"),
        ("errored", "errored"),
        ("canceled", "canceled"),
        ("expired", "expired"),
    ):
        counts[shown] = batch.count(kind)
    status = "ended" if ended else "canceling" if batch.canceling else "in_progress"
    url = f"{request.scheme}://{request.host}/v1/messages/batches/{batch.id}/results"
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts,
        "created_at": created.isoformat(),
        "expires_at": (created + _DAY).isoformat(),
        "ended_at": datetime.now(UTC).isoformat() if ended else None,
        "cancel_initiated_at": None,
        "archived_at": None,
        "results_url": url if ended else None,
    }


def _anthropic_result(line: dict[str, Any]) -> dict[str, Any]:
    if line["kind"] == "answered":
        return {"type": "succeeded", "message": line["data"]}
    if line["kind"] == "errored":
        return {"type": "errored", "error": line["data"]}
    return {"type": line["kind"]}


def _openai(batch: Batch) -> dict[str, Any]:
    done = len(batch.results)
    failed = done - batch.count("answered")
    errors = None
    if batch.status == "failed":
        problem = {"code": batch.refused, "message": "refused", "param": None, "line": None}
        errors = {"object": "list", "data": [problem]}
    status = batch.status
    if status == "validating" and batch.looks:
        status = "cancelling" if batch.canceling else "in_progress"
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "errors": errors,
        "input_file_id": batch.input_file,
        "completion_window": "24h",
        "status": status,
        "output_file_id": batch.files.get("output"),
        "error_file_id": batch.files.get("error"),
        "created_at": int(batch.created),
        "expires_at": int(batch.created + _DAY.total_seconds()),
        "request_counts": {
            "total": 0 if status == "validating" else len(batch.items),
            "completed": done - failed,
            "failed": failed,
        },
        "metadata": batch.metadata,
        "model": batch.model,
    }


def _openai_line(batch: Batch, line: dict[str, Any]) -> dict[str, Any]:
    described = {"id": f"batch_req_{line['custom_id']}", "custom_id": line["custom_id"]}
    if "data" in line:
        response = {
            "status_code": line["status"],
            "request_id": f"req_{batch.id}",
            "body": line["data"],
        }
        return {**described, "response": response, "error": None}
    code = "batch_expired" if line["kind"] == "expired" else "batch_cancelled"
    error = {"code": code, "message": "This request could not be executed."}
    return {**described, "response": None, "error": error}


def _anthropic_error(status: int, kind: str, message: str) -> web.Response:
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return web.json_response(body, status=status)


def _openai_error(status: int, code: str, message: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": error}, status=status)
