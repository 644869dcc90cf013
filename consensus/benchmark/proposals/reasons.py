"""Why a row is proposed, in words."""

from __future__ import annotations

from collections.abc import Sequence

from consensus.benchmark.proposals.candidates import short
from consensus.benchmark.proposals.figures import money, percent
from consensus.benchmark.proposals.halves import TypeRun
from consensus.benchmark.proposals.trying import Tried
from consensus.policy.certificate import Parity
from consensus.policy.certifying import Evidence, Ruling

__all__ = ["reasons_of"]


def reasons_of(
    split: TypeRun,
    ruling: Ruling,
    sequence: Sequence[Tried],
    chosen: Tried,
    top: Tried,
    evidence: Evidence,
    needs: int,
    against: Parity | None,
) -> list[str]:
    """Why this row, each a sentence."""
    bar = split.bar
    stand = (
        f"{chosen.candidate.name}: {evidence.passes:g} of {evidence.n:,} acceptable on the "
        f"evaluation half, lower bound {percent(evidence.bound)} at δ = {bar.delta:g}"
    )
    said = []
    if ruling.status == "certified":
        said.append(f"{stand}: clears the floor of {percent(bar.floor)}")
    elif ruling.status == "provisional":
        said.append(
            f"{stand}: below the floor of {percent(bar.floor)}, above {percent(bar.provisional)}; "
            f"it serves with a shadow share of {percent(split.table.certificates.shadow_share)}"
        )
    elif ruling.status == "uncertifiable":
        who = sequence[ruling.hoped].candidate.name if ruling.hoped is not None else "no route"
        said.append(
            f"nothing clears the floor of {percent(bar.floor)} on {evidence.n:,} cases; {who} "
            f"needs about {needs:,} more evaluation cases ({2 * needs:,} more in the run)"
        )
        said.append(f"until then: {stand}")
    else:
        who = "the frontier" if chosen is top else chosen.candidate.name
        said.append(
            f"no route can clear the floor of {percent(bar.floor)} at the rates seen: "
            f"{who} serves, and a person should look at the oracle or the floor"
        )
        said.append(stand)
    if ruling.chosen is not None and ruling.chosen + 1 < len(sequence):
        after = sequence[ruling.chosen + 1]
        failed = ruling.evidence[ruling.chosen + 1]
        said.append(
            f"the next cheaper one did not: {after.candidate.name}, {failed.passes:g} of "
            f"{failed.n:,}, bound {percent(failed.bound)}"
        )
    if chosen is not top:
        said += _beside_the_frontier(split, chosen, top, against)
    said += split.filled.notes
    return said


def _beside_the_frontier(
    split: TypeRun, chosen: Tried, top: Tried, against: Parity | None
) -> list[str]:
    said = []
    if against is not None:
        shown = "parity is shown" if against.shown else (
            f"parity is not shown (needs about {against.needs:,} more cases)"
            if against.needs
            else "parity is not shown"
        )  # fmt: skip
        said.append(
            f"against one call of {short(split.frontier)}: {100 * against.difference:+.1f} points "
            f"(at least {100 * against.lower:+.1f}); {shown} within {100 * against.margin:g}"
        )
    ours, theirs = (
        float((t.served.usd if split.priced else t.served.calls)[split.test].mean())
        for t in (chosen, top)
    )
    said.append(f"{money(ours, priced=split.priced)} a decision, "
                f"the frontier {money(theirs, priced=split.priced)}")  # fmt: skip
    return said
