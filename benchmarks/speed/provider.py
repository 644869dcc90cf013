"""A provider on loopback that costs next to nothing: ``python -m benchmarks.speed.provider``.

It speaks just enough of Anthropic's messages and OpenAI's chat completions for every client in this
folder, and always says yes: an answer that fits the schema or tool that was sent, with ``approve``
where there is a choice, or the plain word. ``tests/loopback`` is the careful one; this one is lean,
so that a hundred panels at once wait for their client and not for their provider.

``PUT /_delay {"ms": 400, "sigma": 0.5}`` sets how long every answer takes from now on: exactly so
long, or log-normal with that median.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
from typing import Any

MOST_WAITING = 65_536
RATIONALE = (
    "The submission shows a purchase within the period and an unused item, which is what the "
    "criteria demand; nothing in it speaks against them."
)
PAD = {"request": "r" * 180}
_CHOICES = {"choice", "answer"}
"""Properties that hold the yes where their schema leaves the words open (verdict's does)."""
_SHAPING = ("output_config", "output_format", "response_format", "tools")
"""What of a request decides the form of its answer."""


class Delays:
    """How long answers take."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.sigma = 0.0
        # The same waits in every run, so that two runs differ by the clients alone.
        self.draw = random.Random(20261122)  # noqa: S311

    def next(self) -> float:
        if self.sigma:
            return self.seconds * math.exp(self.draw.gauss(0.0, self.sigma))
        return self.seconds


def fitting(schema: Any, defs: dict[str, Any]) -> Any:
    """A value that fits a schema: ``approve`` where it may be said."""
    if "$ref" in schema:
        return fitting(defs[schema["$ref"].rpartition("/")[2]], defs)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return fitting(schema[several][0], defs)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return "approve" if "approve" in schema["enum"] else schema["enum"][0]
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties", {}).items()
        return {
            k: "approve" if k in _CHOICES and v.get("type") == "string" else fitting(v, defs)
            for k, v in properties
        }
    if kind == "array":
        return [fitting(schema["items"], defs)] if schema.get("minItems") else []
    return {"number": 0.9, "integer": 1, "boolean": True, "null": None}.get(kind, RATIONALE)


def sample(schema: dict[str, Any]) -> str:
    """That value as JSON."""
    return json.dumps(fitting(schema, schema.get("$defs", {})))


class Bodies:
    """Answers, made once for each shape of request."""

    def __init__(self) -> None:
        self.made: dict[str, tuple[bytes, bytes]] = {}
        self.served = 0

    def answer(self, path: bytes, body: bytes) -> bytes:
        asked = json.loads(body)
        anthropic = path.endswith(b"/messages")
        wanted = [asked.get(key) for key in _SHAPING]
        shape = f"{anthropic}{asked['model']}{json.dumps(wanted)}"
        found = self.made.get(shape)
        if found is None:
            make = anthropic_message if anthropic else chat_completion
            before, _, after = json.dumps(make(asked)).partition("ID-GOES-HERE")
            found = self.made[shape] = (before.encode(), after.encode())
        self.served += 1
        return b"%s%024d%s" % (found[0], self.served, found[1])


def anthropic_message(asked: dict[str, Any]) -> dict[str, Any]:
    """A message as Anthropic's API sends it."""
    stop = "end_turn"
    block: dict[str, Any] = {"type": "text", "text": "approve"}
    shaped = asked.get("output_format") or (asked.get("output_config") or {}).get("format")
    if shaped:
        block["text"] = sample(shaped["schema"])
    elif asked.get("tools"):
        tool = asked["tools"][0]
        value = json.loads(sample(tool["input_schema"]))
        block = {"type": "tool_use", "id": "toolu_1", "name": tool["name"], "input": value}
        stop = "tool_use"
    return {
        "id": "msg_ID-GOES-HERE",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [block],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 512, "output_tokens": 64, "service_tier": "standard"},
        "metadata": PAD,
    }


def chat_completion(asked: dict[str, Any]) -> dict[str, Any]:
    """A chat completion as OpenAI's API sends it."""
    message: dict[str, Any] = {"role": "assistant", "content": "approve", "refusal": None}
    finish = "stop"
    wanted = asked.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        message["content"] = sample(wanted["json_schema"]["schema"])
    elif asked.get("tools"):
        tool = asked["tools"][0]["function"]
        call = {"name": tool["name"], "arguments": sample(tool["parameters"])}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": call}]
        message["content"], finish = None, "tool_calls"
    usage = {"prompt_tokens": 512, "completion_tokens": 64, "total_tokens": 576}
    return {
        "id": "chatcmpl-ID-GOES-HERE",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": asked["model"],
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": PAD["request"],
    }


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, bodies: Bodies, delays: Delays) -> None:
        self.bodies, self.delays = bodies, delays
        self.waiting = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while True:
            head, gap, rest = self.waiting.partition(b"\r\n\r\n")
            if not gap:
                return
            low = head.lower()
            size = 0
            if (at := low.find(b"content-length:")) >= 0:
                size = int(low[at + 15 :].split(b"\r\n", 1)[0])
            if len(rest) < size:
                return
            self.waiting = rest[size:]
            self.take(head.split(b" ", 2)[:2], rest[:size])

    def take(self, line: list[bytes], body: bytes) -> None:
        method, path = line
        if path == b"/_delay":
            told = json.loads(body)
            self.delays.seconds, self.delays.sigma = told["ms"] / 1000, told.get("sigma", 0.0)
            self.send(b"{}")
        elif method != b"POST":
            self.send(b"{}", status=b"404 Not Found")
        else:
            answer = self.bodies.answer(path, body)
            wait = self.delays.next()
            if wait > 0:
                asyncio.get_running_loop().call_later(wait, self.send, answer)
            else:
                self.send(answer)

    def send(self, body: bytes, status: bytes = b"200 OK") -> None:
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.write(
            b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"request-id: req_%024d\r\nx-request-id: req_%024d\r\n\r\n%s"
            % (status, len(body), self.bodies.served, self.bodies.served, body)
        )


async def serve() -> None:
    """Serve until standard input closes; the port is the first line of standard output."""
    loop = asyncio.get_running_loop()
    bodies, delays = Bodies(), Delays()
    server = await loop.create_server(
        lambda: Connection(bodies, delays), "127.0.0.1", 0, backlog=MOST_WAITING
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
