"""``consensus cost project``: what a month will cost, before and after, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from consensus.benchmark.projection import (
        Classifier,
        Flow,
        Measurement,
        Projection,
        WhatIf,
    )
    from consensus.policy.table import PolicyTable

__all__ = ["project"]


def project(
    audit: Annotated[
        Path | None,
        typer.Option(
            help="The audit with the expected traffic. Default: audit.toml here; without one, the "
            "traffic that the ledger saw.",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="Folder or file; strategies/ here, else the shipped defaults.", show_default=False
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            help="Measure the rows on this run's answers instead of by their profiles.",
            show_default=False,
        ),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            "--as",
            help="RECORDED=NAME: the policy's name of a model or option of --run; repeatable.",
            show_default=False,
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(help="Of a recording with other prompts: which one.", show_default=False),
    ] = None,
    proposal: Annotated[
        Path | None,
        typer.Option(
            help="What if: this proposal of consensus policy propose were accepted.",
            show_default=False,
        ),
    ] = None,
    volume: Annotated[
        list[str] | None,
        typer.Option(help="What if: x2 for all, or TYPE=20000 a month.", show_default=False),
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(
            help="What if: MODEL=IN,OUT in dollars per million tokens.", show_default=False
        ),
    ] = None,
    cached: Annotated[
        float | None,
        typer.Option(
            help="What if: this share of the input, 0 to 1, is read from a cache.",
            show_default=False,
        ),
    ] = None,
    classifier: Annotated[
        str, typer.Option(help="A content classifier's cost: QUERY[,MONTH] in dollars.")
    ] = "0.002",
    frontier: Annotated[
        str | None,
        typer.Option(
            help="The model of before. Default: the first of the policy's tier frontier.",
            show_default=False,
        ),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="Take the traffic from this ledger, not the audit.", show_default=False),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="The ledger's traffic from this moment on: 7d …", show_default=False),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write one self-contained page.", show_default=False)
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write every line as a CSV file.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the JSON document to a file.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    seed: Annotated[int, typer.Option(help="Of the intervals.")] = 0,
) -> None:
    """Project what the expected traffic costs a month, all-frontier and by the policy's routes.

    A row with a profile (or --run) is measured and has an interval. A row without one is expected
    tokens at list prices, and is said to be assumed wherever it is shown.

    Example:
      consensus cost project --html projection.html
      consensus cost project --run runs/profile --volume x2 --price openai/gpt-5.4-nano=0.1,0.4
    """
    from consensus.benchmark.projection import (
        parse_what_if,
        projection_json,
        projection_table,
        render_projection,
    )
    from consensus.benchmark.projection import project as work_out
    from consensus.cli._console import note
    from consensus.cli._files import write_text
    from consensus.cli.cost._tables import write_sheet
    from consensus.ledger.page import safe_json
    from consensus.policy.load import load_policy

    table = load_policy(policy)
    what_if = parse_what_if(volume or (), price or (), cached)
    flows, measured, where = _traffic(table, audit, policy, ledger, since)
    changed = table
    otherwise: tuple[str, ...] = ()
    replaced: set[str] = set()
    if proposal is not None:
        if run is not None:
            raise typer.BadParameter("give --run or --proposal: a proposal brings its own figures")
        changed, otherwise, replaced = _proposed(table, proposal)
    if run is not None:
        from consensus.benchmark.projection.replayed import measure_routes
        from consensus.cli.policy.propose import names_of
        from consensus.panel.book import load_prompts
        from consensus.policy.estimate import frontier_model
        from consensus.policy.load import find_policy, find_prompts

        prompts = load_prompts(find_prompts(find_policy(policy)))
        names = [flow.task_type for flow in flows]
        top = frontier or frontier_model(table)
        found, missing = measure_routes(
            run, table, prompts, names, frontier=top, called=names_of(rename), variant=variant
        )
        measured |= found
        for line in missing:
            note(f"not measured: {line}")

    def worked(table: PolicyTable, what_if: WhatIf | None, said: tuple[str, ...]) -> Projection:
        # What the ledger saw of a route says nothing of the row that would replace it.
        gone = replaced if table is changed else set()
        return work_out(
            table,
            flows,
            measurements={name: one for name, one in measured.items() if name not in gone},
            what_if=what_if,
            otherwise=said,
            classifier=_classifier(classifier),
            frontier=frontier,
            traffic=where,
            seed=seed,
        )

    result = worked(changed, what_if, otherwise)
    base = worked(table, None, ()) if what_if or otherwise else None
    text = safe_json(projection_json(result)) + "\n"
    if html is not None:
        write_text(html, render_projection(result, base))
    if csv is not None:
        write_sheet(csv, *projection_table(result))
    if out is not None:
        write_text(out, text)
    if "-" in (str(html), str(csv), str(out)):
        return  # stdout has what was asked for, and nothing else
    if as_json:
        typer.echo(text, nl=False)
        return
    _show(result, base)


def _traffic(
    table: PolicyTable,
    audit: Path | None,
    policy: Path | None,
    ledger: Path | None,
    since: str | None,
) -> tuple[tuple[Flow, ...], dict[str, Measurement], str]:
    """The expected traffic, what the ledger measured of it, and where it comes from."""
    from consensus.benchmark.projection import observe, traffic_of
    from consensus.cli._time import moment
    from consensus.policy.audit.model import AUDIT_FILE, load_audit

    if audit is not None and ledger is not None:
        raise typer.BadParameter("give --audit or --ledger, not both")
    here = Path(AUDIT_FILE)
    if audit is not None or (ledger is None and here.exists()):
        if since is not None:
            raise typer.BadParameter("--since is of a ledger's traffic; an audit has none")
        place = audit or here
        return traffic_of(load_audit(place)), {}, str(place)
    from consensus.errors import DeclarationError
    from consensus.ledger.place import ledger_path
    from consensus.ledger.store import Ledger

    book_at = ledger_path(ledger, policy=policy)
    if ledger is None and not book_at.exists():
        raise DeclarationError(
            "neither an audit nor a ledger is here",
            where=AUDIT_FILE,
            fix="consensus audit init writes an audit; --audit and --ledger name others",
        )
    with Ledger(book_at, must_exist=True) as book:
        seen = observe(book, table, since=moment(since))
    return seen.flows, seen.measurements, seen.words


def _proposed(table: PolicyTable, path: Path) -> tuple[PolicyTable, tuple[str, ...], set[str]]:
    """The table with the proposal's rows, what is then otherwise, and of which task types."""
    from consensus.benchmark.projection.proposed import with_proposal
    from consensus.benchmark.proposals.model import load_proposal

    proposal = load_proposal(path)
    count = len(proposal.rows)
    said = f"{count} {'row' if count == 1 else 'rows'} of {path} accepted"
    names = {row.task_type for row in proposal.rows}
    return with_proposal(table, proposal), (said,), names


def _classifier(text: str) -> Classifier:
    from consensus.benchmark.projection import Classifier

    try:
        query, *month = (float(part) for part in text.split(","))
    except ValueError:
        query, month = -1.0, []
    if len(month) > 1 or query < 0 or any(value < 0 for value in month):
        raise typer.BadParameter(f"--classifier {text!r} is not QUERY or QUERY,MONTH in dollars")
    return Classifier(query, *month)


def _show(found: Projection, base: Projection | None) -> None:
    from consensus.benchmark.projection.words import break_even_sentences, usd, verdict
    from consensus.cli._console import stdout
    from consensus.cli.cost._tables import line_table, split_words

    out = stdout()
    _, head, rest = verdict(found)
    total = found.total

    def say(text: str, style: str = "") -> None:
        out.print(text, markup=False, style=style, soft_wrap=True)

    say(head, "bold")
    say(rest)
    if found.what_if and base is not None:
        say(
            f"What if: {'; '.join(found.what_if)}. Without it {usd(base.total.after)} a month "
            f"instead of {usd(base.total.before)}."
        )
    say(f"{total.monthly:,.0f} requests a month ({found.traffic}), dollars a month:\n")
    out.print(line_table("group", found.groups, total))
    say("")
    out.print(line_table("task type", found.types))
    if any(not line.before_measured for line in found.types):
        say("* list price of one call, not measured", "dim")
    say("")
    for line in split_words(found):
        say(line)
    for kind in found.types:
        cascade = kind.cascade
        if cascade is None or cascade.break_even is None:
            continue
        seen = "not observed" if cascade.rate is None else f"{100 * cascade.rate:.1f} % observed"
        say(
            f"{kind.name}: its cascade pays below {100 * max(0.0, cascade.break_even):.1f} % "
            f"escalation; {seen}: {cascade.ruling}"
        )
    for sentence in break_even_sentences(found):
        say(sentence)
    for line in found.notes:
        say(line)
    for kind in found.types:
        for line in kind.notes:
            if kind.n:
                say(f"{kind.name}: {line}")
