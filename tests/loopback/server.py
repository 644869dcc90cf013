"""The server: routes, waiting, faults on the wire, counting."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from aiohttp import web

from tests.loopback import anthropic_wire, embeddings, openai_wire
from tests.loopback.accounting import Bill, Entry, Log, PrefixCache
from tests.loopback.asking import Api, RequestInfo, read_request
from tests.loopback.batches import Batches
from tests.loopback.replies import Answerer, Reply, Script

_LIMIT = 4000
_MODELS = ("claude-opus-5-5", "claude-haiku-5-5", "gpt-5.4", "gpt-5.4-nano")


class LoopbackProvider:
    """A provider on 127.0.0.1.

    In a test, ``async with LoopbackProvider(script) as provider``; beside a command in another
    process, ``provider.start()`` and ``provider.stop()`` (a thread of its own); as a program,
    ``python -m tests.loopback``.

    Args:
        script: a :class:`Script`, its JSON, or any callable of a request that gives a reply, or
            None for the default one.
        latency_s: of every answer that does not say otherwise.
        answers, served: see :class:`Script`.
        models: what it serves, without provider; None serves any name.
        port: 0 takes a free one.
    """

    def __init__(
        self,
        script: Answerer | Mapping[str, Any] | None = None,
        *,
        latency_s: float | None = None,
        answers: str | None = None,
        served: Mapping[str, str] | None = None,
        models: tuple[str, ...] | None = None,
        port: int = 0,
    ) -> None:
        self.log = Log()
        self.cache = PrefixCache()
        self.models = models
        self.batches = Batches(self._work)
        self._port = port
        self._runner: web.AppRunner | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seen: Counter[str] = Counter()
        self.script = Script()
        self._answerer: Answerer | None = None
        self.set_script(script)
        if latency_s is not None:
            self.script.latency_s = latency_s
        if answers is not None:
            self.script.answers = answers  # type: ignore[assignment]
        self.script.served.update(served or {})

    def set_script(self, script: Answerer | Mapping[str, Any] | None) -> None:
        """Behave otherwise from the next request on."""
        self._answerer = None
        if isinstance(script, Script):
            self.script = script
        elif isinstance(script, Mapping):
            self.script = Script.from_json(script)
        elif script is None:
            self.script = Script()
        else:  # what it gives no reply for, the script so far answers
            self._answerer = script

    @property
    def url(self) -> str:
        """The root: ``ANTHROPIC_BASE_URL``."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def openai_url(self) -> str:
        """``OPENAI_BASE_URL``."""
        return f"{self.url}/v1"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that send both SDKs here."""
        return {
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": "sk-ant-loopback",
            "OPENAI_BASE_URL": self.openai_url,
            "OPENAI_API_KEY": "sk-loopback",
        }

    @property
    def requests(self) -> list[Entry]:
        """Every request so far."""
        return self.log.entries

    async def __aenter__(self) -> LoopbackProvider:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/v1/messages/count_tokens", self._count_tokens)
        app.router.add_post("/v1/chat/completions", self._completions)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_get("/v1/models", self._list_models)
        self.batches.routes(app)
        app.router.add_get("/_log", self._show_log)
        app.router.add_post("/_script", self._take_script)
        app.router.add_post("/_reset", self._reset)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=4096).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def start(self) -> LoopbackProvider:
        """Serve from a thread of its own, until :meth:`stop`."""
        ready = threading.Event()
        failed: list[BaseException] = []

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self._stopped = asyncio.Event()
            try:
                await self.__aenter__()
            except BaseException as error:
                failed.append(error)
                raise
            finally:
                ready.set()
            await self._stopped.wait()
            await self.__aexit__(None, None, None)

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        self._thread.start()
        ready.wait(10)
        if failed:
            raise failed[0]
        return self

    def stop(self) -> None:
        """Stop the thread."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(10)
            self._loop = self._thread = None

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        return await self._serve("anthropic", request)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        return await self._serve("openai", request)

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        asked, entry = await self._note("openai", request)
        entry.ended = time.time()
        status, body = embeddings.answer(asked, self.script.served.get(asked.model, asked.model))
        entry.status, entry.sent = status, True
        if status == 200:
            entry.served_model, entry.input = body["model"], body["usage"]["prompt_tokens"]
        return web.json_response(body, status=status)

    async def _count_tokens(self, request: web.Request) -> web.StreamResponse:
        asked, entry = await self._note("anthropic", request)
        reply = self._judge(asked)
        bill, _ = anthropic_wire.bill(asked, PrefixCache())
        if reply.status != 200 or reply.raw is not None or reply.cut:
            return await self._send(request, asked, entry, reply, bill, [])
        entry.status, entry.ended = 200, time.time()
        return web.json_response({"input_tokens": bill.total})

    async def _serve(self, api: Api, request: web.Request) -> web.StreamResponse:
        asked, entry = await self._note(api, request)
        self.log.in_flight += 1
        self.log.most_in_flight = max(self.log.most_in_flight, self.log.in_flight)
        try:
            reply = self._judge(asked)
            wire = _wire(asked)
            bill, written = Bill(), []
            if reply.status == 200:
                bill, written = wire.bill(asked, self.cache)
            wait = self.script.latency_s if reply.latency_s is None else reply.latency_s
            if wait:
                await asyncio.sleep(wait)
            return await self._send(request, asked, entry, reply, bill, written)
        except ConnectionResetError:  # who asked has gone
            return web.Response()
        finally:
            self.log.in_flight -= 1
            entry.ended = time.time()

    async def _note(self, api: Api, request: web.Request) -> tuple[RequestInfo, Entry]:
        body = json.loads(await request.read())
        return self._noted(api, request.path, body, request.headers)

    def _noted(
        self, api: Api, path: str, body: dict[str, Any], headers: Mapping[str, str]
    ) -> tuple[RequestInfo, Entry]:
        asked = read_request(api, path, body, dict(headers), len(self.log.entries) + 1, 1)
        self._seen[asked.key] += 1
        asked = read_request(api, path, body, dict(headers), asked.n, self._seen[asked.key])
        entry = Entry(asked.n, api, path, asked.model, asked.key, time.time())
        self.log.entries.append(entry)
        return asked, entry

    def _work(
        self, api: Api, body: dict[str, Any], headers: Mapping[str, str]
    ) -> tuple[int, dict[str, Any]]:
        """One item of a batch: judged, billed and logged as a live request is."""
        asked, entry = self._noted(api, "batch", body, headers)
        reply = self._judge(asked)
        wire = _wire(asked)
        entry.status, entry.ended = reply.status, time.time()
        if reply.status != 200:
            error: dict[str, Any] = wire.error(reply, asked, f"req_{asked.n:024d}")
            return reply.status, error
        bill, written = wire.bill(asked, self.cache)
        self.cache.store(written)
        served = reply.served_model or self.script.served.get(asked.model, asked.model)
        data, output = wire.answer(
            asked, reply, reply.content(asked, self.script.pick), bill, served
        )
        entry.served_model, entry.sent = served, True
        entry.input, entry.cache_read = bill.fresh, bill.read
        entry.cache_write, entry.output = bill.write_5m + bill.write_1h, output
        return 200, data

    def _judge(self, asked: RequestInfo) -> Reply:
        refusal: Reply | None = _wire(asked).refuse(asked)
        if refusal is not None:
            return refusal
        if self.models is not None and asked.model not in self.models:
            return Reply(status=404, error_message=f"model: {asked.model}")
        reply = self._answerer(asked) if self._answerer is not None else None
        return reply if reply is not None else self.script(asked)

    async def _send(
        self,
        request: web.Request,
        asked: RequestInfo,
        entry: Entry,
        reply: Reply,
        bill: Bill,
        written: list[str],
    ) -> web.StreamResponse:
        wire = _wire(asked)
        entry.status = reply.status
        request_id = f"req_{asked.n:024d}"
        headers = {
            wire.REQUEST_ID: request_id,
            **wire.headers(_LIMIT, max(0, _LIMIT - asked.n)),
            **reply.headers,
        }
        if reply.retry_after is not None:
            headers["retry-after"] = str(reply.retry_after)
        if reply.cut == "before":
            return self._hang_up(request, web.Response())
        if reply.raw is not None:
            body, output = reply.raw, 0
        elif reply.status != 200:
            body, output = json.dumps(wire.error(reply, asked, request_id)), 0
        else:
            served = reply.served_model or self.script.served.get(asked.model, asked.model)
            entry.served_model = served
            text = reply.content(asked, self.script.pick)
            data, output = wire.answer(asked, reply, text, bill, served)
            self.cache.store(written)
            entry.input, entry.cache_read = bill.fresh, bill.read
            entry.cache_write, entry.output = bill.write_5m + bill.write_1h, output
            if asked.stream:
                return await self._stream(request, asked, entry, data, headers, cut=reply.cut)
            body = json.dumps(data)
            body = body[: len(body) // 2] if reply.half else body
        raw = body.encode("latin-1" if reply.headers.get("content-encoding") else "utf-8")
        response = web.StreamResponse(status=reply.status, headers=headers)
        response.content_type = reply.content_type
        response.content_length = len(raw)
        await response.prepare(request)
        if reply.cut == "body":
            await response.write(raw[: len(raw) // 2])
            return self._hang_up(request, response)
        return await self._finish(request, response, entry, [raw])

    async def _stream(
        self,
        request: web.Request,
        asked: RequestInfo,
        entry: Entry,
        data: dict[str, Any],
        headers: dict[str, str],
        *,
        cut: str | None,
    ) -> web.StreamResponse:
        if asked.api == "anthropic":
            events = list(anthropic_wire.stream(data))
        else:
            options = asked.body.get("stream_options") or {}
            with_usage = bool(options.get("include_usage"))
            events = list(openai_wire.stream(data, with_usage=with_usage))
        response = web.StreamResponse(headers=headers)
        response.content_type = "text/event-stream"
        await response.prepare(request)
        if cut == "body":
            for event in events[: len(events) // 2]:
                await response.write(event)
            return self._hang_up(request, response)
        return await self._finish(request, response, entry, events)

    async def _finish(
        self, request: web.Request, response: web.StreamResponse, entry: Entry, parts: list[bytes]
    ) -> web.StreamResponse:
        for part in parts:
            await response.write(part)
        await response.write_eof()
        transport = request.transport
        entry.sent = transport is not None and not transport.is_closing()
        return response

    def _hang_up(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return response

    async def _list_models(self, request: web.Request) -> web.Response:
        names = self.models or _MODELS
        if "anthropic-version" in request.headers:
            data = [
                {
                    "type": "model",
                    "id": name,
                    "display_name": name,
                    "created_at": "2026-10-07T00:00:00Z",
                }
                for name in names
            ]
            page = {"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]}
            return web.json_response(page)
        listed = [{"id": n, "object": "model", "created": 1, "owned_by": "loopback"} for n in names]
        return web.json_response({"object": "list", "data": listed})

    async def _show_log(self, request: web.Request) -> web.Response:
        return web.json_response(self.log.summary())

    async def _take_script(self, request: web.Request) -> web.Response:
        try:
            self.set_script(await request.json())
        except (TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"ok": True})

    async def _reset(self, request: web.Request) -> web.Response:
        self.log = Log()
        self.cache.clear()
        self._seen.clear()
        return web.json_response({"ok": True})


def _wire(asked: RequestInfo) -> Any:
    return anthropic_wire if asked.api == "anthropic" else openai_wire
