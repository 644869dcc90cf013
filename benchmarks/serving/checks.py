"""What must hold at the end, each checked against the ledger and the provider's own log."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.client import Drive
from benchmarks.serving.fleet import Limits
from consensus.ballots import PICO, Usage
from consensus.errors import PriceError
from consensus.ledger.store import Ledger
from consensus.ledger.verify import verify
from consensus.models.prices import PriceBook

__all__ = ["Kept", "Line", "at_once", "checks", "fullest", "lines_table", "read_kept", "read_log"]


@dataclass(frozen=True, slots=True)
class Line:
    """One promise: what was looked at, how often it was broken, and what was seen."""

    promise: str
    checked: int
    broken: int
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the ledger holds: receipt → pico-dollars; calls; what :func:`verify` found."""

    receipts: dict[str, int]
    calls: list[dict[str, Any]]
    problems: tuple[str, ...]


def lines_table(lines: Iterable[Line]) -> str:
    """As Markdown."""
    head = "| promise | checked | broken | seen |\n|:--|--:|--:|:--|"
    rows = (
        f"| {line.promise} | {line.checked:,} | {line.broken:,} | {line.seen} |" for line in lines
    )
    return "\n".join([head, *rows])


def read_log(place: Path, book: PriceBook | None = None) -> list[dict[str, Any]]:
    """The provider's log, a request each, with what was billed in pico-dollars.

    A model that the price book does not know is billed as the one that was asked for.
    """
    book = book or PriceBook()
    found = [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines()]
    for entry in found:
        usage = Usage(
            input=entry["input"],
            cache_read=entry["cache_read"],
            cache_write=entry["cache_write"],
            output=entry["output"],
        )
        try:
            price = book.price(f"{entry['api']}/{entry['model']}")
        except PriceError:
            price = book.price(f"{entry['api']}/{entry['asked']}")
        entry["pico"] = price.cost_pico(usage) if entry["billed"] else 0
    return found


def read_kept(url: str) -> Kept:
    """The ledger, read and verified."""
    from sqlalchemy import select

    from consensus.ledger.schema import calls as c
    from consensus.ledger.schema import decisions as d

    with Ledger(url, must_exist=True) as ledger:
        checked = verify(ledger)
        costs = select(d.c.receipt_id, d.c.cost_pico)
        receipts = ledger.read(lambda one: {row[0]: int(row[1]) for row in one.execute(costs)})
        names = ("decision_id", "cost_pico", "request_id", "failure", "price_basis")
        query = select(*(c.c[name] for name in names))
        calls = ledger.read(lambda one: [dict(row) for row in one.execute(query).mappings()])
    return Kept(receipts, calls, checked.problems)


def fullest(times: Iterable[float], amounts: Iterable[float], window_s: float) -> float:
    """The most that any stretch of so many seconds holds, ends included at one side."""
    pairs = sorted(zip(times, amounts, strict=True))
    most = held = 0.0
    first = 0
    for at, amount in pairs:
        held += amount
        while pairs[first][0] <= at - window_s:
            held -= pairs[first][1]
            first += 1
        most = max(most, held)
    return most


def at_once(spans: Sequence[tuple[float, float]]) -> int:
    """The most spans that overlap at any moment."""
    begins, ends = sorted(b for b, _ in spans), sorted(e for _, e in spans)
    return max((i + 1 - bisect.bisect_right(ends, at) for i, at in enumerate(begins)), default=0)


def checks(
    kept: Kept,
    log: Sequence[dict[str, Any]],
    drives: Sequence[Drive],
    *,
    limits: Limits,
    cap_usd: float,
    key_budgets: dict[str, float],
    killed_at: float,
    most_in_flight: int,
) -> list[Line]:
    """Every promise as a line.

    Args:
        drives: all that was asked of one ledger.
        cap_usd: what all processes may spend a day.
        key_budgets: what a key may spend a day.
        most_in_flight: calls that the killed process can have had under way.
    """
    answered = [one for drive in drives for one in drive.answered]
    return [
        *_receipts(kept, answered, killed_at, sum(len(d.lost) for d in drives)),
        *_money(kept, log, answered, most_in_flight),
        *_windows(log, limits),
        *_budgets(kept, answered, drives, cap_usd, key_budgets),
    ]


def _receipts(kept: Kept, answered: Sequence[Any], killed_at: float, lost: int) -> list[Line]:
    named: dict[int, set[str]] = {}
    for one in answered:
        named.setdefault(one.number, set()).add(one.receipt)
    before = [one for one in answered if one.at <= killed_at]
    again = sum(one.attempts > 1 for one in answered)
    return [
        Line("every task is answered in the end", len(answered) + lost, lost,
             f"{again:,} only when they were sent again"),
        Line("every 200 has its receipt on the ledger", len(answered),
             sum(one.receipt not in kept.receipts for one in answered)),
        Line("nothing that was acknowledged before the kill is lost", len(before),
             sum(one.receipt not in kept.receipts for one in before)),
        Line("a task has one receipt, however often it was sent", len(named),
             sum(len(receipts) > 1 for receipts in named.values())),
        Line("the cost in the answer is the receipt's", len(answered),
             sum(round(one.usd * PICO) != kept.receipts.get(one.receipt) for one in answered)),
        Line("receipts: bytes, hashes, and the sum of the calls to the pico-dollar",
             len(kept.receipts), len(kept.problems), "; ".join(kept.problems[:2])),
    ]  # fmt: skip


def _money(
    kept: Kept, log: Sequence[dict[str, Any]], answered: Sequence[Any], most: int
) -> list[Line]:
    billed = {f"req_{entry['n']:024d}": entry["pico"] for entry in log}
    by_receipt: dict[str, int] = dict.fromkeys(kept.receipts, 0)
    recorded = set()
    guesses = guessed = low = 0
    for call in kept.calls:
        bill = billed.get(call["request_id"] or "", 0)
        if call["request_id"]:
            recorded.add(call["request_id"])
        if call["failure"] is not None and call["price_basis"].startswith("estimated"):
            # Cut off, or unreadable: what it is billed stands in no answer.
            low += call["cost_pico"] < bill
            bill = call["cost_pico"]
            guesses, guessed = guesses + 1, guessed + bill
        if call["decision_id"] in by_receipt:
            by_receipt[call["decision_id"]] += bill
    differ = sum(by_receipt[receipt] != pico for receipt, pico in kept.receipts.items())
    unknown = [pico for name, pico in billed.items() if pico and name not in recorded]
    paid = sum(billed.values())
    return [
        Line("a receipt's cost is what the provider billed for its calls; of those that were cut "
             "off or cannot be read, an estimate", len(kept.receipts), differ,
             f"${paid / PICO:.4f} billed"),
        Line("an estimate is never below a bill that is known", guesses, low,
             f"${guessed / PICO:.4f} estimated"),
        Line("billed, and not on the ledger: at most the calls in flight at the kill", len(billed),
             max(0, len(unknown) - most), f"{len(unknown)} calls; {most} could be in flight"),
    ]  # fmt: skip


def _windows(log: Sequence[dict[str, Any]], limits: Limits) -> list[Line]:
    found = []
    for api in ("openai", "anthropic"):
        own = [entry for entry in log if entry["api"] == api]
        begun = [entry["began"] for entry in own]
        tokens = [sum(e[k] for k in ("input", "cache_read", "cache_write", "output")) for e in own]
        spans = [(entry["began"], entry["ended"]) for entry in own]
        window = limits.window_s
        for what, most, name in (
            (f"requests in any {window:g} s", fullest(begun, [1.0] * len(own), window), "requests"),
            (f"tokens in any {window:g} s", fullest(begun, tokens, window), "tokens"),
            ("calls at once", at_once(spans), "at_once"),
        ):
            limit = getattr(limits, name)
            seen = f"at most {most:,.0f} of {limit:,}; the policy takes {limit * limits.share:,.0f}"
            found.append(Line(f"{api}: {what}, at its own door", len(own), int(most > limit), seen))
    return found


def _budgets(
    kept: Kept,
    answered: Sequence[Any],
    drives: Sequence[Drive],
    cap_usd: float,
    key_budgets: dict[str, float],
) -> list[Line]:
    paid = sum(call["cost_pico"] for call in kept.calls) / PICO
    short = sum(one.partial for one in answered)
    seen = f"${paid:.4f} of ${cap_usd:.4f}; {short:,} decisions cut short by it"
    found = [
        Line("the budget that all processes share", len(kept.calls), int(paid > cap_usd), seen)
    ]
    for key, budget in key_budgets.items():
        # What is sent again is answered with the same receipt, and costs nothing more.
        own = list({one.receipt: one.usd for one in answered if one.key == key}.values())
        most = max((drive.most[key] for drive in drives), default=0)
        dearest = max(own, default=0.0)
        over = sum(own) - budget
        refused = sum(drive.refused[key] for drive in drives)
        found.append(
            Line(
                "a key's budget is passed by no more than its decisions in flight", len(own),
                int(over > most * dearest),
                f"${sum(own):.4f} of ${budget:.4f}; {refused:,} requests refused; at most {most} "
                "in flight",
            )
        )  # fmt: skip
    return found
