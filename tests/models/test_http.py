"""The transport under both SDKs."""

from __future__ import annotations

from types import ModuleType

import httpx
import httpx2
import pytest

from consensus.models._http import aiohttp_client
from tests.loopback import LoopbackProvider, Reply

pytest_plugins = ("tests.loopback.fixtures",)
BODY = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "?"}]}
HEADERS = {"authorization": "Bearer k"}


@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
class TestBothModules:
    async def test_an_answer_comes_back_whole(
        self, module: ModuleType, loopback: LoopbackProvider
    ) -> None:
        async with aiohttp_client(module, concurrency=2) as client:
            url = f"{loopback.openai_url}/chat/completions"
            answer = await client.post(url, json=BODY, headers=HEADERS)
        assert answer.status_code == 200
        assert answer.json()["model"] == "gpt-5.4"
        assert answer.headers["x-request-id"]

    async def test_a_cut_connection_is_a_network_error(
        self, module: ModuleType, loopback: LoopbackProvider
    ) -> None:
        loopback.set_script(lambda _: Reply(cut="body"))
        async with aiohttp_client(module, concurrency=2) as client:
            url = f"{loopback.openai_url}/chat/completions"
            with pytest.raises(module.NetworkError):
                await client.post(url, json=BODY, headers=HEADERS)

    async def test_the_environments_proxy_is_used(
        self,
        module: ModuleType,
        loopback: LoopbackProvider,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", loopback.url)
        async with aiohttp_client(module, concurrency=2) as client:
            url = "http://provider.invalid/v1/chat/completions"
            answer = await client.post(url, json=BODY, headers=HEADERS)
        assert answer.status_code == 200
        assert len(loopback.requests) == 1

    async def test_hosts_that_need_no_proxy_are_reached_directly(
        self,
        module: ModuleType,
        loopback: LoopbackProvider,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with aiohttp_client(module, concurrency=2) as client:
            url = f"{loopback.openai_url}/chat/completions"
            answer = await client.post(url, json=BODY, headers=HEADERS)
        assert answer.status_code == 200

    async def test_compressed_answers_are_read(
        self, module: ModuleType, loopback: LoopbackProvider
    ) -> None:
        import gzip

        raw = gzip.compress(b'{"a": 1}').decode("latin-1")
        loopback.set_script(
            lambda _: Reply(raw=raw, headers={"content-encoding": "gzip"}, content_type="text/json")
        )
        async with aiohttp_client(module, concurrency=2) as client:
            url = f"{loopback.openai_url}/chat/completions"
            answer = await client.post(url, json=BODY, headers=HEADERS)
        assert answer.json() == {"a": 1}
