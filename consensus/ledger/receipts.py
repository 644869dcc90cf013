"""A receipt: one decision's full record, enough to conclude it again from nothing else.

What a conclusion needs goes in (the task's options, the resolved strategy, every ballot and every
failure, what was measured), beside the decision that was drawn from it. Replay concludes again and
compares bytes.
"""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consensus.ballots import Ballot, Failure
from consensus.decisions import Decision, Frontier
from consensus.errors import DataError
from consensus.models._memo import ByIdentity
from consensus.orchestrators.checks import Check, Judgement
from consensus.tasks import Task, describe, parse_task

__all__ = [
    "RECEIPT_VERSION",
    "Conclude",
    "Receipt",
    "ReceiptHop",
    "Replay",
    "plain_bytes",
    "replay",
    "task_sha256",
]

RECEIPT_VERSION = 1
"""Of the receipt's own layout; a reader refuses a newer one."""

MAX_RECEIPT_BYTES = 256_000_000
"""The most a packed receipt may unfold to: a ledger from a stranger cannot fill the memory."""

PACK_ABOVE = 32_768
"""Bytes. Deflating a usual receipt of 10 kB would cost more than all else that keeping it does."""

_TEXT_FIELDS = ("subject", "criteria", "a", "b")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ReceiptHop(_Frozen):
    """One hop as it was run.

    ``strategy`` is the resolved strategy as plain JSON, so that a receipt stays readable whatever
    the strategies of a later version look like. ``seats`` is how many were configured.
    """

    name: str
    strategy: dict[str, Any]
    seats: int = Field(ge=1)
    ballots: tuple[Ballot, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    judgements: tuple[Judgement, ...] = ()


class RanStrategy(Protocol):
    """A resolved strategy that knows how many seats it configures."""

    @property
    def seats(self) -> int:
        """Configured seats."""
        ...

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Itself as plain JSON."""
        ...


class RanHop(Protocol):
    """A hop as the engine holds it after it was run."""

    @property
    def name(self) -> str:
        """The hop's name."""
        ...

    @property
    def spec(self) -> RanStrategy:
        """Its resolved strategy."""
        ...

    @property
    def ballots(self) -> tuple[Ballot, ...]:
        """What came back."""
        ...

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What did not."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth telling of how it was run."""
        ...

    @property
    def checks(self) -> tuple[Check, ...]:
        """What had to be met before it acted."""
        ...

    @property
    def judgements(self) -> tuple[Judgement, ...]:
        """What oracles said."""
        ...


class Receipt(_Frozen):
    """One decision's record.

    Attributes:
        receipt_id: also the decision's id, under which its calls are kept.
        created_at: seconds since 1970, UTC.
        task: the task as its constructor takes it (by alias); without text where ``text_stored``
            is false: each judged text is then its SHA-256, and options, items and scale remain.
        task_sha256: of the whole task, text included.
        route: the hops that were run and why the policy table chose them; plain JSON.
        hops: what was asked, in order, and what came back.
        frontier: what the frontier model said beside the decision.
        measured: what else a conclusion takes as given: ``latency_s``, and what the engine adds.
        prices_sha256, prompts_sha256: of the price map and of the prompts that were in force.
        job_id, task_index: of a decision that is one row of a file.
    """

    version: int = RECEIPT_VERSION
    receipt_id: str = Field(min_length=1, max_length=128)
    created_at: float
    engine_version: str
    policy_version: str
    prices_sha256: str = ""
    prompts_sha256: str = ""
    task: dict[str, Any]
    task_sha256: str
    text_stored: bool = True
    route: dict[str, Any] = {}
    hops: tuple[ReceiptHop, ...] = ()
    frontier: Frontier | None = None
    measured: dict[str, Any] = {}
    decision: Decision
    job_id: str | None = None
    task_index: int | None = None

    @classmethod
    def make(
        cls,
        *,
        task: Task,
        hops: Sequence[RanHop | ReceiptHop],
        decision: Decision,
        route_reasons: Sequence[str] = (),
        measured: Mapping[str, Any] | None = None,
        prices_sha256: str = "",
        prompts_sha256: str = "",
        job_id: str | None = None,
        task_index: int | None = None,
        created_at: float | None = None,
    ) -> Receipt:
        """The receipt of a decision that was just drawn; its id is ``decision.receipt_id``."""
        from consensus._version import __version__

        if decision.receipt_id is None:
            raise ValueError("a decision without a receipt_id has no receipt")
        asked = task.model_dump(mode="json", by_alias=True)
        return cls(
            receipt_id=decision.receipt_id,
            created_at=time.time() if created_at is None else created_at,
            engine_version=__version__,
            policy_version=decision.policy_version,
            prices_sha256=prices_sha256,
            prompts_sha256=prompts_sha256,
            task=asked,
            task_sha256=_question_sha256(asked),
            route={"hops": list(decision.route), "reasons": list(route_reasons)},
            hops=tuple(hop if isinstance(hop, ReceiptHop) else _as_run(hop) for hop in hops),
            frontier=decision.frontier,
            measured={"latency_s": decision.latency_s, **(measured or {})},
            decision=decision,
            job_id=job_id,
            task_index=task_index,
        )

    def question(self) -> Task:
        """The task; where no text was kept, with hashes in the place of texts."""
        return parse_task(self.task, where=f"receipt {self.receipt_id}")

    def without_text(self) -> Receipt:
        """This receipt without judged text and without the seats' rationales.

        What is decided between (options, items, the answers themselves) stays: nothing could be
        concluded without it. A text's SHA-256 stands in its place, so that equal texts can be told.
        """
        if not self.text_stored:
            return self
        return self.model_copy(
            update={
                "task": _hashed(self.task),
                "text_stored": False,
                "hops": tuple(
                    hop.model_copy(update={"ballots": _terse(hop.ballots)}) for hop in self.hops
                ),
                "decision": self.decision.model_copy(
                    update={"ballots": _terse(self.decision.ballots)}
                ),
            }
        )

    def to_bytes(self) -> bytes:
        """The receipt as compact JSON: fields in their declared order, mappings in their own.

        Ballots and failures are written once, under ``hops``; the decision's own are left out
        where they are the hops' in order, and put back by :meth:`from_bytes`.
        """
        from pydantic_core import PydanticSerializationError

        exclude = {"decision": {"ballots", "failures"}} if self._spread() else None
        serializer = self.__pydantic_serializer__
        try:
            return bytes(serializer.to_json(self, exclude=exclude))
        except PydanticSerializationError as error:
            if not isinstance(error.__cause__, UnicodeEncodeError) and "utf-8" not in str(error):
                raise
        # A lone surrogate is not text and has no bytes: it becomes a question mark.
        text = json.dumps(self.model_dump(exclude=exclude), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8", "replace")

    @staticmethod
    def from_bytes(data: bytes, *, where: str | None = None) -> Receipt:
        """Read what :meth:`to_bytes` (or :meth:`pack`) wrote.

        Raises:
            DataError: it is no receipt, or one of a newer version.
        """
        try:
            raw = json.loads(plain_bytes(data, where=where))
        except (ValueError, RecursionError):
            raise DataError("is not a receipt: no JSON in it", where=where) from None
        if not isinstance(raw, dict) or not isinstance(raw.get("decision"), dict):
            raise DataError("is not a receipt: no decision in it", where=where)
        if isinstance(version := raw.get("version"), int) and version > RECEIPT_VERSION:
            raise DataError(
                f"is a receipt of version {version}; this program knows {RECEIPT_VERSION}",
                where=where,
                fix="upgrade consensus-engine",
            )
        try:
            _restore(raw)
            return Receipt.model_validate(raw)
        except (AttributeError, KeyError, TypeError):
            raise DataError("is not a receipt: its hops are no hops", where=where) from None
        except ValidationError as error:
            raise DataError(f"is not a receipt: {describe(error)}", where=where) from None

    def pack(self) -> tuple[bytes, str]:
        """The bytes as the ledger stores them, long ones deflated, and the plain ones' SHA-256."""
        plain = self.to_bytes()
        stored = zlib.compress(plain, 1) if len(plain) > PACK_ABOVE else plain
        return stored, hashlib.sha256(plain).hexdigest()

    @property
    def sha256(self) -> str:
        """Of :meth:`to_bytes`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def _spread(self) -> bool:
        """Whether the decision's ballots and failures are just those of the hops, in order."""
        decision = self.decision
        return decision.ballots == tuple(
            ballot for hop in self.hops for ballot in hop.ballots
        ) and decision.failures == tuple(failure for hop in self.hops for failure in hop.failures)


Conclude = Callable[[Receipt], Decision]
"""What draws a decision from a receipt without looking at the decision stored in it."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A decision drawn again.

    ``differences`` are the JSON paths at which the bytes differ from the stored decision's; empty
    where it is ``identical``.
    """

    decision: Decision
    identical: bool
    differences: tuple[str, ...]


def replay(receipt: Receipt, conclude: Conclude) -> Replay:
    """Conclude again from the receipt alone, and compare byte for byte."""
    decision = conclude(receipt)
    stored, again = receipt.decision.canonical_json(), decision.canonical_json()
    if stored == again:
        return Replay(decision, True, ())
    return Replay(decision, False, tuple(_differences(json.loads(stored), json.loads(again))))


def task_sha256(task: Task) -> str:
    """Of the whole task, its caller's id left out: equal questions have equal hashes."""
    return _question_sha256(task.model_dump(mode="json", by_alias=True))


def _question_sha256(asked: Mapping[str, Any]) -> str:
    question = {name: value for name, value in asked.items() if name != "id"}
    text = json.dumps(question, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _spelt(spec: RanStrategy) -> dict[str, Any]:
    return spec.model_dump(mode="json")


_SPELT: Final = ByIdentity(_spelt)
"""A row's specification is the same for every decision of it."""


def _as_run(hop: RanHop) -> ReceiptHop:
    return ReceiptHop(
        name=hop.name,
        strategy=_SPELT[hop.spec],
        seats=hop.spec.seats,
        ballots=hop.ballots,
        failures=hop.failures,
        notes=hop.notes,
        checks=hop.checks,
        judgements=hop.judgements,
    )


def plain_bytes(data: bytes, *, where: str | None = None) -> bytes:
    """What :meth:`Receipt.pack` packed, as :meth:`Receipt.to_bytes` gave it.

    Raises:
        DataError: it is damaged, or unfolds to more than ``MAX_RECEIPT_BYTES``.
    """
    if data[:1] == b"{":
        return data
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(data, MAX_RECEIPT_BYTES)
    except zlib.error:
        raise DataError("is not a receipt: it cannot be unpacked", where=where) from None
    if unpacker.unconsumed_tail:
        raise DataError(
            f"is not a receipt: it unfolds to more than {MAX_RECEIPT_BYTES:,} bytes", where=where
        )
    return plain


def sha256_label(text: str) -> str:
    """What stands in the place of a text that is not kept."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _hashed(task: Mapping[str, Any]) -> dict[str, Any]:
    hashed = dict(task)
    for name in _TEXT_FIELDS:
        if hashed.get(name):
            hashed[name] = sha256_label(hashed[name])
    if "messages" in hashed:
        hashed["messages"] = [
            {**message, "content": sha256_label(message["content"])}
            for message in hashed["messages"]
        ]
    return hashed


def _terse(ballots: Sequence[Ballot]) -> tuple[Ballot, ...]:
    return tuple(ballot.model_copy(update={"rationale": ""}) for ballot in ballots)


def _restore(raw: dict[str, Any]) -> None:
    """Put back what was written once only, and tuples of options, which JSON does not have."""
    decision, hops = raw["decision"], raw.get("hops", [])
    if "ballots" not in decision:
        for name in ("ballots", "failures"):
            decision[name] = [dict(item) for hop in hops for item in hop[name]]
    if raw["task"].get("kind") == "generate":
        return
    holders = [decision, *hops]
    answers = [ballot for holder in holders for ballot in holder.get("ballots", ())]
    for ballot in answers:
        if isinstance(ballot.get("answer"), list):
            ballot["answer"] = tuple(ballot["answer"])
    for said in (raw["decision"], raw["decision"].get("frontier"), raw.get("frontier")):
        if isinstance(said, dict) and isinstance(said.get("outcome"), list):
            said["outcome"] = tuple(said["outcome"])


def _differences(a: Any, b: Any, path: str = "") -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            inner = f"{path}.{key}" if path else str(key)
            if key not in a or key not in b:
                yield inner
            else:
                yield from _differences(a[key], b[key], inner)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from _differences(left, right, f"{path}[{i}]")
    elif a != b or type(a) is not type(b):
        yield path
