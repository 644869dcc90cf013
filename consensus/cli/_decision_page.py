"""One decision, for people."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from consensus.cli._console import stdout
from consensus.decisions import Decision

__all__ = ["show"]

COLOURS = {"act": "green", "escalate": "yellow", "abstain": "red"}


def show(decision: Decision) -> None:
    """Print what was decided, why, by whom and for how much."""
    out = stdout()
    head = f"[bold {COLOURS[decision.action]}]{decision.action}[/]"
    if decision.outcome is not None:
        head += f"  [bold]{escape(_line(decision.outcome))}[/]"
    out.print(head)
    facts = [f"agreement {decision.agreement:.0%}"]
    if decision.probability is not None:
        word = "" if decision.calibrated else " (uncalibrated)"
        facts.insert(0, f"P = {decision.probability:.3f}{word}")
    facts += [f"${decision.cost.usd:.6f}", f"{decision.latency_s:.2f} s"]
    out.print("  " + " · ".join(facts))
    for reason in decision.reasons:
        out.print(f"  - {escape(reason)}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("seat", "model", "framing", "answer", "confidence", "tokens", "usd", "s"):
        table.add_column(name, justify="right" if name in {"tokens", "usd", "s"} else "left")
    for ballot in decision.ballots:
        table.add_row(
            str(ballot.seat),
            escape(ballot.served_model or ballot.model),
            escape(ballot.framing),
            escape(_line(ballot.answer)),
            "" if ballot.confidence is None else f"{ballot.confidence:.2f}",
            f"{ballot.usage.total_input}+{ballot.usage.output}",
            f"{ballot.cost.usd:.6f}",
            f"{ballot.latency_s:.2f}",
        )
    for failure in decision.failures:
        table.add_row(
            str(failure.seat),
            escape(failure.model),
            escape(failure.framing),
            f"[red]failed: {failure.failure}[/]",
            "",
            f"{failure.usage.total_input}+{failure.usage.output}",
            f"{failure.cost.usd:.6f}",
            f"{failure.latency_s:.2f}",
        )
    out.print(table)
    if decision.frontier is not None:
        beside = decision.frontier
        said = (
            escape(_line(beside.outcome))
            if beside.outcome is not None
            else f"failed: {beside.failure}"
        )
        agrees = {True: "agrees", False: "disagrees", None: "not comparable"}[beside.agrees]
        out.print(
            f"frontier {escape(beside.model)}: {said} ({agrees}) · ${beside.cost.usd:.6f} · "
            f"{beside.latency_s:.2f} s"
        )
    if decision.receipt_id is not None:
        out.print(f"receipt {decision.receipt_id}  (consensus ledger show {decision.receipt_id})")


def _line(answer: Any) -> str:
    """An answer on one line, without control characters that could paint the terminal."""
    text = " > ".join(answer) if isinstance(answer, tuple) else str(answer)
    text = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return text if len(text) <= 100 else text[:97] + "…"
