"""The openai client and curl as they are: what each sees of errors, and what a hang-up leaves."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import openai
import pytest

from consensus.models.protocol import Request
from tests.server.serving import Served, serving, until

USER: Any = {"role": "user", "content": "Unused, 12 days old."}
CHAT = {"model": "refund", "messages": [USER]}
JSON = ("-H", "content-type: application/json")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


class Held:
    """A model that answers nobody, and knows how many wait for it."""

    def __init__(self) -> None:
        self.running = 0

    async def __call__(self, request: Request) -> str:
        self.running += 1
        try:
            await asyncio.sleep(600)
        finally:
            self.running -= 1
        return "approve"


async def started(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "curl", "-sS", "--max-time", "60", *arguments, stdout=asyncio.subprocess.PIPE
    )


async def curl(*arguments: str) -> tuple[int, str]:
    """The status and the body."""
    process = await started("-w", "\n%{http_code}", *arguments)
    said, _ = await process.communicate()
    body, _, status = said.decode().rpartition("\n")
    return int(status), body


def key(served: Served, wrong: bool = False) -> tuple[str, ...]:
    token = "ck_00000000_wrong" if wrong else served.key("refund")
    return "-H", f"authorization: Bearer {token}"


@needs_curl
@pytest.mark.parametrize("path", ["/v1/decide", "/v1/chat/completions"])
@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ("wrong key", 401, "invalid_api_key"),
        ("unknown type", 403, "task_type_not_allowed"),
        ("oversized", 413, "too_large"),
        ("malformed", 400, "not_json"),
    ],
)
async def test_curl_is_told_what_is_wrong(
    tmp_path: Path, path: str, change: str, status: int, code: str
) -> None:
    body: dict[str, Any] = {"type": "refund", "subject": "x"} if path == "/v1/decide" else CHAT
    if change == "unknown type":
        body = {**body, "type" if "type" in body else "model": "no_such_type"}
    sent = json.dumps({**body, "padding": "x" * 5000} if change == "oversized" else body)
    async with serving(tmp_path, keys=True, max_body_bytes=2000) as served:
        found = await curl(
            *JSON,
            *key(served, wrong=change == "wrong key"),
            *("-d", sent[:-1] if change == "malformed" else sent),
            f"{served.url}{path}",
        )
        assert served.models.calls == 0
    assert (found[0], json.loads(found[1])["error"]["code"]) == (status, code)


@needs_curl
async def test_curl_streams_a_chat_completion(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        url = f"{served.url}/v1/chat/completions"
        status, body = await curl("-N", *JSON, "-d", json.dumps({**CHAT, "stream": True}), url)
    events = [line.removeprefix("data: ") for line in body.splitlines() if line]
    assert (status, events[-1]) == (200, "[DONE]")
    assert json.loads(events[0])["object"] == "chat.completion.chunk"


@needs_curl
@pytest.mark.parametrize("stream", [True, False])
async def test_when_curl_is_killed_nothing_keeps_running(tmp_path: Path, stream: bool) -> None:
    held = Held()
    async with serving(tmp_path, held, heartbeat_s=0.05) as served:
        body = json.dumps({**CHAT, "stream": stream})
        process = await started("-N", *JSON, "-d", body, f"{served.url}/v1/chat/completions")
        await until(lambda: held.running == 3, 30)
        process.kill()
        await process.communicate()
        await until(lambda: served.service.in_flight == 0, 30)
        assert (held.running, served.service.gate.running) == (0, 0)


@pytest.mark.parametrize("stream", [True, False])
async def test_when_the_openai_client_goes_away_nothing_keeps_running(
    tmp_path: Path, stream: bool
) -> None:
    held = Held()
    async with serving(tmp_path, held, heartbeat_s=0.05) as served:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none") as client:

            async def ask() -> None:
                answer: Any = await client.chat.completions.create(
                    model="refund", messages=[USER], stream=stream
                )
                async for _ in answer:
                    pass

            asking = asyncio.create_task(ask())
            await until(lambda: held.running == 3, 30)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await until(lambda: served.service.in_flight == 0, 30)
        assert (held.running, served.service.gate.running) == (0, 0)


@pytest.mark.parametrize(
    ("options", "raised", "code"),
    [
        ({"messages": [{**USER, "content": "x" * 5000}]}, openai.APIStatusError, "too_large"),
        ({"messages": []}, openai.BadRequestError, "invalid_request"),
        ({"messages": [USER], "n": 3}, openai.BadRequestError, "invalid_request"),
    ],
)
async def test_the_openai_client_raises_its_own_error_for_a_body_that_is_refused(
    tmp_path: Path, options: Any, raised: type[openai.APIStatusError], code: str
) -> None:
    async with (
        serving(tmp_path, max_body_bytes=2000) as served,
        openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none") as client,
    ):
        with pytest.raises(raised) as caught:
            await client.chat.completions.create(model="refund", **options)
    assert caught.value.code == code


def test_the_client_that_is_not_async_streams_too(tmp_path: Path) -> None:
    def ask(url: str) -> list[str]:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
            sent = client.chat.completions.create(model="refund", messages=[USER], stream=True)
            return [part.choices[0].delta.content or "" for part in sent if part.choices]

    async def main() -> list[str]:
        async with serving(tmp_path) as served:
            return await asyncio.to_thread(ask, served.url)

    assert "".join(asyncio.run(main())) in {"approve", "reject"}
