"""The sentences of the cost pages; terminal and HTML say the same ones."""

from __future__ import annotations

from consensus.ballots import PICO
from consensus.benchmark.projection.breakeven import ClassifierBreakEven
from consensus.benchmark.projection.project import Projection
from consensus.benchmark.report import words
from consensus.benchmark.report.words import share
from consensus.ledger.attribution import CostReport

__all__ = ["break_even_sentences", "cost_notes", "cost_verdict", "usd", "verdict"]


def usd(value: float | None) -> str:
    """Dollars; a sum below zero with its sign before the dollar."""
    if value is not None and value < 0:
        return f"−{words.usd(-value)}"
    return words.usd(value)


def verdict(found: Projection) -> tuple[str, str, str]:
    """Ruling (``good``, ``bad``, ``open``), headline, and the sentence below it."""
    total = found.total
    change = total.change
    if change is None:
        head = f"{usd(total.after)} a month; the frontier has no price to compare with"
        return "open", head, _basis(found)
    way = "less" if change < 0 else "more"
    head = (
        f"{usd(total.after)} a month instead of {usd(total.before)}: {share(abs(change), 0)} {way}"
    )
    saved = total.saved_interval
    ruling = "good" if change < 0 else "bad"
    if total.assumed_share > 0.5 or (saved is not None and saved.low <= 0 <= saved.high):
        ruling = "open"
    return ruling, head, _basis(found)


def _basis(found: Projection) -> str:
    total = found.total
    if total.interval is None:
        return (
            "Nothing is measured yet: expected tokens at list prices. A profile of each task type "
            "makes it a projection."
        )
    said = (
        f"95 % interval of the month: {usd(total.interval.low)} to {usd(total.interval.high)}. "
        f"Best to worst: {usd(total.best)} to {usd(total.worst)}."
    )
    if total.assumed_share:
        said += f" {share(total.assumed_share, 0)} of it is assumed, and outside the interval."
    return said


def break_even_sentences(found: Projection) -> tuple[str, ...]:
    """The classifier's break-even, and ten calls against one."""
    said = []
    if found.classifier is not None:
        said.append(_classifier(found.classifier))
    if found.ten_calls is not None:
        said.append(f"{found.ten_calls.words()}.")
    return tuple(said)


def _classifier(found: ClassifierBreakEven) -> str:
    cost = found.classifier
    price = f"A content classifier at {usd(cost.usd_per_query)} a query"
    if cost.usd_per_month:
        price += f" and {usd(cost.usd_per_month)} a month"
    saving = f"routing saves {usd(found.saving_per_query)} a query"
    if found.volume is None:
        return f"{price} never pays: {saving}. Rules on the task type cost nothing."
    at = (
        f"pays from {found.volume:,.0f} queries a month on"
        if found.volume
        else "pays at any volume, since it has no fixed cost"
    )
    return (
        f"{price} {at}: {saving}. 10,000 queries a month would carry a fixed cost of "
        f"{usd(found.fixed_at_10k)}."
    )


def cost_verdict(report: CostReport) -> tuple[str, str, str]:
    """Ruling, headline and the sentence below it, of a report on the past."""
    saved, could = report.saved_pico, report.could_save_pico
    total = report.total
    if saved is None or could is None or report.frontier is None:
        return "open", f"{usd(total.cost_pico / PICO)} paid", "Nothing to compare it with."
    compared = usd((total.compared_pico or 0) / PICO)
    every = usd((total.frontier_pico or 0) / PICO)
    rest = (
        f"The decisions cost {compared}; one call of {report.frontier} for each, with the mean "
        f"tokens of its own calls at today's price, would cost {every}. That is arithmetic, not a "
        "measurement."
    )
    net = saved - could
    head = (
        f"You saved {usd(net / PICO)} against all-frontier"
        if net >= 0
        else f"You could save {usd(-net / PICO)} by asking the frontier once"
    )
    if saved and could:
        rest += (
            f" Some task types saved {usd(saved / PICO)}; for others one frontier call were "
            f"cheaper, by {usd(could / PICO)}."
        )
    return ("good" if net > 0 else "bad" if net < 0 else "open"), head, rest


def cost_notes(report: CostReport) -> tuple[str, ...]:
    """What a reader must know of a report on the past."""
    said = []
    total, balance = report.total, report.balance
    if total.beside is not None and total.beside.n:
        beside = total.beside
        agreed = (
            f"; it agreed on {beside.agreed:,} of the {beside.compared:,} on which both decided"
            if beside.compared
            else ""
        )
        said.append(
            f"The frontier was really asked beside {beside.n:,} "
            f"{'decision, which' if beside.n == 1 else 'decisions, which'} cost "
            f"{usd(beside.cost_pico / PICO)}, the frontier {usd(beside.frontier_pico / PICO)}"
            f"{agreed}."
        )
    if total.estimated_pico:
        said.append(
            f"{usd(total.estimated_pico / PICO)} of what was paid is an estimate: of calls that "
            "were cut off before they answered, which the provider may have billed, and of answers "
            "without a usage or a known price."
        )
    if balance.replayed_pico or total.replayed:
        said.append(
            f"{total.replayed:,} answers came from a tape and were paid for once, where they were "
            f"first asked; they are worth {usd(balance.replayed_pico / PICO)}."
        )
    if balance.unfinished_pico:
        said.append(
            f"{usd(balance.unfinished_pico / PICO)} went to decisions that were cut short and have "
            "no receipt."
        )
    if balance.open_pico:
        said.append(
            f"Decisions at the ends of this stretch of time account for "
            f"{usd(abs(balance.open_pico) / PICO)} of difference between calls and receipts."
        )
    if {"requested", "served"} & set(report.by):
        said.append("A decision counts under every model that it asked; latency is of calls.")
    said.append("Each call is counted once, in one group: the groups add up to what was paid.")
    return tuple(said)
