"""``consensus audit init``: an audit.toml that teaches, with what is known already."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consensus.cli._console import note, print_json
from consensus.cli.audit._shared import PolicyOption, own_policy
from consensus.errors import DeclarationError

if TYPE_CHECKING:
    from consensus.policy.audit.draft import Known

__all__ = ["init"]


def init(
    file: Annotated[Path, typer.Argument(metavar="[AUDIT]", help="Written; never over one.")] = (
        Path("audit.toml")
    ),
    *,
    policy: PolicyOption = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="A ledger: volumes and lengths of its last thirty days."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="A folder of bench import or bench run: types and lengths."),
    ] = None,
    blank: Annotated[
        bool, typer.Option("--blank", help="One worked example; look at nothing here.")
    ] = False,
    system: Annotated[str, typer.Option(help="What the product is, in a sentence.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a commented audit.toml, filled in from the policy, the ledger and a run.

    What only a person can know stays empty: owners, consequences, what a wrong answer does.
    `consensus audit check` then lists it.

    Example:
      consensus bench import logs.jsonl --out imported
      consensus audit init --run imported
    """
    from consensus.policy.audit.draft import audit_text

    if file.exists():
        raise DeclarationError("is there already", where=str(file), fix="name another file")
    known = [] if blank else _known(policy, ledger, run)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(audit_text(known, system=system), encoding="utf-8")
    except OSError as error:
        raise DeclarationError(f"cannot be written: {error.strerror}", where=str(file)) from error
    if as_json:
        print_json({"file": str(file), "tasks": {each.name: each.source for each in known}})
        return
    what = f"{len(known)} task types" if known else "one worked example"
    note(f"wrote {file}: {what}")
    for each in known:
        note(f"  {each.name}: {each.source}")
    note(f"next: fill it in, then consensus audit check {file}".replace(" audit.toml", ""))


def _known(policy: Path | None, ledger: Path | None, run: Path | None) -> list[Known]:
    from consensus.benchmark.prefill import from_ledger, from_run
    from consensus.ledger import Ledger
    from consensus.ledger.place import ledger_path
    from consensus.policy.audit.draft import from_policy, merge

    sources: list[tuple[Known, ...]] = []
    table = own_policy(policy)
    if table is not None:
        sources.append(from_policy(table))
    where = ledger_path(ledger, declared=table.ledger.place if table is not None else None)
    if ledger is not None and not where.exists():
        raise DeclarationError("no such ledger", where=str(where))
    if where.exists():
        with Ledger(where) as opened:
            sources.append(from_ledger(opened, now=time.time()))
    if run is not None:
        sources.append(from_run(run))
    return merge(sources)
