"""``python -m tests.loopback``: print the URL, then serve until killed."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from pathlib import Path

from tests.loopback.server import LoopbackProvider


async def _serve(provider: LoopbackProvider) -> None:
    async with provider:
        print(provider.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.loopback", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--latency", type=float, help="seconds before every answer")
    parser.add_argument("--answers", choices=("first", "hash"), help="the default answers")
    parser.add_argument("--script", type=Path, help="a JSON file of rules")
    options = parser.parse_args()
    script = json.loads(options.script.read_text()) if options.script else None
    provider = LoopbackProvider(
        script, latency_s=options.latency, answers=options.answers, port=options.port
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(provider))


if __name__ == "__main__":
    main()
