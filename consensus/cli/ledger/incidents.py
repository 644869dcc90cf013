"""``consensus ledger incidents``: what differs from the profiles, and since when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.cli._console import note, print_json, stdout
from consensus.cli.ledger._shared import Json, LedgerOption, PolicyOption, opened

if TYPE_CHECKING:
    from consensus.ledger.watch.incident import Incident

__all__ = ["incidents", "tell", "tell_all"]


def incidents(
    *,
    task_type: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Those that have ended too.")] = False,
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """List incidents, the latest first: what differs from the profile, since when, and what to run.

    Example:
      consensus ledger incidents --type refund_approval --all
    """
    from consensus.ledger.watch import incidents as find

    with opened(ledger, policy) as book:
        found = find(book, task_type=task_type, only_open=not every)
    if as_json:
        print_json([one.to_json() for one in found])
    elif not found:
        note("no incident" if every else "nothing is open")
    if not as_json:
        tell_all(found)


def _grounds(evidence: Mapping[str, Any]) -> Iterator[str]:
    """How sure it is, and what the row has earned."""
    if evidence.get("p_value") is not None and evidence.get("limit") is not None:
        yield f"p = {evidence['p_value']:.2g}, valid at any look; an alarm at {evidence['limit']:g}"
    earned = [evidence.get("certificate"), *(evidence.get("before") or ())]
    said = [
        f"{made['status']} on {made['date']} (n = {made['n']:,}, at least {made['bound']:.1%} "
        f"for a floor of {made['floor']:.0%})"
        for made in earned
        if made is not None and made.get("bound") is not None
    ]
    if said:
        yield "; before that ".join(said)


def tell_all(found: Sequence[Incident]) -> None:
    """Incidents on stdout, each with the parts of its trouble."""
    here = {one.incident_id for one in found}
    for one in found:
        if one.part_of not in here:
            tell(one, [part for part in found if part.part_of == one.incident_id])


def tell(one: Incident, parts: Sequence[Incident] = ()) -> None:
    """One incident on stdout: what was found, and what to run."""
    from rich.markup import escape

    from consensus.ledger.watch.incident import stamp

    out = stdout()
    state = "[bold red]open[/]" if one.open else f"[dim]ended: {escape(one.closed_by or '')}[/]"
    out.print(f"{state} {one.incident_id} since {stamp(one.opened_at)}")
    out.print(f"  {escape(one.says)}", soft_wrap=True)
    for part in parts:
        p = part.evidence.get("p_value")
        sure = "" if p is None else f"; p = {p:.2g}"
        said = f"with it: {part.says} ({part.incident_id}{sure})"
        out.print(f"  {escape(said)}", soft_wrap=True)
    if one.part_of:
        out.print(f"  [dim]a part of {one.part_of}[/]", soft_wrap=True)
    for line in _grounds(one.evidence):
        out.print(f"  [dim]{escape(line)}[/]", soft_wrap=True)
    if one.open and one.evidence.get("command"):
        out.print(f"  to measure it again: {escape(str(one.evidence['command']))}", soft_wrap=True)
