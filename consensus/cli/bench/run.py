"""``consensus bench run``: a suite put to models, live; resumable, capped, estimated before."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.ballots import PICO
from consensus.cli._console import note, print_json, stderr, stdout
from consensus.cli._runs import ENGINE, WORKERS, on_ray, ray_up
from consensus.errors import DataError

if TYPE_CHECKING:
    from consensus.benchmark.estimate import RunEstimate
    from consensus.benchmark.plan import Job, Plan
    from consensus.benchmark.results import Answered
    from consensus.benchmark.runs import Run, RunOutcome
    from consensus.cluster.bench import RunOnRay
    from consensus.policy.table import PolicyTable

__all__ = ["clock", "run"]


def run(
    suite: Annotated[
        Path, typer.Argument(help="A folder with suite.toml and cases.jsonl.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="The run's folder. One that holds a part of this run is gone on with.",
            show_default=False,
        ),
    ],
    models: Annotated[
        str | None,
        typer.Option(help="Models, with commas. With --tiers: both.", show_default=False),
    ] = None,
    tiers: Annotated[
        str | None,
        typer.Option(
            help="Tiers of the policy, with commas. Default: all tiers, where --models is not "
            "given.",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="Folder or file of the policy: tiers, providers, prices; else strategies/ here, "
            "else the defaults."
        ),
    ] = None,
    framings: Annotated[
        str,
        typer.Option(
            help="Framings, with commas; or a number: so many of each kind's usual sequence."
        ),
    ] = "plain",
    samples: Annotated[
        int,
        typer.Option(
            min=1,
            help="Answers of each model to each case under each framing; options in another order "
            "each time.",
        ),
    ] = 1,
    ballot: Annotated[
        str,
        typer.Option(
            help="structured, token, scores (1 to 10 for every option), or auto (by token for "
            "local/ models)."
        ),
    ] = "auto",
    temperature: Annotated[
        float | None, typer.Option(help="Default: each provider's own.", show_default=False)
    ] = None,
    max_usd: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="The most this folder may ever cost, earlier parts included. A run that meets it "
            "is partial and can be gone on with.",
            show_default=False,
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Calls at once for each provider, within its limits; a batch holds so many.",
            show_default="100; 10000 with --batch",
        ),
    ] = None,
    batch: Annotated[
        bool,
        typer.Option(
            "--batch",
            help="Through the providers' batch endpoints: half the price, up to a day; the same "
            "command takes up batches under way.",
        ),
    ] = False,
    engine_name: Annotated[str, ENGINE] = "local",
    workers: Annotated[int | None, WORKERS] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Estimate calls, tokens, money and time; call nothing."),
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Ask again what ended without an answer before."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress display.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Put every case of a suite to every model, and judge every answer by the suite's oracles.

    Interrupt it at any moment and run the same command again: it goes on, and pays for nothing
    twice. With more --models, framings or samples, the same folder grows.

    Example:
      consensus bench run suites/refunds --tiers small,frontier --samples 3 --out runs/refunds
      consensus bench replay --data runs/refunds --frontier M --panel A,B,C
    """
    from consensus.benchmark.suites import load_suite
    from consensus.policy.load import find_policy, find_prompts, load_policy

    spread_out = on_ray(engine_name, workers)
    if batch and spread_out:
        raise typer.BadParameter("--batch does not go with --engine ray")
    table = load_policy(policy)
    loaded = load_suite(suite)
    plan = _plan(table, models, tiers, framings, samples, ballot, temperature)
    prompts = find_prompts(find_policy(policy))
    elsewhere = None
    with ExitStack() as stack:
        if spread_out and not dry_run:
            from consensus.cluster.bench import RunOnRay

            elsewhere = RunOnRay(policy, stack.enter_context(ray_up(workers, quiet)))
        return asyncio.run(
            _go(
                loaded,
                plan,
                out,
                table,
                prompts,
                dry_run=dry_run,
                retry_failed=retry_failed,
                max_usd=max_usd,
                concurrency=concurrency or (10_000 if batch else 100),
                batch=batch,
                elsewhere=elsewhere,
                quiet=quiet,
                as_json=as_json,
            )
        )


def _plan(
    table: PolicyTable,
    models: str | None,
    tiers: str | None,
    framings: str,
    samples: int,
    ballot: str,
    temperature: float | None,
) -> Plan:
    from consensus.benchmark.plan import Plan

    names = _split(models)
    wanted = _split(tiers) if tiers or models else list(table.tiers)
    for tier in wanted:
        if tier not in table.tiers:
            raise DataError(
                f'the policy has no tier "{tier}"',
                where="--tiers",
                fix=f"one of {', '.join(table.tiers) or 'none: name --models'}",
            )
        names += table.tiers[tier]
    if ballot not in ("auto", "structured", "token", "scores"):
        raise DataError(
            f'unknown "{ballot}"', where="--ballot", fix="auto, structured, token or scores"
        )
    many = int(framings) if framings.strip().isdigit() else tuple(_split(framings))
    return Plan(
        tuple(dict.fromkeys(names)),
        many or 1,
        samples,
        ballot,  # type: ignore[arg-type] # checked above
        temperature,
    )


def _split(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


async def _go(
    suite: Any,
    plan: Plan,
    out: Path,
    table: PolicyTable,
    prompts: Path | None,
    *,
    dry_run: bool,
    retry_failed: bool,
    max_usd: float | None,
    concurrency: int,
    batch: bool,
    elsewhere: RunOnRay | None,
    quiet: bool,
    as_json: bool,
) -> int:
    from consensus.benchmark.estimate import estimate_run
    from consensus.benchmark.runs import open_run, prepare
    from consensus.models.prices import PriceBook
    from consensus.panel.book import load_prompts

    prices = PriceBook(overrides=table.price_overrides())
    book = load_prompts(prompts)
    if dry_run and not (out / "run.json").exists():
        plan, jobs = await prepare(suite, plan, out, prices=prices, book=book)
        estimate = estimate_run(
            suite, jobs, book=book, prices=prices, table=table, concurrency=concurrency
        )
        _show_estimate(estimate, as_json=as_json, batch=batch)
        return 0
    with await open_run(
        suite,
        plan,
        out,
        table=table,
        prices=prices,
        book=book,
        retry_failed=retry_failed and not dry_run,
    ) as held:
        if dry_run:
            estimate = estimate_run(
                suite,
                held.jobs,
                book=book,
                prices=prices,
                table=table,
                paid=held.paid,
                concurrency=concurrency,
            )
            _show_estimate(estimate, as_json=as_json, batch=batch)
            return 0
        from consensus.cli._batch_notes import batching, not_under_way

        batches = notes = None
        if batch:
            batches, notes = batching(out / "batches.jsonl")
        else:
            not_under_way(out / "batches.jsonl")
        with _Display(held, disable=quiet) as display:
            if notes is not None and not quiet:
                notes.tell = display.say
            if elsewhere is not None and not quiet:
                elsewhere.say = display.say
            outcome = await held.go(
                max_usd=max_usd,
                concurrency=concurrency,
                progress=display.done,
                batch=batches,
                elsewhere=elsewhere,
            )
        if notes is not None and outcome.complete:
            notes.forget()
    if as_json:
        print_json(_as_json(outcome))
    else:
        _show(outcome)
    return _say_what_is_left(outcome, max_usd)


class _Display:
    """A line a model on stderr: done, failed, cost, rate, time left."""

    def __init__(self, run: Run, *, disable: bool) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.run = run
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("[red]{task.fields[failed]} failed"),
            TextColumn("[green]${task.fields[usd]:.4f}"),
            TextColumn("{task.fields[rate]:.1f}/s"),
            TimeRemainingColumn(),
            console=stderr(),
            disable=disable,
        )
        self._rows: dict[str, Any] = {}
        self._failed: dict[str, int] = {}
        self._pico: dict[str, int] = {}
        for model in run.plan.models:
            total = sum(job.model == model for job in run.jobs)
            self._rows[model] = self._progress.add_task(
                model, total=total, failed=0, usd=0.0, rate=0.0
            )
            self._failed[model] = self._pico[model] = 0

    def __enter__(self) -> _Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """A line above the display."""
        self._progress.console.print(text, markup=False, soft_wrap=True)

    def done(self, job: Job, answered: Answered | None) -> None:
        """One job more."""
        if answered is None:
            return
        model = job.model
        self._failed[model] += answered.failure is not None
        self._pico[model] += answered.seat.cost.pico_usd
        row = self._rows[model]
        task = self._progress.tasks[row]
        self._progress.update(
            row,
            advance=1,
            failed=self._failed[model],
            usd=self._pico[model] / PICO,
            rate=task.speed or 0.0,
        )


def _show_estimate(estimate: RunEstimate, *, as_json: bool, batch: bool) -> None:
    if batch:
        note("the estimate is of live calls; batches cost about half of it, and take up to a day")
    if as_json:
        print_json(estimate.to_json())
        return
    from rich.table import Table

    table = Table(title="estimate; nothing was called", title_justify="left", box=None)
    for name in ("model", "wanted", "known", "calls", "tokens in", "out", "$", "at most $", "time"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for row in estimate.models:
        mark = "~" if row.assumed else ""
        table.add_row(
            row.model if row.role == "answers" else f"{row.model} (grades)",
            f"{row.wanted:,}",
            f"{row.known:,}",
            f"{row.calls:,}",
            f"{row.input_tokens:,}",
            f"{mark}{row.output_tokens:,}",
            f"{mark}{row.usd:.4f}",
            f"{row.worst_usd:.4f}",
            f"{mark}{clock(row.seconds)}",
        )
    out = stdout()
    out.print(table)
    out.print(
        f"about ${estimate.usd:.4f} (at most ${estimate.worst_usd:.4f}) and "
        f"{clock(estimate.seconds)}; ${estimate.spent_usd:.4f} is spent already",
        markup=False,
    )
    note("~ assumed: answers as long and as slow as usual; repairs and retries come on top")


def clock(seconds: float) -> str:
    """A stretch of time as people say it."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 3600}:{whole // 60 % 60:02d} h" if whole >= 3600 else f"{whole // 60} min"


def _as_json(outcome: RunOutcome) -> dict[str, Any]:
    return {
        "state": "complete" if outcome.complete else "partial",
        "folder": str(outcome.folder),
        "jobs": outcome.jobs,
        "answers": outcome.answers,
        "over_budget": outcome.over_budget,
        "halted": {model: error.failure for model, error in outcome.halted.items()},
        "calls": outcome.sent,
        "spent_usd": outcome.spent_pico / PICO,
        "models": outcome.models,
    }


def _show(outcome: RunOutcome) -> None:
    from rich.table import Table

    from consensus.statistics import wilson

    table = Table(title=f"{outcome.folder}", title_justify="left", box=None)
    for name in ("model", "answers", "acceptable", "95 %", "failed", "cost", "grading"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for model, row in outcome.models.items():
        share, span = "", ""
        if row["answers"]:
            low, high = wilson(row["passed"], row["answers"])
            share = f"{100 * row['passed'] / row['answers']:.1f} %"
            span = f"{100 * low:.1f} to {100 * high:.1f}"
        failed = ", ".join(f"{count} {why}" for why, count in row["failures"].items())
        table.add_row(
            model,
            f"{row['answers']:,}",
            share,
            span,
            failed or "0",
            f"${row['cost_usd']:.6f}",
            f"${row['grading_usd']:.6f}",
        )
    stdout().print(table)


def _say_what_is_left(outcome: RunOutcome, max_usd: float | None) -> int:
    spent = f"{outcome.sent:,} calls now; ${outcome.spent_pico / PICO:.6f} in all"
    if outcome.complete:
        note(f"complete: {outcome.answers:,} answers; {spent}")
        return 0
    open_ = outcome.jobs - outcome.answers
    note(f"partial: {open_:,} of {outcome.jobs:,} questions are open; {spent}")
    for model, error in outcome.halted.items():
        note(f"error: {model} could not be asked ({error.failure}): {error}")
    if outcome.over_budget:
        note(f"error: --max-usd {max_usd:g} left {outcome.over_budget:,} questions open")
    note("run the same command again to go on")
    return 1
