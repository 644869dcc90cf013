"""``consensus ledger quality``: what the labels of a task type prove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from consensus.cli._time import moment
from consensus.cli.ledger._shared import (
    Json,
    LedgerOption,
    PolicyOption,
    Since,
    opened,
    print_json,
    say,
)

if TYPE_CHECKING:
    from consensus.ledger.quality import LabelEvidence

__all__ = ["quality"]


def quality(
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="The task type.")],
    audit: Annotated[
        float | None,
        typer.Option(
            help="The share of the audit whose labels count (consensus ledger queue --audit); what "
            "was drawn and has no label counts as wrong in the bound. Default: every label counts "
            "by its own --probability.",
            show_default=False,
        ),
    ] = None,
    least: Annotated[
        float | None,
        typer.Option(
            help="Without --audit: the smallest chance that any decision had to be looked at. "
            "Default: the smallest one among the labels.",
            show_default=False,
        ),
    ] = None,
    delta: Annotated[
        float, typer.Option(help="Chance allowed that the true share is below the bound.")
    ] = 0.05,
    since: Since = None,
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """How often callers of a type got an acceptable answer: an estimate and a lower bound.

    Decisions left to a person count as none, as in a certificate. Labels that nobody knows the
    chance of (complaints, say) are left out: they would make the rest look worse, or better.

    Example: consensus ledger quality refund_approval --audit 0.05 --since 30d
    """
    from consensus.ledger.quality import label_evidence

    with opened(ledger, policy) as book:
        found = label_evidence(
            book, task_type, share=audit, least=least, since=moment(since), delta=delta
        )
    if as_json:
        print_json(found.to_json())
        return
    say(
        f"{found.task_type}: {found.decisions:,} decisions, {found.acted:,} acted upon, "
        f"{found.looked_at:,} of them labelled by a known chance"
    )
    if found.missing:
        say(f"  drawn and not yet labelled, counted as wrong in the bound: {found.missing:,}")
    if found.unweighted:
        say(f"  labelled and not counted, their chance is not known: {found.unweighted:,}")
    say(f"  {_sentence(found)}")


def _sentence(found: LabelEvidence) -> str:
    if found.mean is None:
        return "no label counts: nothing is proved (consensus ledger queue --audit SHARE --label)"
    right = "–" if found.right_when_acted is None else f"{found.right_when_acted:.1%}"
    return (
        f"acceptable: {found.mean:.1%} (standard error {found.standard_error:.1%}), at least "
        f"{found.bound:.1%} with confidence {1 - found.delta:.0%}; right when it acted: {right}"
    )
