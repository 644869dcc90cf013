"""A real browser driven over its own debugging protocol: click, type, measure, picture."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

KEYS = {"Escape": 27, "Tab": 9, "Enter": 13}


class Browser:
    """One tab. ``console`` is what the page logged or was refused; ``asked`` every address."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.session: str | None = None
        self.console: list[str] = []
        self.asked: list[str] = []

    async def listen(self) -> None:
        async for message in self._socket:
            data = json.loads(message.data)
            waiting = self._answers.pop(data.get("id", -1), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(data)
            self._event(data.get("method"), data.get("params", {}))

    def _event(self, name: str | None, params: dict[str, Any]) -> None:
        if name == "Page.lifecycleEvent" and params["name"] == "load":
            self._loaded[params["loaderId"]].set()
        elif name == "Runtime.consoleAPICalled":
            self.console.append(str(params["args"]))
        elif name == "Runtime.exceptionThrown":
            self.console.append(str(params["exceptionDetails"]))
        elif name == "Log.entryAdded":
            self.console.append(params["entry"]["text"])
        elif name == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        self._answers[number] = asyncio.get_running_loop().create_future()
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        await self._socket.send_json(message)
        answer = await asyncio.wait_for(self._answers[number], 60)
        assert "error" not in answer, answer["error"]
        result: dict[str, Any] = answer["result"]
        return result

    async def size(self, width: int, height: int, *, theme: str = "light") -> None:
        """The window's inner size in CSS pixels, and what the system prefers."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        await self.send(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": theme}],
        )

    async def go(self, address: str) -> None:
        """Open an address and wait until this very document has loaded."""
        loader = (await self.send("Page.navigate", url=address))["loaderId"]
        await asyncio.wait_for(self._loaded[loader].wait(), 60)

    async def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        found = await self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait until an expression is true in the page."""
        for _ in range(200):
            if await self.run(script):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"never true: {script}")

    async def click(self, selector: str) -> None:
        """A real click in the middle of what is seen of an element."""
        where = await self.run(
            f"""(() => {{
              const one = document.querySelector({json.dumps(selector)});
              one.scrollIntoView({{block: "center"}});
              const box = one.getClientRects()[0];
              return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.send(
                "Input.dispatchMouseEvent",
                type=kind, x=where[0], y=where[1], button="left", clickCount=1,
            )  # fmt: skip

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            await self.send(
                "Input.dispatchKeyEvent",
                type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key], **text,
            )  # fmt: skip

    async def picture(self, file: Path, *, whole: bool = False) -> None:
        """A PNG of what is seen, or of the whole page."""
        found = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def chromium() -> Iterator[str]:
    """A Chromium of its own, gone at the end; the address of its debugging socket."""
    program = shutil.which("chromium")
    assert program is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
                f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
        )  # fmt: skip
        assert process.stderr is not None
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        try:
            address = _address(process.stderr)
            drain.start()
            yield address
        finally:
            process.kill()
            process.wait()
            if drain.ident is not None:
                drain.join()
            process.stderr.close()


def _address(lines: Iterable[str]) -> str:
    for line in lines:
        text = line.strip()
        if text.startswith("DevTools listening on "):
            return text.removeprefix("DevTools listening on ")
    raise AssertionError("chromium ended before it listened")


@asynccontextmanager
async def browser(address: str) -> AsyncIterator[Browser]:
    """A tab of a Chromium, which shares nothing with any other tab of it."""
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(address, max_msg_size=0) as socket,
    ):
        tab = Browser(socket)
        listening = asyncio.create_task(tab.listen())
        try:
            own = (await tab.send("Target.createBrowserContext"))["browserContextId"]
            made = await tab.send("Target.createTarget", url="about:blank", browserContextId=own)
            attached = await tab.send(
                "Target.attachToTarget", targetId=made["targetId"], flatten=True
            )
            tab.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                await tab.send(f"{domain}.enable")
            await tab.send("Page.setLifecycleEventsEnabled", enabled=True)
            yield tab
            tab.session = None
            await tab.send("Target.disposeBrowserContext", browserContextId=own)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
