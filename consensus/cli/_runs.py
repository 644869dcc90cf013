"""A file being decided: its progress bar, its end, and Ray where it is asked for."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from consensus.ballots import PICO
from consensus.cli._console import note, print_json, stderr

if TYPE_CHECKING:
    from consensus.cli._batch_notes import BatchNotes
    from consensus.jobs import JobRun

__all__ = ["ENGINE", "WORKERS", "decide_file", "on_ray", "ray_up"]

ENGINE = typer.Option(
    "--engine",
    metavar="local|ray",
    help="local: this process. ray: worker processes, here or on the cluster at RAY_ADDRESS, whose "
    "machines need the providers' keys in their environment.",
)
WORKERS = typer.Option(
    min=1, help="With --engine ray: how many processes.", show_default="one for each CPU"
)


async def decide_file(
    run: JobRun, quiet: bool, as_json: bool, notes: BatchNotes | None = None
) -> int:
    """Decide a file, show how it goes, say how it ended; the exit code."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from consensus.cluster import ClusterRun
    from consensus.jobs import count_lines

    total = count_lines(run.source)
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
        # Whatever a library prints meanwhile (Ray does, of a worker that died) is no result.
        async with run.engine, aclosing(run.rows()) as rows:
            with (
                redirect_stdout(sys.stderr),
                Progress(*columns, console=stderr(), disable=quiet) as bar,
            ):
                shown = bar.add_task(run.task_type, total=total, usd=0.0, said="")
                if isinstance(run, ClusterRun) and not quiet:
                    run.say = partial(bar.console.print, markup=False, soft_wrap=True)
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
        "frontier": {"compared": compared, "agreed": agreed} if run.frontier else None,
        "output": str(run.output),
    }
    if as_json:
        print_json(summary)
    else:
        note(_sentence(summary, run.frontier))
    return 1 if run.bad_lines else 0


@contextmanager
def ray_up(workers: int | None, quiet: bool) -> Iterator[int]:
    """Ray, up before a run begins, so that ^C can end it even while it starts; the workers."""
    from consensus.cluster.connecting import connected

    if not quiet:
        note("starting Ray" if not os.environ.get("RAY_ADDRESS") else "joining Ray")
    with connected(workers) as there:
        yield there


def on_ray(engine_name: str, workers: int | None) -> bool:
    """Whether ``--engine`` says so.

    Raises:
        typer.BadParameter: it says neither, or ``--workers`` is given without it.
    """
    if engine_name not in ("local", "ray"):
        raise typer.BadParameter(f'--engine is local or ray, not "{engine_name}"')
    if workers is not None and engine_name == "local":
        raise typer.BadParameter("--workers goes with --engine ray")
    return engine_name == "ray"


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
