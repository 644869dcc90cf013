"""``consensus policy propose``: from a run to a table whose rows are earned."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consensus.cli._console import note, print_json, stdout
from consensus.cli.policy._shared import Json, PolicyOption, prompts_of
from consensus.errors import DataError

if TYPE_CHECKING:
    from consensus.benchmark.proposals.model import Proposal
    from consensus.policy.audit.model import Audit

__all__ = ["audit_of", "names_of", "propose", "show_proposal", "split"]


def propose(
    run: Annotated[Path, typer.Argument(help="A run of consensus bench, or recorded answers.")],
    *,
    policy: PolicyOption = None,
    audit: Annotated[
        Path | None,
        typer.Option(
            help="The audit: volumes, and consequences of new task types. Default: audit.toml "
            "beside the policy's folder, if there is one.",
            show_default=False,
        ),
    ] = None,
    frontier: Annotated[
        str | None,
        typer.Option(
            help="The model to compare with. Default: the policy's tier frontier, else the "
            "dearest model of the run.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            help="Who names candidates: search (all of them), or the engine's own agents, judging "
            "the audit: single, consensus, debate. Replay and certificate decide either way."
        ),
    ] = "search",
    calibrate: Annotated[
        str, typer.Option(help="half: choose on one half of the cases, certify on the other.")
    ] = "half",
    seed: Annotated[int, typer.Option(help="Of the halves.")] = 0,
    task_type: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only this task type; repeatable.", show_default=False),
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Only these models, with commas.", show_default=False)
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(help="Of a recording with other prompts: which one.", show_default=False),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            "--as",
            help="RECORDED=NAME: the policy's name of a recorded model or option; repeatable.",
            show_default=False,
        ),
    ] = None,
    grid: Annotated[
        bool,
        typer.Option(
            "--grid",
            help="Learn-then-Test over all candidates worth a test, in place of the fixed "
            "sequence from the strongest downward.",
        ),
    ] = False,
    out: Annotated[
        Path, typer.Option(help="Where the proposal is written, for consensus policy accept.")
    ] = Path("proposal.json"),
    markdown: Annotated[
        Path | None,
        typer.Option("--md", help="Also as Markdown, for a pull request.", show_default=False),
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--html", help="Also as one HTML page.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Propose a row for every task type of a run: the cheapest route that its evidence allows.

    Candidates (single models, votes, cascades, calibrated panels, coins between two) are measured
    as the engine would serve them, chosen on half of the cases, and certified on the other half
    against the floor of their consequence. What is slower than the audit allows is left
    out. Nothing is called, except by --by single, consensus or debate.

    Example:
      consensus policy propose runs/refunds --out proposal.json
      consensus policy accept proposal.json
    """
    from consensus.benchmark.proposals.model import save_proposal
    from consensus.benchmark.proposals.pages import render_html, render_markdown
    from consensus.benchmark.proposals.propose import propose as propose_rows
    from consensus.benchmark.proposals.settings import ProposalSettings
    from consensus.policy.load import find_policy, load_policy

    if calibrate != "half":
        raise DataError(f'unknown "{calibrate}"', where="--calibrate", fix="half")
    folder = find_policy(policy)
    book = prompts_of(folder)
    table = load_policy(folder, prompts=book)
    asked = audit_of(audit, folder)
    namer = None
    if by != "search":
        from consensus.benchmark.proposals.judges import namer_of

        namer = namer_of(by, asked, told=note)
    settings = ProposalSettings(
        today=datetime.now(UTC).date(),
        frontier=frontier,
        seed=seed,
        names=names_of(rename),
        models=tuple(split(models)) or None,
        types=tuple(task_type) if task_type else None,
        variant=variant,
        grid=grid,
        by=by,
        namer=namer,
    )
    proposal = propose_rows(run, table, settings, book=book, audit=asked, progress=note)
    save_proposal(proposal, out)
    if markdown is not None:
        markdown.write_text(render_markdown(proposal), encoding="utf-8")
    if page is not None:
        page.write_text(render_html(proposal), encoding="utf-8")
    show_proposal(proposal, out, as_json=as_json)


def audit_of(named: Path | None, policy: Path) -> Audit | None:
    """The audit named, else the project's own, else none."""
    from consensus.policy.audit.model import AUDIT_FILE, load_audit

    if named is not None:
        return load_audit(named)
    root = (policy if policy.is_dir() else policy.parent).parent
    for place in (root / AUDIT_FILE, Path(AUDIT_FILE)):
        if place.exists():
            return load_audit(place)
    return None


def show_proposal(proposal: Proposal, out: Path, *, as_json: bool) -> None:
    """The proposal on stdout, and what to do next on stderr."""
    if as_json:
        print_json(proposal.model_dump(mode="json"))
    else:
        _show(proposal)
    for name, why in sorted(proposal.skipped.items()):
        note(f"skipped {name}: {why}")
    for text in proposal.notes:
        note(f"note: {text}")
    note(f"wrote {out}; next: consensus policy accept {out}")


def _show(proposal: Proposal) -> None:
    from rich.markup import escape
    from rich.table import Table

    from consensus.benchmark.proposals.pages import beside, diff_lines, headline

    console = stdout()
    colours = {"certified": "green", "provisional": "yellow"}
    for row in proposal.rows:
        colour = colours.get(row.status, "red")
        console.print(f"[bold {colour}]{escape(headline(row))}[/]", soft_wrap=True)
        for line in diff_lines(row):
            style = {"+": "green", "-": "red"}.get(line[0], "dim")
            console.print(f"  [{style}]{escape(line)}[/]", soft_wrap=True)
        for text in row.why:
            console.print(f"  because {escape(text)}", soft_wrap=True)
        if row.servable:
            console.print(f"  [red]cannot be accepted:[/] {escape(row.servable)}", soft_wrap=True)
        head, rows = beside(row)
        grid = Table(box=None, pad_edge=False, header_style="dim")
        for place, name in enumerate(head):
            grid.add_column(name, justify="right" if place else "left")
        for cells in rows:
            grid.add_row(*(escape(cell) for cell in cells))
        console.print(grid)
        console.print()


def names_of(pairs: list[str] | None) -> dict[str, str]:
    """``RECORDED=NAME`` pairs as a mapping."""
    names = {}
    for pair in pairs or []:
        recorded, sign, name = pair.partition("=")
        if not (sign and recorded and name):
            raise DataError(f'"{pair}" is not RECORDED=NAME', where="--as")
        names[recorded] = name
    return names


def split(text: str | None) -> list[str]:
    """Names between commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]
