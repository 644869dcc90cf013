"""``consensus decide``: one task from options or standard input, or a file of tasks."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.ballots import PICO
from consensus.cli._console import note, print_json, stderr
from consensus.errors import DeclarationError, TaskError

if TYPE_CHECKING:
    from consensus.cli._batch_notes import BatchNotes

__all__ = ["decide"]

EXAMPLES = """
[bold]One task[/]

  consensus decide refund_approval --kind approve --subject "Unused, 12 days old." \\
      --criteria "Unused and bought within 30 days."

  consensus decide triage --kind choose --option billing --option bug --subject - < ticket.txt

  echo '{"kind":"rank","items":["a","b","c"],"criteria":"urgency"}' | consensus decide queue

[bold]A file[/], a task a line (JSON); resumable: run the same command again after a crash

  consensus decide refund_approval --input tasks.jsonl --output decisions.jsonl \\
      --frontier anthropic/claude-opus-5-5

[bold]The same at half the price[/], within a day, through Anthropic's and OpenAI's batches; after a
crash the same command takes up the batches under way

  consensus decide refund_approval --input tasks.jsonl --output decisions.jsonl --batch
"""

IN_BATCHES = 10_000
"""Decisions in flight at once where their calls go out in batches."""


def decide(
    task_type: Annotated[
        str, typer.Argument(metavar="TYPE", help="Task type: the row of the policy table.")
    ],
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            "-i",
            help="JSONL file, a task a line; what a line leaves out the row supplies.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="JSONL file for the decisions, in input order."),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="Folder or file of the policy; else strategies/ here, else the defaults. "
            "Read once: one table rules a whole file."
        ),
    ] = None,
    frontier: Annotated[
        str | None, typer.Option(help="Model to ask once beside each decision, for comparison.")
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(
            help="Ledger file; else $CONSENSUS_LEDGER, the policy's, .consensus/ledger.db."
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="approve, choose, compare, rank, score or generate; else the row's."),
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="What is judged; - reads standard input, @FILE a file.")
    ] = None,
    criteria: Annotated[str | None, typer.Option(help="By what it is judged.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="An option of choose; repeat it.")
    ] = None,
    item: Annotated[
        list[str] | None, typer.Option("--item", help="An item of rank; repeat it.")
    ] = None,
    a: Annotated[str | None, typer.Option("--a", help="First candidate of compare.")] = None,
    b: Annotated[str | None, typer.Option("--b", help="Second candidate of compare.")] = None,
    scale: Annotated[
        tuple[float, float] | None, typer.Option(help="Scale of score: lowest, highest.")
    ] = None,
    message: Annotated[str | None, typer.Option(help="What generate is asked to write.")] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Decisions in flight at once; a batch holds the calls of so many.",
            show_default="100; 10000 with --batch",
        ),
    ] = None,
    batch: Annotated[
        bool,
        typer.Option(
            "--batch",
            help="Through the providers' batch endpoints: half the price, up to a day. All seats "
            "are asked at once: stopping rules and deadlines are off.",
        ),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Decide a file again from the start, and pay again.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Decide one task, or a file of tasks."""
    from consensus.engine import Engine

    if (input_file is None) != (output is None):
        raise typer.BadParameter("--input and --output go together")
    single = {
        "kind": kind,
        "subject": _text(subject),
        "criteria": criteria,
        "options": option or None,
        "items": item or None,
        "a": _text(a),
        "b": _text(b),
        "scale": scale,
        "messages": [{"role": "user", "content": message}] if message is not None else None,
    }
    given = {name: value for name, value in single.items() if value is not None}
    if input_file is not None and output is not None:
        if given:
            raise typer.BadParameter(
                f"--{next(iter(given))} describes one task; --input holds many"
            )
        many = concurrency or (IN_BATCHES if batch else 100)
        from consensus.cli._batch_notes import batching, not_under_way

        journal = output.with_name(f"{output.name}.batches.jsonl")
        if batch:
            batches, notes = batching(journal)
            engine = Engine(policy, ledger=ledger, batch=batches)
        else:
            not_under_way(journal)
            notes, engine = None, Engine(policy, ledger=ledger)
        return asyncio.run(
            _file(
                engine, task_type, input_file, output, frontier, many, fresh, quiet, as_json, notes
            )
        )
    if batch:
        raise typer.BadParameter("--batch is for a file: add --input and --output")
    if not given or set(given) == {"kind"}:
        given |= _from_stdin(task_type)
    return asyncio.run(_one(Engine(policy, ledger=ledger), task_type, given, frontier, as_json))


decide.__doc__ = f"{decide.__doc__}\n{EXAMPLES}"


def _text(value: str | None) -> str | None:
    """``-`` is standard input, ``@FILE`` a file, anything else itself."""
    if value == "-":
        return sys.stdin.read()
    if value is not None and value.startswith("@"):
        path = Path(value[1:])
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DeclarationError(f"cannot be read: {error}", where=str(path)) from None
    return value


def _from_stdin(task_type: str) -> dict[str, Any]:
    if sys.stdin.isatty():
        raise typer.BadParameter(
            "give the task by options (--subject …), as JSON on standard input, or --input FILE"
        )
    try:
        data = json.loads(sys.stdin.read())
    except (ValueError, RecursionError) as error:
        raise TaskError(f"is not JSON: {error}", where="standard input") from None
    if not isinstance(data, dict):
        raise TaskError("a task is an object", where="standard input")
    return {str(name): value for name, value in data.items()}


async def _one(
    engine: Any, task_type: str, given: dict[str, Any], frontier: str | None, as_json: bool
) -> int:
    from consensus.jobs import complete, unanswered
    from consensus.tasks import parse_task

    row = engine.table.tasks.get(task_type)
    supplied = row.task_defaults() if row is not None else {}
    task = parse_task(complete(given, task_type, supplied))
    async with engine:
        decision = await engine.decide(task, frontier=frontier)
    if as_json:
        print_json(decision.to_row(index=0))
    else:
        from consensus.cli._decision_page import show

        show(decision)
    if unanswered(decision):
        note(f"error: {decision.failures[0].message}")
        return 1
    return 0


async def _file(
    engine: Any,
    task_type: str,
    source: Path,
    output: Path,
    frontier: str | None,
    concurrency: int,
    fresh: bool,
    quiet: bool,
    as_json: bool,
    notes: BatchNotes | None,
) -> int:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from consensus.jobs import JobRun, count_lines

    total = count_lines(source)
    run = JobRun(engine, source, output, task_type, frontier, concurrency, fresh)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[green]${task.fields[usd]:.4f}"),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    agreed = compared = 0
    try:
        async with engine, aclosing(run.rows()) as rows:
            with Progress(*columns, console=stderr(), disable=quiet) as bar:
                shown = bar.add_task(task_type, total=total, usd=0.0, said="")
                if notes is not None and not quiet:
                    notes.tell = partial(bar.console.print, markup=False, soft_wrap=True)
                    notes.shown = lambda said: bar.update(shown, said=said)
                async for row in rows:
                    agrees = (row.get("frontier") or {}).get("agrees")
                    compared += agrees is not None
                    agreed += agrees is True
                    said = (
                        f"{run.actions['escalate']} escalated, {run.actions['abstain']} abstained"
                    )
                    bar.update(shown, advance=1, usd=run.spent_pico / PICO, said=said)
                    if row["error"] is not None:
                        bar.console.print(f"bad line: {row['error']}", style="red", markup=False)
    except (KeyboardInterrupt, asyncio.CancelledError):
        note("interrupted; finished rows are on the ledger: run the same command to go on")
        if notes is not None:
            note(
                "batches under way go on at the provider, and are paid: that command takes them up"
            )
        raise
    if notes is not None:
        notes.forget()
    summary = {
        "tasks": total,
        "act": run.actions["act"],
        "escalate": run.actions["escalate"],
        "abstain": run.actions["abstain"],
        "errors": run.bad_lines,
        "reused": run.reused,
        "cost": {"usd": run.spent_pico / PICO},
        "frontier": {"compared": compared, "agreed": agreed} if frontier else None,
        "output": str(output),
    }
    if as_json:
        print_json(summary)
    else:
        note(_sentence(summary, frontier))
    return 1 if run.bad_lines else 0


def _sentence(summary: dict[str, Any], frontier: str | None) -> str:
    text = (
        f"{summary['tasks']} tasks: {summary['act']} acted, {summary['escalate']} escalated, "
        f"{summary['abstain']} abstained, {summary['errors']} bad lines; "
        f"${summary['cost']['usd']:.6f} spent now"
    )
    if summary["reused"]:
        text += f", {summary['reused']} rows were decided before"
    if frontier and summary["frontier"]["compared"]:
        seen = summary["frontier"]
        text += f"; {frontier} agrees in {seen['agreed']} of {seen['compared']}"
    return f"{text}; written to {summary['output']}"
