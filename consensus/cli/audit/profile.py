"""``consensus audit profile``: cases to measure on, before there is any traffic."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.cli._console import note, print_json, stderr, stdout
from consensus.cli.audit._shared import AuditFile, Json, PolicyOption, percent
from consensus.errors import DataError

if TYPE_CHECKING:
    from consensus.benchmark.estimate import RunEstimate
    from consensus.benchmark.synthetic.existing import Existing
    from consensus.benchmark.synthetic.sampling import SamplePlan
    from consensus.benchmark.synthetic.writing import Written
    from consensus.policy.audit.model import Audit
    from consensus.policy.table import PolicyTable

__all__ = ["profile"]


def profile(
    audit: AuditFile = Path("audit.toml"),
    *,
    policy: PolicyOption = None,
    types: Annotated[
        str | None, typer.Option(help="Only these task types, with commas.", show_default=False)
    ] = None,
    cases: Annotated[
        int,
        typer.Option(min=1, help="Sample of the whole system, shared out by traffic; 200 to 500."),
    ] = 300,
    per_category: Annotated[
        int,
        typer.Option(min=0, help="Least for each category without earlier data; 50 to 100."),
    ] = 50,
    certify: Annotated[
        bool, typer.Option(help="Plan for as many cases as the certificates need.")
    ] = True,
    failures: Annotated[
        int,
        typer.Option(min=0, max=2, help="Failures that a certificate's evaluation half may hold."),
    ] = 1,
    tiers: Annotated[
        str | None,
        typer.Option(
            help="Tiers that the run will measure, for the price. Default: all.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Have the missing cases written into this folder. One that holds a part is gone "
            "on with, and nothing is paid twice.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Who writes them; best a strong model.", show_default=False)
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=20,
            help="Cases a request. Default: 4; 1 for local/ models.",
            show_default=False,
        ),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Default: the provider's own.", show_default=False)
    ] = None,
    max_usd: Annotated[
        float | None, typer.Option(min=0, help="The most the folder may cost.", show_default=False)
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 8,
    accept: Annotated[
        Path | None,
        typer.Option(help="Make a suite of a reviewed sheet.", show_default=False),
    ] = None,
    suite: Annotated[
        Path | None, typer.Option(help="With --accept: the suite's folder.", show_default=False)
    ] = None,
    trust_labels: Annotated[
        bool,
        typer.Option(
            "--trust-labels",
            help="With --accept: take rows that nobody reviewed too; the suite says so.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --accept: write over the suite.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress display.")] = False,
    as_json: Json = False,
) -> None:
    """Plan the sample, have cases written, and make a suite of those that a person accepted.

    Without --out: the plan, the certificates' needs and the price; nothing is asked.
    With --out: a model writes the missing cases; they stand in sheet.csv for a person.
    With --accept: reviewed rows become a suite. A row that nobody reviewed never does.

    Example:
      consensus audit profile
      consensus audit profile --out profiling --model anthropic/claude-opus-5-5
      consensus audit profile --accept profiling/sheet.csv --suite benchmarks/shop
      consensus bench run benchmarks/shop --out runs/shop
    """
    from consensus.benchmark.synthetic.existing import existing_cases
    from consensus.benchmark.synthetic.sampling import plan_sample
    from consensus.policy.audit.model import load_audit
    from consensus.policy.load import load_policy

    if accept is not None and out is not None:
        raise typer.BadParameter("give either --out or --accept")
    loaded = load_audit(audit)
    table = load_policy(policy)
    if accept is not None:
        _accept(
            loaded, table, accept, suite, trust_labels=trust_labels, force=force, as_json=as_json
        )
        return
    known = existing_cases(loaded)
    plan = plan_sample(
        loaded,
        table=table,
        types=tuple(_split(types)),
        cases=cases,
        per_category=per_category,
        certify=certify,
        failures=failures,
        have=known.counts,
    )
    if out is None:
        _show_plan(loaded, plan, table, policy, tiers, model, batch, as_json=as_json)
        return
    if model is None:
        raise DataError(
            "nobody is named who writes the cases", where="--model", fix=_models_of(table)
        )
    asyncio.run(
        _write(
            loaded, plan, table, policy, out, model, known, batch, temperature, max_usd,
            concurrency, audit=audit, quiet=quiet, as_json=as_json,
        )
    )  # fmt: skip


def _split(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _models_of(table: PolicyTable) -> str:
    tiers = [models[-1] for models in table.tiers.values() if models]
    return f"--model {tiers[-1]}" if tiers else "--model PROVIDER/NAME"


# -- the plan --------------------------------------------------------------------------------------


def _show_plan(
    audit: Audit,
    plan: SamplePlan,
    table: PolicyTable,
    policy: Path | None,
    tiers: str | None,
    model: str | None,
    batch: int | None,
    *,
    as_json: bool,
) -> None:
    from consensus.benchmark.synthetic.pricing import estimate_profiling
    from consensus.benchmark.synthetic.words import load_words
    from consensus.benchmark.synthetic.writing import estimate_writing
    from consensus.models.prices import PriceBook
    from consensus.panel.book import load_prompts
    from consensus.policy.load import find_policy, find_prompts

    wanted = _split(tiers) or list(table.tiers)
    for tier in wanted:
        if tier not in table.tiers:
            raise DataError(
                f'the policy has no tier "{tier}"',
                where="--tiers",
                fix=f"one of {', '.join(table.tiers)}",
            )
    models = list(dict.fromkeys(name for tier in wanted for name in table.tiers[tier]))
    prompts = find_prompts(find_policy(policy))
    book = load_prompts(prompts)
    prices = PriceBook(overrides=table.price_overrides())
    run = estimate_profiling(audit, plan, models, table=table, prices=prices, book=book)
    writing = None
    if model is not None and plan.missing:
        writing = estimate_writing(
            audit, plan, model=model, table=table, prices=prices, book=book,
            words=load_words(prompts), batch=batch,
        )  # fmt: skip
    if as_json:
        print_json(
            {
                "audit": audit.source,
                "wanted": plan.wanted,
                "missing": plan.missing,
                "types": plan.to_json(),
                "writing": None if writing is None else writing.to_json(),
                "run": run.to_json(),
            }
        )
        return
    _print_plan(plan)
    out = stdout()
    out.print()
    if writing is not None:
        out.print(f"writing {plan.missing:,} cases: {_price(writing)}", markup=False)
    out.print(
        f"measuring {plan.wanted:,} cases on {len(models)} models: {_price(run)}", markup=False
    )
    for each in run.models:
        what = each.model if each.role == "answers" else f"{each.model} (grades)"
        out.print(f"  {what}: {each.calls:,} calls, about ${each.usd:.4f}", markup=False)
    note("lengths are the audit's medians; nothing was asked")
    who = model or "MODEL"
    note(f"next: consensus audit profile --out profiling --model {who}")


def _price(estimate: RunEstimate) -> str:
    from consensus.cli.bench.run import clock

    return (
        f"about ${estimate.usd:.4f} (at most ${estimate.worst_usd:.4f}), {clock(estimate.seconds)}"
    )


def _print_plan(plan: SamplePlan) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=f"{plan.wanted:,} cases wanted, {plan.missing:,} to be written",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in (
        "type", "traffic", "by traffic", "by category", "by certificate", "floor", "cases 0/1/2",
        "wanted", "misleading", "there", "missing",
    ):  # fmt: skip
        table.add_column(name, justify="left" if name == "type" else "right")
    for each in plan.types:
        zero, one, two = each.need.cases
        table.add_row(
            escape(each.name),
            percent(each.share),
            f"{each.by_traffic:,}",
            f"{each.by_category:,}",
            f"{each.by_certificate:,}" if each.by_certificate else "not planned",
            f"{each.need.floor:g}, δ {each.need.delta:g}",
            f"{zero}/{one}/{two}",
            f"{each.wanted:,}",
            f"{sum(cell.wanted for cell in each.cells if cell.adversarial):,}",
            f"{each.have:,}",
            f"{each.missing:,}",
        )
        for category in dict.fromkeys(cell.category for cell in each.cells if cell.category):
            cells = [cell for cell in each.cells if cell.category == category]
            table.add_row(
                f"  {escape(category)}",
                percent(sum(cell.share for cell in cells)),
                *[""] * 5,
                f"{sum(cell.wanted for cell in cells):,}",
                f"{sum(cell.wanted for cell in cells if cell.adversarial):,}",
                f"{sum(min(cell.have, cell.wanted) for cell in cells):,}",
                f"{sum(cell.missing for cell in cells):,}",
            )
    stdout().print(table)
    note(
        "cases 0/1/2: evaluation cases with which the bound can clear the floor at 0, 1 and 2 "
        "failures; a run has twice as many, since one half chooses the route"
    )


# -- writing ---------------------------------------------------------------------------------------


async def _write(
    loaded: Audit,
    plan: SamplePlan,
    table: PolicyTable,
    policy: Path | None,
    out: Path,
    model: str,
    known: Existing,
    batch: int | None,
    temperature: float | None,
    max_usd: float | None,
    concurrency: int,
    *,
    audit: Path,
    quiet: bool,
    as_json: bool,
) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from consensus.benchmark.synthetic.batches import asked_of
    from consensus.benchmark.synthetic.sheet import SHEET, write_sheet
    from consensus.benchmark.synthetic.words import load_words
    from consensus.benchmark.synthetic.writing import write_candidates
    from consensus.models.prices import PriceBook
    from consensus.panel.book import load_prompts
    from consensus.policy.load import find_policy, find_prompts

    prompts = find_prompts(find_policy(policy))
    asked = {each.name: asked_of(loaded, each.name, table) for each in plan.types}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        console=stderr(),
        disable=quiet,
    ) as display:
        bars = {
            cell.name: display.add_task(cell.name, total=cell.missing)
            for cell in plan.cells
            if cell.missing
        }
        written = await write_candidates(
            loaded,
            plan,
            out,
            model=model,
            table=table,
            prices=PriceBook(overrides=table.price_overrides()),
            book=load_prompts(prompts),
            words=load_words(prompts),
            known=known.texts,
            batch=batch,
            temperature=temperature,
            max_usd=max_usd,
            concurrency=concurrency,
            progress=lambda cell, count: display.update(bars[cell.name], completed=count),
        )
    sheet = out / SHEET
    new, rows = write_sheet(sheet, written.candidates, asked)
    if as_json:
        print_json({**written.to_json(), "sheet": str(sheet), "new_rows": new, "rows": rows})
    else:
        _print_written(written)
    note(f"{sheet}: {rows} rows, {new} of them new; the labels in it are proposals")
    if written.halted is not None:
        note(f"error: {model} could not be asked to the end: {written.halted}")
    if written.over_budget:
        note(f"error: --max-usd {max_usd:g} ended it")
    if not written.complete:
        note("run the same command again to go on")
        raise typer.Exit(1)
    if not rows:
        note(f"error: {model} wrote no case that is of use; name a stronger --model")
        raise typer.Exit(1)
    where = "" if audit == Path("audit.toml") else f"{audit} "
    note(
        'next: a person fills "verdict" (use / drop) or "label", then\n'
        f"  consensus audit profile {where}--accept {sheet} --suite benchmarks/{_slug(loaded)}"
    )


def _slug(audit: Audit) -> str:
    first = next(iter(audit.tasks), "suite")
    return first if len(audit.tasks) == 1 else "profile"


def _print_written(written: Written) -> None:
    from rich.markup import escape
    from rich.table import Table

    from consensus.ballots import PICO

    table = Table(
        title=f"{len(written.candidates)} usable cases", title_justify="left", box=None,
        pad_edge=False,
    )  # fmt: skip
    for name in ("type", "usable", "of written", "refused"):
        table.add_column(name, justify="left" if name in ("type", "refused") else "right")
    usable = written.to_json()["by_type"]
    for name, refused in written.refused.items():
        kept = usable.get(name, 0)
        seen = kept + sum(refused.values())
        table.add_row(
            escape(name),
            str(kept),
            percent(kept / seen) if seen else "",
            ", ".join(f"{count} {why}" for why, count in sorted(refused.items())),
        )
    out = stdout()
    out.print(table)
    if written.failed:
        why = ", ".join(f"{count} {name}" for name, count in sorted(written.failed.items()))
        out.print(f"replies that held no cases: {why}", markup=False)
    for name, lacking in written.short.items():
        out.print(f"short of {lacking}: {name}", markup=False)
    if written.short and written.complete:
        note("what is short was given up: a stronger --model, or cases written by hand")
    note(f"{written.sent:,} calls now; ${written.spent_pico / PICO:.6f} in all")


# -- accepting -------------------------------------------------------------------------------------


def _accept(
    audit: Audit,
    table: PolicyTable,
    sheet: Path,
    suite: Path | None,
    *,
    trust_labels: bool,
    force: bool,
    as_json: bool,
) -> None:
    from consensus.benchmark.synthetic.accepting import accept
    from consensus.benchmark.synthetic.batches import Asked, asked_of
    from consensus.benchmark.synthetic.sheet import read_reviewed
    from consensus.errors import PolicyError

    if suite is None:
        raise DataError("is not said", where="--suite", fix=f"--suite benchmarks/{_slug(audit)}")
    asked: dict[str, Asked] = {}
    for name in audit.tasks:
        try:
            asked[name] = asked_of(audit, name, table)
        except PolicyError:
            continue  # its cases could not be written either; a row of it is refused
    rows = read_reviewed(sheet, asked)
    made = accept(
        rows,
        suite,
        audit=audit,
        asked=asked,
        table=table,
        trust_labels=trust_labels,
        replace_suite=force,
    )
    counts = dict(made.counts)
    if as_json:
        print_json(
            {
                "suite": str(suite),
                "cases": len(made.suite.cases),
                "sha256": made.suite.sha256,
                "rows": counts,
                "notes": made.notes,
            }
        )
    else:
        out: Any = stdout()
        out.print(f"{suite}: {len(made.suite.cases)} cases", markup=False)
        for what in ("confirmed", "corrected", "edited", "drop", "unreviewed"):
            if counts.get(what):
                out.print(f"  {counts[what]} {'dropped' if what == 'drop' else what}")
    for text in made.notes:
        note(f"note: {text}")
    note(f"next: consensus bench run {suite} --out runs/{suite.name} --dry-run")
