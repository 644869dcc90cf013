"""The duties of a decision in straight lines, and nothing of an engine: ``least PROVIDER``.

What an engine may not leave out, for this one row and no other: a fenced and hashed request for
each seat, a limit, a reservation, a price, an answer read strictly, a record and a receipt on disk
before they are used, a vote. No retries, fallbacks, breakers, deadlines, repairs, failures,
policies, observers or replays. What it costs over the client underneath says how much of our own
part is duty, and how much is being able to do more than this.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from benchmarks.speed import arm
from benchmarks.speed.shared import AT_ONCE, CRITERIA, MODELS, panel_requests, subject
from consensus.collecting import Collecting
from consensus.ledger.rows import CALL_COLUMNS, DECISION_COLUMNS
from consensus.ledger.store import Ledger
from consensus.models.factory import ClientFactory, ProviderSettings
from consensus.models.ids import new_id
from consensus.models.prices import PriceBook
from consensus.models.protocol import Completion, Part, Request, Turn
from consensus.panel.fencing import Fence, clean

PROVIDER, *REST = sys.argv[1:]
GROUP_S = 0.005
PER_MINUTE = 60_000_000


class Said(NamedTuple):
    """A seat's answer."""

    seat: int
    answer: str
    confidence: float
    rationale: str
    call: str
    pico: int


class Disk:
    """A thread that commits what waits, in groups, and then wakes the event loop once."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._queue: SimpleQueue[tuple[str, tuple[Any, ...], asyncio.Future[None]] | None]
        self._queue = SimpleQueue()
        self._loop = loop
        self._path = path
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def kept(self, table: str, row: tuple[Any, ...]) -> asyncio.Future[None]:
        """Done once the row is on disk."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((table, row, future))
        return future

    def close(self) -> None:
        """Write what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        database = sqlite3.connect(self._path, isolation_level=None)
        database.execute("PRAGMA synchronous = NORMAL")
        last = 0.0
        while (entry := self._queue.get()) is not None:
            time.sleep(max(0.0, last + GROUP_S - time.monotonic()))
            group = [entry]
            while entry is not None:
                try:
                    entry = self._queue.get_nowait()
                except Empty:
                    break
                if entry is None:
                    self._queue.put(None)  # the end is for the loop outside
                else:
                    group.append(entry)
            last = time.monotonic()
            database.execute("BEGIN IMMEDIATE")
            for table, columns in (("calls", CALL_COLUMNS), ("decisions", DECISION_COLUMNS)):
                rows = [row for name, row, _ in group if name == table]
                if rows:
                    places = f"({','.join('?' * len(columns))})"
                    head = f"INSERT INTO {table} ({','.join(columns)}) VALUES "  # noqa: S608 - names
                    many = head + ",".join([places] * len(rows))
                    database.execute(many, [value for row in rows for value in row])
            database.execute("COMMIT")
            self._loop.call_soon_threadsafe(_wake, [future for _, _, future in group])
        database.close()


def _wake(futures: Sequence[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


class Least:
    """Decides one kind of case."""

    def __init__(self, client: Any, seats: Sequence[Request], disk: Disk) -> None:
        self._client = client
        self._seats = seats
        self._disk = disk
        self._price = PriceBook().price(seats[0].model)
        self._sent: deque[float] = deque()
        self._reserved = 0

    async def decide(self, case: int) -> str:
        """Ask ten seats at once, and count."""
        name, text, began = new_id(), clean(subject(case)), time.time()
        fence = Fence([text, CRITERIA])
        shared = Part(f"{CRITERIA}\n\n{fence.wrap('subject', text)}", cache=True)
        begun = sha256(f"{self._seats[0].model}{self._seats[0].system}{shared.text}".encode())
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(self._ask(name, seat, request, shared, begun))
                for seat, request in enumerate(self._seats)
            ]
        said = [task.result() for task in running]
        outcome = arm.majority(one.answer for one in said)
        votes = Counter(one.answer for one in said)
        receipt = json.dumps(
            {
                "task": {"subject": text, "criteria": CRITERIA},
                "ballots": [one._asdict() for one in said],
                "votes": votes,
                "outcome": outcome,
            }
        ).encode()
        pico, share = sum(one.pico for one in said), votes[outcome] / len(said)
        row: tuple[Any, ...] = (name, None, None, None, "refund_approval", "approve", "act")
        row += (json.dumps(outcome), share, share, len(said), 0, 1, False, pico, None, None)
        row += (time.time() - began, "", "vote", "[]", began, int(began // 86_400), True)
        await self._disk.kept("decisions", (*row, sha256(receipt).hexdigest(), receipt))
        return outcome

    async def _ask(self, decision: str, seat: int, like: Request, shared: Part, begun: Any) -> Said:
        request = replace_turn(like, shared)
        whole = begun.copy()
        whole.update(request.turns[0].parts[1].text.encode())
        key = whole.hexdigest()
        now = time.monotonic()
        while self._sent and self._sent[0] < now - 60:
            self._sent.popleft()
        if len(self._sent) >= PER_MINUTE:
            raise RuntimeError("no place is free")
        self._sent.append(now)
        reserved = request.max_output_tokens + len(shared.text)
        self._reserved += reserved
        call, began = new_id(), time.time()
        completion: Completion = await self._client.complete(request, timeout_s=120)
        took = time.time() - began
        self._reserved -= reserved
        usage = completion.usage
        pico = self._price.cost_pico(usage)
        row: tuple[Any, ...] = (decision, call, None, seat, "ballot", 1, request.model)
        row += (completion.served_model, usage.input, usage.cache_read, usage.cache_write)
        row += (usage.cache_write_1h, usage.output, usage.reasoning, pico, "served", took, None)
        row += (None, completion.request_id, key, "refund_approval", False, began)
        text = json.dumps({"text": completion.text, "finish": completion.finish})
        await self._disk.kept("calls", (*row, int(began // 86_400), text))
        found = json.loads(completion.text)
        answer, confidence = found["answer"], found["confidence"]
        if answer not in {"approve", "reject"} or not 0 <= confidence <= 100:
            raise RuntimeError("an answer that cannot be read")
        return Said(seat, answer, confidence, found["rationale"], call, pico)


def replace_turn(like: Request, shared: Part) -> Request:
    """A seat's request for another case."""
    tail = like.turns[0].parts[-1]
    return replace(like, turns=(Turn("user", (shared, tail)),))


@asynccontextmanager
async def opened() -> AsyncIterator[arm.Decide]:
    settings = {PROVIDER: ProviderSettings(concurrency=AT_ONCE)}
    factory = ClientFactory(settings, PriceBook())
    model = f"{PROVIDER}/{MODELS[PROVIDER]}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        Ledger(path).open().close()
        disk = Disk(path, asyncio.get_running_loop())
        least = Least(factory.client(model), await panel_requests(model), disk)
        if "dedicated" in REST:
            await least.decide(-1)
            Collecting().arrange()
        yield least.decide
        disk.close()
        await factory.aclose()


arm.serve(opened)
