"""``consensus ledger queue``: decisions that wait for a person, and labels given on the spot."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from consensus.cli._time import moment
from consensus.cli.ledger._shared import (
    Json,
    LedgerOption,
    PolicyOption,
    Since,
    console,
    opened,
    print_json,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consensus.ledger.feedback import Waiting
    from consensus.ledger.receipts import Receipt
    from consensus.ledger.store import Ledger
    from consensus.tasks import Task

__all__ = ["queue"]

LONGEST = 20_000
"""Characters of one answer that a reviewer is shown: whoever judges a text must see it."""


def queue(
    task_type: Annotated[
        str | None, typer.Option("--type", help="Only of this type.", show_default=False)
    ] = None,
    audit: Annotated[
        float,
        typer.Option(
            help="Also this share of the decisions that acted, drawn by a hash of their id: what "
            "is labelled of them proves how good all are (consensus ledger quality)."
        ),
    ] = 0.0,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    give: Annotated[
        bool, typer.Option("--label", help="Show one after the other, and ask for its label.")
    ] = False,
    blind: Annotated[
        bool,
        typer.Option(
            "--blind",
            help="With --label: do not show what the models said (but for generated answers), so "
            "that it cannot sway you.",
        ),
    ] = False,
    by: Annotated[
        str | None, typer.Option(help="With --label: who says so.", show_default=False)
    ] = None,
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """Decisions without a label that wait for a person, the oldest first.

    These are the escalated ones: evidence, but not enough for the task's losses or rules. With
    --audit SHARE also a share of the others. With --label each is shown and its label asked for:
    Enter skips it, q ends.

    Example:
      consensus ledger queue --type refund_approval
      consensus ledger queue --audit 0.05 --since 7d --label --by ada
    """
    from consensus.ledger.feedback import queue as waiting_of

    with opened(ledger, policy) as book:
        waiting = waiting_of(
            book, task_type=task_type, audit=audit, since=moment(since), limit=limit
        )
        if give:
            given = _ask(book, waiting, by, blind=blind)
            say(f"{given} of {len(waiting)} labelled")
            return
    if as_json:
        print_json([one.to_json() for one in waiting])
    elif not waiting:
        say("nothing waits")
    else:
        _show(waiting)


def _show(waiting: Sequence[Waiting]) -> None:
    from consensus.ledger.page import add_row, table_of, when

    table = table_of("receipt", "when", "type", "id", "kind", "why", ">P", ">agreement")
    for one in waiting:
        add_row(
            table,
            one.receipt_id,
            when(one.created_at),
            one.task_type,
            one.task_id or "",
            one.kind,
            one.why,
            "" if one.probability is None else f"{one.probability:.3f}",
            f"{one.agreement:.0%}",
        )
    console().print(table)
    types = Counter(one.task_type for one in waiting)
    say(", ".join(f"{name} {count:,}" for name, count in sorted(types.items())))


def _ask(book: Ledger, waiting: Sequence[Waiting], by: str | None, *, blind: bool) -> int:
    from consensus.errors import TaskError
    from consensus.ledger.feedback import give_label

    given = 0
    for place, one in enumerate(waiting, 1):
        receipt = book.receipt(one.receipt_id)
        task = receipt.question()
        say("")
        say(f"{place} of {len(waiting)} · {one.receipt_id} · {one.task_type} · {one.why}")
        _show_case(receipt, blind=blind and task.kind != "generate")
        while True:
            text = typer.prompt(f"label ({_expected(task)})", default="", show_default=False)
            if text.strip() in ("", "q"):
                break
            try:
                give_label(
                    book,
                    one.receipt_id,
                    text.strip(),
                    by=by,
                    source="queue",
                    probability=one.inclusion,
                    typed=True,
                )
            except TaskError as error:
                say(f"error: {error}")
                continue
            given += 1
            break
        if text.strip() == "q":
            break
    return given


def _show_case(receipt: Receipt, *, blind: bool) -> None:
    from consensus.ledger.page import answer_text, task_lines

    if not receipt.text_stored:
        say("  (its text was not kept)")
    for line in task_lines(receipt.task):
        say(f"  {line}")
    decision = receipt.decision
    if blind:
        return
    if decision.outcome is not None:
        say(f"  outcome: {answer_text(decision.outcome, most=LONGEST)}")
    for ballot in decision.ballots:
        why = f": {ballot.rationale}" if ballot.rationale else ""
        answer = answer_text(ballot.answer, most=LONGEST)
        say(f"  seat {ballot.seat} ({ballot.framing}) {answer}{why}")


def _expected(task: Task) -> str:
    from consensus.ledger.page import clean
    from consensus.tasks import Generate, Rank, Score

    if isinstance(task, Generate):
        return "right, wrong, or the answer"
    if isinstance(task, Rank):
        return "JSON list, best first"
    if isinstance(task, Score):
        return f"{task.scale[0]:g} to {task.scale[1]:g}"
    shown = clean(", ".join(task.options))
    return shown if len(shown) <= 120 else "one of the options"
