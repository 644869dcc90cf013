"""``python -m consensus.server.worker``: one of the processes that a supervisor starts.

Its first line of standard input says what it is; the end of standard input says that the supervisor
is gone.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

from consensus.errors import ConsensusError, DeclarationError
from consensus.server.board import Board
from consensus.server.process import ServeOptions, Worker, log_to_stderr, serve_worker

__all__ = ["DECLARED_WRONGLY", "main"]

DECLARED_WRONGLY = 78
"""Exit status where nothing is gained by starting it again (``EX_CONFIG``)."""


def main() -> int:
    """Serve as one worker, as the first line of standard input says."""
    told = json.loads(_first_line(sys.stdin.fileno()))
    options = ServeOptions.from_json(told["options"])
    listening = socket.socket(fileno=told["listening"])
    board = Board(told["board"], options.workers)
    worker = Worker(told["slot"], board, Path(told["metrics"]))
    log_to_stderr(access=options.access_log, several=True)
    try:
        asyncio.run(serve_worker(options, worker, listening))
    except ConsensusError as error:
        sys.stderr.write(f"consensus: worker {told['slot'] + 1}: {error}\n")
        return DECLARED_WRONGLY if isinstance(error, DeclarationError) else 1
    return 0


def _first_line(fd: int) -> bytes:
    """Not through a buffer, which would keep what comes after it."""
    line = bytearray()
    while not line.endswith(b"\n"):
        if not (byte := os.read(fd, 1)):
            raise SystemExit(1)
        line += byte
    return bytes(line)


if __name__ == "__main__":
    sys.exit(main())
