"""``python -m benchmarks.reliability._fault_provider``: everything that a provider can do wrong.

The careful provider of ``tests/loopback`` in a process of its own. Which request meets which fault
follows from its number and the seed. On standard input it is told ``dead API`` and ``alive API``
(every request of that protocol fails), and ``mad MODEL`` and ``sane MODEL`` (its answers fit no
schema). Its log says which fault each request met, and of which case it was.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final

from benchmarks.serving.provider import fault_of, serve
from tests.loopback.asking import RequestInfo
from tests.loopback.replies import Reply

__all__ = ["CASE", "FAULTS", "ONE_ID", "SOUND"]

CASE: Final = re.compile(r"Case ([0-9]+)\.")
"""How every judged text begins."""

ONE_ID: Final = "req_the_same"
"""The request id that many answers share."""

LATENCY_S: Final = 0.02
SPREAD: Final = 0.6

FAULTS: Mapping[str, tuple[float, Reply]] = {
    "429": (0.012, Reply(status=429)),
    "429 with retry-after": (0.006, Reply(status=429, retry_after=0.05)),
    "429 until a date": (0.001, Reply(status=429, retry_after="a second from now")),
    "500": (0.012, Reply(status=500)),
    "529": (0.012, Reply(status=529)),
    "529 with retry-after": (0.002, Reply(status=529, retry_after=0.05)),
    "no answer in time": (0.004, Reply(latency_s=60.0)),
    "cut before": (0.01, Reply(cut="before")),
    "cut in the middle": (0.01, Reply(cut="body")),
    "half JSON": (0.01, Reply(half=True)),
    "no JSON": (0.005, Reply(raw="<html>busy</html>", content_type="text/html")),
    "wrong schema": (0.012, Reply(text='{"verdict": "yes"}')),
    "off the list": (0.01, Reply(answer="perhaps")),
    "empty": (0.012, Reply(empty=True)),
    "refusal": (0.012, Reply(refusal=True)),
    "another model, known": (0.01, Reply(served_model="claude-haiku-4-5")),
    "another model, unknown": (0.01, Reply(served_model="mystery-9-preview")),
    "negative usage": (0.01, Reply(usage={"output_tokens": -7, "completion_tokens": -7})),
    "no usage": (0.01, Reply(no_usage=True)),
    "senseless usage": (0.006, Reply(usage={"input_tokens": 10**15, "prompt_tokens": 10**15})),
    "usage in words": (0.004, Reply(usage={"input_tokens": "many", "prompt_tokens": "many"})),
    "one id for all": (0.02, Reply()),
}
"""Name → share of all requests, and what is sent."""

SOUND: Final = frozenset(
    {
        "another model, known",
        "another model, unknown",
        "negative usage",
        "no usage",
        "senseless usage",
        "usage in words",
        "one id for all",
    }
)
"""Faults that leave the answer itself good."""

KNOWN: Final = {"anthropic": "claude-haiku-4-5", "openai": "gpt-5.4-mini"}


class Mix:
    """What the provider does, and what each request met."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.met: dict[int, tuple[str | None, int]] = {}
        self.dead: set[str] = set()
        self.mad: set[str] = set()

    def told(self, line: str) -> None:
        """``dead``, ``alive``, ``mad``, ``sane`` and a name."""
        word, name = line.split()
        where = self.dead if word in ("dead", "alive") else self.mad
        if word in ("dead", "mad"):
            where.add(name)
        else:
            where.discard(name)

    def more(self, n: int) -> dict[str, Any]:
        """For the log."""
        fault, case = self.met.get(n, (None, -1))
        return {"fault": fault, "case": case}

    def __call__(self, asked: RequestInfo) -> Reply:
        found = CASE.search(f"{asked.system}\n{asked.prompt}")
        case = int(found[1]) if found else -1
        draw = random.Random(f"{self.seed} {asked.n}")  # noqa: S311 - which fault, how slow
        latency_s = LATENCY_S * math.exp(draw.gauss(0.0, SPREAD))
        name, reply = self._of(asked, case)
        self.met[asked.n] = (name, case)
        if name == "one id for all":
            header = "request-id" if asked.api == "anthropic" else "x-request-id"
            reply = replace(reply, headers={header: ONE_ID})
        if name == "429 until a date":
            reply = replace(reply, retry_after=formatdate(time.time() + 1, usegmt=True))
        if name == "another model, known":
            reply = replace(reply, served_model=KNOWN[asked.api])
        if reply.latency_s is None:
            reply = replace(reply, latency_s=latency_s)
        return reply

    def _of(self, asked: RequestInfo, case: int) -> tuple[str | None, Reply]:
        if asked.api in self.dead:
            return "dead", Reply(status=500) if asked.n % 2 else Reply(cut="before")
        if asked.model in self.mad:
            return "mad", Reply(text='{"verdict": "yes"}')
        name = fault_of(asked.n, self.seed, FAULTS)
        if name is not None and FAULTS[name][1] != Reply():
            reply = FAULTS[name][1]
            return name, _voted(reply, asked, case) if name in SOUND else reply
        return name, _voted(Reply(), asked, case)


def _voted(reply: Reply, asked: RequestInfo, case: int) -> Reply:
    """A good answer: mostly what the case's others say, so that panels both agree and split."""
    if not asked.choices:
        return reply
    draw = random.Random(f"{case} {asked.key}").random()  # noqa: S311 - a vote
    options = sorted(asked.choices)
    first = case % len(options)
    return replace(reply, answer=options[first if draw < 0.85 else first - 1])


def main() -> None:
    """Serve until told ``done``; then write the log and end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability._fault_provider")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, required=True)
    given = parser.parse_args()
    mix = Mix(given.seed)
    asyncio.run(serve(mix, given.log, told=mix.told, more=mix.more))


if __name__ == "__main__":
    main()
