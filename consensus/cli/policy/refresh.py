"""``consensus policy refresh``: the loop again, after a new model or a new price."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.ballots import PICO
from consensus.cli._console import note, print_json, stdout
from consensus.cli.policy._shared import Json, PolicyOption, prompts_of

if TYPE_CHECKING:
    from consensus.benchmark.estimate import RunEstimate
    from consensus.benchmark.proposals.refreshing import Touched

__all__ = ["refresh"]


def refresh(
    run: Annotated[
        Path | None,
        typer.Option(
            help="The run that the rows rest on; the same folder grows.", show_default=False
        ),
    ] = None,
    *,
    labelled: Annotated[
        bool,
        typer.Option(
            "--labelled",
            help="Instead of a run: certify the rows as they stand by the labels that people gave "
            "production's decisions (consensus ledger label, queue), weighted by one over the "
            "chance that a decision had to be looked at.",
        ),
    ] = False,
    share: Annotated[
        float | None,
        typer.Option(
            "--audit",
            help="With --labelled: only the decisions that an audit of this share draws count "
            "(consensus ledger queue --audit). Default: every label by its own chance.",
            show_default=False,
        ),
    ] = None,
    least: Annotated[
        float | None,
        typer.Option(
            help="With --labelled: the smallest chance that any decision had to be looked at. "
            "Default: the smallest among the labels.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="With --labelled: decisions from this day on, or an age: 30d."),
    ] = None,
    task_type: Annotated[
        list[str] | None,
        typer.Option(
            "--type", help="With --labelled: only this type; repeatable.", show_default=False
        ),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(
            help="With --labelled: the ledger. Default: the policy's.", show_default=False
        ),
    ] = None,
    new_model: Annotated[
        str | None,
        typer.Option(
            help="A model to put the run's cases to. Without it only changed prices and dead "
            "certificates are looked at.",
            show_default=False,
        ),
    ] = None,
    policy: PolicyOption = None,
    frontier: Annotated[str | None, typer.Option(help="As in propose.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="Of the halves.")] = 0,
    max_usd: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="The most this folder may ever cost, earlier parts included.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is touched and what it costs; call nothing.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where the proposal is written.")] = Path(
        "proposal.json"
    ),
    as_json: Json = False,
) -> int:
    """Measure what a new model or price touches, and propose the change.

    Only the new model is asked, in the folder of the run that the rows rest on; interrupted, the
    same command goes on where it was.

    Example:
      consensus policy refresh --new-model anthropic/claude-haiku-6 --run runs/refunds --dry-run
      consensus policy refresh --labelled --audit 0.05 --since 30d --type refund_approval
    """
    from consensus.benchmark.proposals.model import save_proposal
    from consensus.benchmark.proposals.propose import propose
    from consensus.benchmark.proposals.refreshing import (
        ask_new_model,
        estimate_new_model,
        touched_rows,
    )
    from consensus.benchmark.proposals.settings import ProposalSettings
    from consensus.cli.policy.check import current_state
    from consensus.cli.policy.propose import audit_of, show_proposal
    from consensus.policy.load import find_policy, load_policy

    folder = find_policy(policy)
    book = prompts_of(folder)
    table = load_policy(folder, prompts=book)
    if labelled:
        if run is not None or new_model is not None:
            raise typer.BadParameter("--labelled asks no model and needs no --run")
        from consensus.benchmark.proposals.renewing import LabelSettings, renew
        from consensus.cli._time import moment
        from consensus.cli.ledger._shared import opened

        settings = LabelSettings(
            datetime.now(UTC).date(),
            tuple(task_type) if task_type else None,
            share,
            least,
            moment(since),
        )
        with opened(ledger, folder) as kept:
            renewed = renew(kept, table, settings, book=book, audit=audit_of(None, folder))
        save_proposal(renewed, out)
        show_proposal(renewed, out, as_json=as_json)
        return 0
    if run is None:
        raise typer.BadParameter("name the run (--run), or --labelled")
    touched = touched_rows(
        table, run, new_model=new_model, current=current_state(table, folder, book)
    )
    if dry_run:
        estimate = None
        if new_model is not None and touched:
            estimate = asyncio.run(estimate_new_model(run, new_model, table=table, book=book))
        _show_plan(touched, estimate, as_json=as_json)
        return 0
    for row in touched:
        note(f"{row.task_type}: {'; '.join(row.why)}")
    if not touched:
        note("nothing is touched")
        if as_json:
            print_json({"touched": [], "proposal": None})
        return 0
    if new_model is not None:
        outcome = asyncio.run(
            ask_new_model(run, new_model, table=table, book=book, max_usd=max_usd)
        )
        note(f"{outcome.sent:,} calls; this folder has cost ${outcome.spent_pico / PICO:.6f}")
        for model, error in outcome.halted.items():
            note(f"error: {model} could not be asked ({error.failure}): {error}")
        if not outcome.complete:
            note(f"partial: {outcome.jobs - outcome.answers:,} questions are open; run it again")
            return 1
    proposal = propose(
        run,
        table,
        ProposalSettings(
            today=datetime.now(UTC).date(),
            frontier=frontier,
            seed=seed,
            types=tuple(row.task_type for row in touched),
        ),
        book=book,
        audit=audit_of(None, folder),
        progress=note,
    )
    save_proposal(proposal, out)
    show_proposal(proposal, out, as_json=as_json)
    return 0


def _show_plan(
    touched: tuple[Touched, ...], estimate: RunEstimate | None, *, as_json: bool
) -> None:
    if as_json:
        data: dict[str, Any] = {
            "touched": {row.task_type: list(row.why) for row in touched},
            "estimate": None if estimate is None else estimate.to_json(),
        }
        print_json(data)
        return
    for row in touched:
        stdout().print(f"{row.task_type}: {'; '.join(row.why)}", markup=False, soft_wrap=True)
    if not touched:
        note("nothing is touched")
    if estimate is not None:
        calls = sum(model.calls for model in estimate.models)
        note(
            f"{calls:,} calls, about ${estimate.usd:.4f} (at most ${estimate.worst_usd:.4f}); "
            f"${estimate.spent_usd:.4f} is spent already; nothing was called"
        )
