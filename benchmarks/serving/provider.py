"""``python -m benchmarks.serving.provider``: a provider with faults, in a process of its own.

It speaks both protocols (tests/loopback), and keeps its own log of what it was asked and what it
billed. Which request meets which fault follows from its number alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.loopback.asking import RequestInfo
from tests.loopback.replies import Answerer, Reply
from tests.loopback.server import LoopbackProvider

__all__ = ["FAULTS", "TIMEOUT_S", "fault_of", "serve"]

TIMEOUT_S = 5.0
"""How long the policy waits for an answer; what is slow here takes far longer."""

LATENCY_S = 0.02

FAULTS: dict[str, tuple[float, Reply]] = {
    "429": (0.005, Reply(status=429)),
    "429 with retry-after": (0.003, Reply(status=429, retry_after=0.2)),
    "500": (0.01, Reply(status=500)),
    "529": (0.005, Reply(status=529)),
    "no answer in time": (0.001, Reply(latency_s=60.0)),
    "cut before": (0.005, Reply(cut="before")),
    "cut in the middle": (0.005, Reply(cut="body")),
    "half JSON": (0.005, Reply(raw='{"id": "half", "content": [{"type": "te')),
    "refusal": (0.005, Reply(refusal=True)),
}
"""Name → share of all requests, and what is sent."""


def fault_of(n: int, seed: int, faults: Mapping[str, tuple[float, Reply]] = FAULTS) -> str | None:
    """The fault that the n-th request meets; None: it is answered."""
    drawn = int.from_bytes(sha256(f"{seed} {n}".encode()).digest()[:8]) / 2**64
    for name, (share, _) in faults.items():
        drawn -= share
        if drawn < 0:
            return name
    return None


def script(seed: int) -> Answerer:
    """What the provider does."""

    def reply(asked: RequestInfo) -> Reply | None:
        fault = fault_of(asked.n, seed)
        return None if fault is None else FAULTS[fault][1]

    return reply


async def serve(
    answer: Answerer,
    out: Path,
    *,
    latency_s: float = LATENCY_S,
    told: Callable[[str], None] | None = None,
    more: Callable[[int], dict[str, Any]] = lambda _: {},
) -> None:
    """Answer until the line ``done`` or the end of standard input, then write the log.

    Args:
        answer: what it does.
        out: where the log goes, a request a line.
        latency_s: of every answer that does not say otherwise.
        told: hears every other line of standard input; each is answered with a line.
        more: what else the log says of the n-th request.
    """
    async with LoopbackProvider(answer, latency_s=latency_s) as provider:
        # What a client no longer waits for is not worked on.
        assert provider._runner is not None
        assert provider._runner.server is not None
        provider._runner.server.handler_cancellation = True
        _say(provider.url)
        read = asyncio.get_running_loop().run_in_executor
        while (line := (await read(None, sys.stdin.readline)).strip()) not in ("", "done"):
            if told is not None:
                told(line)
            _say(line)
        with out.open("w", encoding="utf-8") as file:
            for entry in provider.requests:
                row = {
                    "n": entry.n,
                    "api": entry.api,
                    "model": entry.served_model or entry.model,
                    "asked": entry.model,
                    "began": entry.started,
                    "ended": entry.ended,
                    "status": entry.status,
                    "billed": entry.paid,
                    "input": entry.input,
                    "cache_read": entry.cache_read,
                    "cache_write": entry.cache_write,
                    "output": entry.output,
                }
                file.write(json.dumps(row | more(entry.n)) + "\n")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until a line comes in on standard input; then write the log and end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.provider")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, required=True)
    given = parser.parse_args()
    asyncio.run(serve(script(given.seed), given.log))


if __name__ == "__main__":
    main()
