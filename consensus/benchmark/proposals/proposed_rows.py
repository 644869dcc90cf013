"""A ruling as the row, certificate and profile that are proposed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consensus.benchmark.proposals.candidates import choice_of
from consensus.benchmark.proposals.certificates import certificate_of, parity_of
from consensus.benchmark.proposals.figures import figures_of, profile_of
from consensus.benchmark.proposals.halves import TypeRun
from consensus.benchmark.proposals.model import Figures, Measured, RowProposal
from consensus.benchmark.proposals.reasons import reasons_of
from consensus.benchmark.proposals.settings import ProposalSettings
from consensus.benchmark.proposals.trying import Tried, first_line
from consensus.errors import ConsensusError
from consensus.models.factory import provider_of
from consensus.models.prices import PriceBook
from consensus.policy.audit.model import Audit
from consensus.policy.certifying import Ruling, evidence_of
from consensus.policy.route import route_type
from consensus.policy.table import PolicyTable

__all__ = ["row_proposal"]


def row_proposal(
    split: TypeRun,
    settings: ProposalSettings,
    audit: Audit | None,
    ruling: Ruling,
    sequence: Sequence[Tried],
    chosen: Tried,
    now: Tried | None,
    top: Tried,
    tried: Sequence[Tried],
    left_out: Sequence[Measured],
) -> RowProposal:
    """What is proposed for a task type, with all that it is proposed on."""
    recording, table, test = split.recording, split.table, split.test
    name = recording.task_type
    evidence = evidence_of(chosen.served.credit[test], split.bar)
    hoped = ruling.evidence[ruling.hoped] if ruling.hoped is not None else None
    needs = evidence.needs if ruling.chosen is not None or hoped is None else hoped.needs
    against = parity_of(split, chosen, top)
    certificate = certificate_of(split, settings, ruling, chosen, evidence, needs, against)
    new = _with_latencies(split, chosen)
    if ruling.status == "provisional":
        new["shadow"] = {"share": table.certificates.shadow_share, "route": split.frontier}
    old_row = table.tasks.get(name)
    expected = figures_of(chosen.served.take(test), priced=split.priced)
    before = None if now is None else figures_of(now.served.take(test), priced=split.priced)
    frontier = figures_of(top.served.take(test), priced=split.priced)
    asked = audit.tasks.get(name) if audit is not None else None
    volume = asked.monthly_volume if asked is not None else None
    base = before or frontier
    saving = None
    if volume is not None and base.usd is not None and expected.usd is not None:
        saving = volume * (base.usd - expected.usd)
    fitted = chosen.candidate.fitted
    old = None
    if old_row is not None:
        old = choice_of(old_row)
        if old_row.shadow is not None and "shadow" in new:
            old["shadow"] = old_row.shadow.model_dump(mode="json")
    profile = None
    if split.priced:
        agreed = chosen.served.agreement(top.served, recording.tasks)[test]
        profile = profile_of(chosen.served.take(test), top.served.take(test), agreed)
    return RowProposal(
        task_type=name,
        kind=recording.kind,
        consequence=asked.consequence if asked is not None else None,
        status=ruling.status,
        old=old,
        new=new,
        why=tuple(reasons_of(split, ruling, sequence, chosen, top, evidence, needs, against)),
        certificate=certificate,
        profile=profile,
        expected=expected,
        before=before,
        frontier=frontier,
        candidates=(*_measured(split, tried), *left_out),
        monthly_volume=volume,
        saving_usd=saving,
        calibration_file=None if fitted is None else str(chosen.candidate.row["calibration"]),
        calibration=None if fitted is None else fitted.model_dump(mode="json"),
        strategies={k: dict(v) for k, v in chosen.candidate.strategies.items()},
        given=dict(split.filled.keys),
        oracles={k: dict(v) for k, v in split.filled.oracles.items()},
        oracle_files=dict(split.filled.files),
        servable=_servable(chosen.table, name, split.prices) or _late(split, expected),
    )  # fmt: skip


def _measured(split: TypeRun, tried: Sequence[Tried]) -> list[Measured]:
    return [
        Measured(
            name=one.candidate.name,
            source=one.candidate.source,
            row=dict(one.candidate.row),
            calibration=figures_of(one.served.take(split.learn), priced=split.priced),
            evaluation=figures_of(one.served.take(split.test), priced=split.priced),
        )
        for one in sorted(tried, key=lambda t: (t.cost, -t.quality, t.candidate.name))
    ]


def _with_latencies(split: TypeRun, chosen: Tried) -> dict[str, Any]:
    """A candidate's row; a cascade's with the p95 of each step, by which a check goes.

    Not where their sum is more than callers have: most tasks do not take every step, so the
    profile's own percentile of whole decisions is what then counts.
    """
    row = dict(chosen.candidate.row)
    steps = chosen.served.take(split.test).step_p95_s()
    plain = chosen.table.tasks[split.recording.task_type].when is None
    in_time = split.latency_need_s is None or sum(steps) <= split.latency_need_s
    if plain and in_time and steps and row.get("strategy") == "cascade" and "cascade" in row:
        row["cascade"] = {**row["cascade"], "p95_s": [_seconds(step) for step in steps]}
    return row


def _seconds(value: float) -> float:
    """Three significant digits, at least a millisecond."""
    return max(0.001, float(f"{value:.3g}"))


def _late(split: TypeRun, expected: Figures) -> str:
    """Why what was fast enough on the calibration half is not on the other; "" where it is."""
    need, found = split.latency_need_s, expected.latency_p95_s
    if need is None or found is None or found <= need:
        return ""
    return f"its p95 is {found:.2f} s on the evaluation half, and its callers have {need:g} s"


def _servable(table: PolicyTable, task_type: str, prices: PriceBook) -> str:
    """Why a strict load would refuse the row; "" where it would not."""
    for model in route_type(table, task_type).models:
        try:
            provider_of(model)
            prices.price(model)
        except ConsensusError as error:
            fix = f"name it as the policy does: --as {model}=PROVIDER/MODEL"
            return f"{model}: {first_line(error)}; {fix}"
    return ""
