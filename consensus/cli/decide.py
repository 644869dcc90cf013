"""``consensus decide``: one task from options or standard input, or a file of tasks."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from consensus.cli._console import note, print_json
from consensus.cli._runs import ENGINE, WORKERS, on_ray
from consensus.errors import DeclarationError, TaskError

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

[bold]A very long file[/], by several processes on Ray (an extra), here or at RAY_ADDRESS. It pays
where the processor of one process is the limit. Where it is the provider's limits, or the file is
short (Ray takes seconds to start), it brings nothing

  consensus decide refund_approval --input tasks.parquet --output decisions.parquet \\
      --engine ray --workers 8 --max-usd 500
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
            help="A task a line (JSONL) or a row (.parquet); what it leaves out the row of the "
            "policy supplies.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The decisions, in input order: JSONL, or .parquet."),
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
    engine_name: Annotated[str, ENGINE] = "local",
    workers: Annotated[int | None, WORKERS] = None,
    max_usd: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="The most that deciding this file may ever cost, earlier parts included.",
            show_default=False,
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Decide a file again from the start, and pay again.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Decide one task, or a file of tasks."""
    from consensus.engine import Engine

    spread_out = on_ray(engine_name, workers)
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
        from consensus.cli._runs import decide_file, ray_up

        if batch and (spread_out or max_usd is not None):
            raise typer.BadParameter("--batch goes with neither --engine ray nor --max-usd")
        journal = output.with_name(f"{output.name}.batches.jsonl")
        notes = None
        if batch:
            from consensus.jobs import JobRun

            batches, notes = batching(journal)
            engine = Engine(policy, ledger=ledger, batch=batches, dedicated=True)
            run = JobRun(engine, input_file, output, task_type, frontier, many, fresh)
            return asyncio.run(decide_file(run, quiet, as_json, notes))
        not_under_way(journal)
        from consensus.cluster import CappedRun, ClusterRun, RunEngine

        own = RunEngine(policy, ledger=ledger, dedicated=True)
        plain = own, input_file, output, task_type, frontier, many, fresh
        if not spread_out:
            run = CappedRun(*plain, max_usd=max_usd)
            return asyncio.run(decide_file(run, quiet, as_json, notes))
        spread = ClusterRun(*plain, max_usd=max_usd, policy=policy)
        with ray_up(workers, quiet) as spread.workers:
            return asyncio.run(decide_file(spread, quiet, as_json, notes))
    if spread_out or max_usd is not None:
        raise typer.BadParameter(
            "--engine ray, --workers and --max-usd are for a file: add --input and --output"
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
