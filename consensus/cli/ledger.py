"""``consensus ledger``: what was decided, why, for how much; and whether it still adds up."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from consensus.ballots import PICO
from consensus.cli._ledger import (
    Json,
    LedgerOption,
    PolicyOption,
    ReceiptArgument,
    Since,
    console,
    opened,
    print_json,
    say,
)
from consensus.cli._time import moment
from consensus.cli.ledger_export import export
from consensus.cli.ledger_label import label
from consensus.cli.ledger_migrate import migrate
from consensus.cli.ledger_page import page
from consensus.cli.ledger_quality import quality
from consensus.cli.ledger_queue import queue
from consensus.cli.ledger_watch import acknowledge, incidents, watch

if TYPE_CHECKING:
    from consensus.decisions import Decision
    from consensus.ledger.receipts import Receipt

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help=(
        "Every call and every decision, kept on this machine or on your database server: what was "
        "decided and why, what it cost, and the same decision drawn again from its receipt.\n\n"
        "The ledger is the one that --ledger names, else CONSENSUS_LEDGER, else the policy's "
        "[bold]\\[ledger][/] path or url_env, else .consensus/ledger.db in the current folder."
    ),
)

app.command()(page)
app.command()(migrate)
app.command()(queue)
app.command()(label)
app.command()(quality)
app.command()(export)
app.command()(watch)
app.command()(incidents)
app.command()(acknowledge)


@app.command()
def show(
    receipt_id: ReceiptArgument,
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """Show one decision: the task, the reasons, every ballot, every call and what it cost."""
    from consensus.ledger.feedback import labels_of
    from consensus.ledger.page import answer_text, receipt_json, show_receipt, when
    from consensus.ledger.shadows import shadow_of

    with opened(ledger, policy) as book:
        receipt = book.receipt(receipt_id)
        calls = book.calls_of(receipt.receipt_id)
        labels = labels_of(book, receipt.receipt_id)
        shadow = shadow_of(book, receipt.receipt_id)
    if as_json:
        later = {
            "labels": [one.to_json() for one in labels],
            "shadow": None if shadow is None else shadow.to_json(),
        }
        print_json({**receipt_json(receipt, calls), **later})
        return
    show_receipt(receipt, calls, console())
    if shadow is not None:
        agrees = {True: "agrees", False: "disagrees", None: "not comparable"}[shadow.agrees]
        outcome = answer_text(shadow.outcome) or shadow.reason or "its answer is in its calls"
        say(
            f"shadow {shadow.route}: {shadow.status}, {outcome} ({agrees}; drawn with probability "
            f"{shadow.inclusion:g}) · ${shadow.cost_pico / PICO:.6f} · {shadow.latency_s:.2f} s"
        )
    for one in labels:
        by = f" by {one.given_by}" if one.given_by else ""
        held = "" if one.superseded_at is None else "; superseded"
        say(f"label {answer_text(one.label)} ({one.source}{by}, {when(one.created_at)}{held})")


@app.command()
def replay(
    receipt_id: ReceiptArgument,
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """Draw a decision again from its receipt alone; exit 1 if a single byte differs."""
    from consensus.ledger.receipts import replay as draw_again

    with opened(ledger, policy) as book:
        receipt = book.receipt(receipt_id)
    result = draw_again(receipt, _conclude)
    if as_json:
        print_json(
            {
                "receipt_id": receipt.receipt_id,
                "identical": result.identical,
                "differences": list(result.differences),
                "decision": result.decision.to_row(index=receipt.task_index or 0),
            }
        )
    elif result.identical:
        size = len(result.decision.canonical_json().encode())
        say(f"{receipt.receipt_id}: the same decision, byte for byte ({size:,} bytes)")
    else:
        say(f"{receipt.receipt_id}: another decision; it differs in")
        for path in result.differences:
            say(f"  {path}")
    if not result.identical:
        raise typer.Exit(1)


@app.command("list")
def list_(
    task_type: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    action: Annotated[
        str | None, typer.Option(help="Only these: act, escalate or abstain.")
    ] = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """List decisions, the latest first. Judged text is not shown; `show` shows it."""
    from consensus.ledger.queries import list_decisions

    if action not in (None, "act", "escalate", "abstain"):
        raise typer.BadParameter(f"{action!r} is not act, escalate or abstain")
    with opened(ledger, policy) as book:
        found = list_decisions(
            book, task_type=task_type, action=action, since=moment(since), limit=limit
        )
    if as_json:
        print_json([decision.to_json() for decision in found])
        return
    from consensus.ledger.page import add_row, table_of, when

    table = table_of("receipt", "when", "type", "id", "action", "outcome", ">P", ">usd", ">s")
    for one in found:
        add_row(
            table,
            one.receipt_id,
            when(one.created_at),
            one.task_type,
            one.task_id or "",
            one.action,
            "" if one.outcome is None else str(one.outcome),
            "" if one.probability is None else f"{one.probability:.3f}",
            f"{one.cost_pico / PICO:.6f}",
            f"{one.latency_s:.2f}",
        )
    console().print(table)


@app.command()
def stats(
    since: Since = None,
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """Sum up by task type and served model: decisions, calls, tokens, cost, failures."""
    from consensus.ledger.queries import type_stats

    with opened(ledger, policy) as book:
        found = type_stats(book, since=moment(since))
    if as_json:
        print_json([one.to_json() for one in found])
        return
    from consensus.ledger.page import add_row, table_of

    heads = ("decisions", "calls", "failed", "input", "cached", "written", "output", "usd", "s")
    table = table_of("type", "model", *(f">{head}" for head in heads))
    for one in found:
        said = f"{one.acted} acted, {one.escalated} escalated, {one.abstained} abstained"
        if one.escalations:
            said += f"; {one.escalations} asked a stronger route"
        row = [one.task_type, said, f"{one.decisions:,}", *[""] * 6]
        add_row(table, *row, f"{one.cost_pico / PICO:.6f}", "", style="bold")
        for model in one.models:
            used = model.usage
            add_row(
                table,
                "",
                model.served_model,
                f"{model.decisions:,}",
                f"{model.calls:,}",
                f"{model.failures:,}",
                f"{used.input:,}",
                f"{used.cache_read:,}",
                f"{used.cache_write + used.cache_write_1h:,}",
                f"{used.output:,}",
                f"{model.cost_pico / PICO:.6f}",
                f"{model.latency_s:.2f}",
            )
    console().print(table)


@app.command()
def verify(ledger: LedgerOption = None, policy: PolicyOption = None, as_json: Json = False) -> None:
    """Check the file, every receipt's hash, and that costs add up; exit 1 if anything is wrong."""
    from consensus.ledger.verify import verify as check

    with opened(ledger, policy) as book:
        result = check(book)
        where = book.where
    if as_json:
        print_json(
            {
                "ledger": where,
                "ok": result.ok,
                "decisions": result.decisions,
                "calls": result.calls,
                "unfinished": result.unfinished,
                "problems": list(result.problems),
            }
        )
    else:
        for problem in result.problems:
            say(problem)
        verdict = "sound" if result.ok else "NOT sound"
        say(
            f"{where}: {verdict}; {result.decisions:,} decisions, {result.calls:,} calls, "
            f"{result.unfinished:,} unfinished decisions"
        )
    if not result.ok:
        raise typer.Exit(1)


@app.command()
def path(ledger: LedgerOption = None, policy: PolicyOption = None, as_json: Json = False) -> None:
    """Print where the ledger lies, whether it is there yet or not."""
    from consensus.ledger.place import ledger_path

    place = ledger_path(ledger, policy=policy).absolute()
    if as_json:
        print_json({"path": str(place), "exists": place.exists()})
    else:
        sys.stdout.write(f"{place}\n")


def _conclude(receipt: Receipt) -> Decision:
    from consensus.assembly import conclude_receipt

    return conclude_receipt(receipt)
