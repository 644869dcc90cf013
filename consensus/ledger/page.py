"""One receipt, for people and as JSON.

Judged text and models' answers come from outside: nothing of them reaches the terminal but visible
characters, so no subject can move the cursor, change a colour or write over a verdict.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from consensus.ballots import PICO, Ballot, Failure
from consensus.ledger.receipts import Receipt
from consensus.models.protocol import CallRecord

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "add_row",
    "answer_text",
    "clean",
    "receipt_json",
    "safe_json",
    "show_receipt",
    "table_of",
    "task_lines",
    "when",
]

_SHORT = 120
_UNSAFE = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
"""What JSON leaves as it is and a terminal may act on: C1 controls, direction marks, surrogates."""


def clean(text: str) -> str:
    """The text on one line, everything that is not a visible character written as an escape."""
    return "".join(
        character if character.isprintable() else _escape(character) for character in text
    )


def safe_json(data: Any) -> str:
    """Indented JSON that a terminal shows as it is; any JSON reader reads the same text back."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, indent=2)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def when(seconds: float) -> str:
    """Seconds since 1970 as a date and a time, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def receipt_json(receipt: Receipt, calls: Sequence[CallRecord]) -> dict[str, Any]:
    """The receipt and its calls as one document; money in dollars beside the exact number."""
    return {
        **receipt.model_dump(mode="json"),
        "sha256": receipt.sha256,
        "calls": [_call_json(call) for call in calls],
    }


def show_receipt(receipt: Receipt, calls: Sequence[CallRecord], console: Console) -> None:
    """Print a page: the decision, why, by whom, and what was paid."""
    decision = receipt.decision
    facts = [f"{decision.action.upper()}  {answer_text(decision.outcome)}".rstrip()]
    if decision.probability is not None:
        facts.append(
            f"P = {decision.probability:.3f}{'' if decision.calibrated else ' (uncalibrated)'}"
        )
    facts.append(f"agreement {decision.agreement:.0%}")
    if decision.tied:
        facts.append(f"tied: {clean(', '.join(decision.tied))}")
    if decision.partial:
        facts.append("cut short by a budget or a deadline")
    _lines(console, "", [" · ".join(facts)], style="bold")
    _lines(
        console,
        f"receipt {receipt.receipt_id}",
        [
            f"{when(receipt.created_at)} UTC · type {decision.task_type} · kind {decision.kind}"
            + (f" · id {clean(decision.task_id)}" if decision.task_id else ""),
            (
                f"policy {receipt.policy_version} · prices {receipt.prices_sha256[:12] or '–'} · "
                f"prompts {receipt.prompts_sha256[:12] or '–'} · engine {receipt.engine_version}"
            ),
        ],
    )
    _lines(
        console, "task" if receipt.text_stored else "task (text not kept)", task_lines(receipt.task)
    )
    _lines(console, "why", [f"- {clean(reason)}" for reason in decision.reasons])
    for hop in receipt.hops:
        title = f"{clean(hop.name)}: {len(hop.ballots)} ballots of {hop.seats} configured seats"
        _lines(console, title, [])
        console.print(_ballots([*hop.ballots, *hop.failures]))
        for ballot in hop.ballots:
            if ballot.rationale:
                _lines(console, "", [f"seat {ballot.seat}: {clean(ballot.rationale)}"], style="dim")
    if (frontier := receipt.frontier) is not None:
        said = frontier.failure if frontier.outcome is None else answer_text(frontier.outcome)
        agrees = {True: "agrees", False: "disagrees", None: "not comparable"}[frontier.agrees]
        spent = f"{_usd(frontier.cost.pico_usd)} · {frontier.latency_s:.2f} s"
        _lines(
            console,
            f"frontier {clean(frontier.model)}",
            [f"{said} ({agrees}; served by {clean(frontier.served_model or '–')}) · {spent}"],
        )
    _lines(console, "calls" if calls else "calls: none kept", [])
    if calls:
        console.print(_calls(calls))
    usage = decision.usage
    _lines(
        console,
        "total",
        [
            (
                f"{_usd(decision.cost.pico_usd)} · {usage.total_input:,} tokens in "
                f"({usage.cache_read:,} from a cache) · {usage.output:,} out · "
                f"{decision.latency_s:.2f} s"
            )
        ],
    )


def table_of(*names: str) -> Table:
    """A table without lines; a heading that begins with ``>`` is of numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in names:
        right = name.startswith(">")
        table.add_column(
            name.removeprefix(">"), justify="right" if right else "left", overflow="fold"
        )
    return table


def add_row(table: Table, *cells: str, style: str = "") -> None:
    """A row of cells that are shown as they are: no markup, no emoji, no escapes."""
    from rich.text import Text

    table.add_row(*(Text(clean(cell)) for cell in cells), style=style)


def _ballots(seats: Sequence[Ballot | Failure]) -> Table:
    table = table_of(
        "seat", "framing", "model", "served by", "answer", ">conf.", ">in", ">out", ">usd", ">s"
    )
    for seat in sorted(seats, key=lambda seat: seat.seat):
        if isinstance(seat, Failure):
            answer, confidence = f"failed: {seat.failure}", ""
        else:
            answer = answer_text(seat.answer)
            confidence = "" if seat.confidence is None else f"{seat.confidence:.2f}"
        add_row(
            table,
            str(seat.seat),
            seat.framing,
            seat.model,
            seat.served_model or "–",
            answer,
            confidence,
            f"{seat.usage.total_input:,}",
            f"{seat.usage.output:,}",
            f"{seat.cost.usd:.6f}",
            f"{seat.latency_s:.2f}",
        )
    return table


def _calls(calls: Sequence[CallRecord]) -> Table:
    table = table_of(
        "call", "seat", "for", ">try", "asked", "served by", "ended", ">in", ">cached", ">out",
        ">usd", ">s",
    )  # fmt: skip
    for call in calls:
        status = "" if call.status is None else f" {call.status}"
        ended = f"{call.failure}{status}" if call.failure else f"answered{status}"
        add_row(
            table,
            call.call_id,
            "–" if call.purpose == "frontier" else str(call.seat),
            call.purpose,
            str(call.attempt),
            call.requested_model,
            call.served_model or "–",
            f"{ended} (replayed)" if call.replayed else ended,
            f"{call.usage.total_input:,}",
            f"{call.usage.cache_read:,}",
            f"{call.usage.output:,}",
            f"{call.cost_pico / PICO:.6f}",
            f"{call.latency_s:.2f}",
        )
    return table


def task_lines(task: dict[str, Any]) -> list[str]:
    """A receipt's task as lines that are safe to show."""
    lines: list[str] = []
    for name, value in task.items():
        if name in {"type", "kind", "id"} or value in (None, "", []):
            continue
        if name == "messages":
            lines += [f"{turn['role']}: {clean(turn['content'])}" for turn in value]
        elif name in {"options", "items"}:
            lines += [f"{name}:", *(f"  {clean(str(one))}" for one in value)]
        elif isinstance(value, str):
            first, *rest = value.split("\n")
            lines += [f"{name}: {clean(first)}", *(f"  {clean(line)}" for line in rest)]
        else:
            lines.append(f"{name}: {clean(json.dumps(value, ensure_ascii=False))}")
    return lines


def _lines(console: Console, title: str, lines: Sequence[str], *, style: str = "") -> None:
    from rich.text import Text

    if title:
        console.print()
        console.print(Text(title, style="bold"))
    for line in lines:
        console.print(Text(f"  {line}" if title else line, style=style))


def answer_text(answer: Any, *, most: int = _SHORT) -> str:
    """An answer on one line that is safe to show, of ``most`` characters at the most."""
    if answer is None:
        return ""
    if isinstance(answer, tuple | list) and all(isinstance(item, str) for item in answer):
        answer = " > ".join(answer)
    text = clean(answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _usd(pico: int) -> str:
    return f"${pico / PICO:.6f} ({pico:,} pico-dollars)"


def _call_json(call: CallRecord) -> dict[str, Any]:
    completion = call.completion
    return {
        "call_id": call.call_id,
        "seat": call.seat,
        "purpose": call.purpose,
        "attempt": call.attempt,
        "requested_model": call.requested_model,
        "served_model": call.served_model,
        "usage": call.usage.model_dump(),
        "cost": {"usd": call.cost_pico / PICO, "pico_usd": call.cost_pico},
        "price_basis": call.price_basis,
        "started_at": call.started_at,
        "latency_s": call.latency_s,
        "failure": call.failure,
        "status": call.status,
        "request_id": call.request_id,
        "replayed": call.replayed,
        "key": call.key,
        "text": None if completion is None else completion.text,
        "finish": None if completion is None else completion.finish,
    }


def _escape(character: str) -> str:
    if character in "\t\n\r":
        return " "
    code = ord(character)
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )
