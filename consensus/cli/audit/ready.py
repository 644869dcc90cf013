"""``consensus audit ready``: what is still open before the first request."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consensus.cli._console import note, print_json, stdout
from consensus.cli.audit._shared import AuditFile, Json, PolicyOption, own_policy

if TYPE_CHECKING:
    from consensus.benchmark.readiness import Ground, Readiness

__all__ = ["ready"]

PROJECTIONS = ("projection.json", "benchmarks/projection.json", "reports/projection.json")


def ready(
    audit: AuditFile = Path("audit.toml"),
    *,
    policy: PolicyOption = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(help="Run folders. Default: those in runs/.", show_default=False),
    ] = None,
    projection: Annotated[
        Path | None,
        typer.Option(
            help="A file of cost project --json. Default: projection.json here, in benchmarks/ or "
            "reports/.",
            show_default=False,
        ),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="The ledger; the policy's or the usual one.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove the ten items of the pre-launch checklist by what is on disk. Exit 1 while one is open.

    Each open item says what is missing and the command or key that closes it.

    Example:
      consensus audit ready && echo launch
    """
    from consensus.benchmark.readiness import readiness

    found = readiness(_ground(audit, policy, run, projection, ledger))
    if as_json:
        print_json(found.to_json())
    else:
        _show(found)
    if not found.ready:
        raise typer.Exit(1)


def _ground(
    audit: Path,
    policy: Path | None,
    run: list[Path] | None,
    projection: Path | None,
    ledger: Path | None,
) -> Ground:
    from consensus.benchmark.readiness import Ground
    from consensus.benchmark.readiness.seen import look
    from consensus.errors import ConsensusError, PolicyError
    from consensus.ledger.place import ledger_path
    from consensus.models.prices import PriceBook
    from consensus.panel.book import load_prompts
    from consensus.policy.audit.model import Audit, load_audit
    from consensus.policy.load import find_policy, find_prompts
    from consensus.policy.table import PolicyTable

    loaded, table, problem = Audit(), PolicyTable(), None
    try:
        loaded = load_audit(audit)
    except PolicyError as error:
        problem = str(error), "consensus audit init"
    try:
        table = own_policy(policy) or table
    except ConsensusError as error:
        problem = problem or (str(error), "consensus policy check")
    if projection is None:
        projection = next((Path(p) for p in PROJECTIONS if Path(p).is_file()), None)
    where = ledger_path(ledger, declared=table.ledger.place)
    return Ground(
        loaded,
        table,
        load_prompts(find_prompts(find_policy(policy))),
        PriceBook(overrides=table.price_overrides()),
        datetime.now(UTC).date(),
        audit,
        tuple(run or sorted(each.parent for each in Path("runs").glob("*/run.json"))),
        projection,
        look(where),
        where,
        problem,
    )


def _show(found: Readiness) -> None:
    from rich.markup import escape

    out = stdout()
    for item in found.items:
        mark = "[green]closed[/]" if item.closed else "[red]open  [/]"
        out.print(f"{mark} {item.number:2} {item.title}")
        for text in item.evidence:
            out.print(f"           [dim]{escape(text)}[/]", soft_wrap=True)
        for text in item.missing:
            out.print(f"         ✗ {escape(text)}", soft_wrap=True)
        for text in item.close:
            out.print(f"         → {escape(text)}", soft_wrap=True)
    closed = sum(item.closed for item in found.items)
    note("ready" if found.ready else f"{closed} of {len(found.items)} closed; not ready")
