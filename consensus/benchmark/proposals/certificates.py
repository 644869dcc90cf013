"""The certificate of the route that was ruled for, and its parity with the frontier."""

from __future__ import annotations

import numpy as np

from consensus.benchmark.proposals.halves import TypeRun
from consensus.benchmark.proposals.identity import oracle_sha256, prompts_sha256, suite_sha256
from consensus.benchmark.proposals.settings import ProposalSettings
from consensus.benchmark.proposals.trying import Tried
from consensus.policy.certificate import Certificate, CertifiedPrice, Parity
from consensus.policy.certifying import Evidence, Ruling, route_sha256
from consensus.policy.route import route_type
from consensus.statistics import cases_for_parity, parity

__all__ = ["certificate_of", "parity_of"]


def certificate_of(
    split: TypeRun,
    settings: ProposalSettings,
    ruling: Ruling,
    chosen: Tried,
    evidence: Evidence,
    needs: int,
    against: Parity | None,
) -> Certificate:
    """The certificate of the route that serves, with all by which it may die."""
    recording, bar = split.recording, split.bar
    models = route_type(chosen.table, recording.task_type).models
    served = {model: names for model, names in recording.served.items() if model in models}
    prices = {}
    for model in models:
        if split.prices.knows(model):
            rates = split.prices.price(model).per_million()
            prices[model] = CertifiedPrice(input=rates["input"], output=rates["output"])
    bound = _round(evidence.bound)
    if evidence.bound >= bar.floor > bound:
        bound = evidence.bound
    return Certificate(
        status=ruling.status,
        n=evidence.n,
        passes=_round(evidence.passes),
        bound=bound,
        floor=bar.floor,
        delta=bar.delta,
        needs=0 if ruling.status in ("certified", "failed") else needs,
        method=evidence.method + (", learn-then-test" if settings.grid else ""),
        route=route_sha256(chosen.table, recording.task_type),
        oracle=oracle_sha256(recording),
        prompts=prompts_sha256(recording),
        suite=suite_sha256(recording),
        served=served,
        prices=prices,
        parity=against,
        run=recording.name,
        date=settings.today,
        max_age_days=split.table.certificates.max_age_days,
    )


def parity_of(split: TypeRun, chosen: Tried, top: Tried) -> Parity | None:
    """The route beside the frontier on the evaluation half; None for the frontier itself."""
    ours, theirs = chosen.served.credit[split.test], top.served.credit[split.test]
    margin = split.table.certificates.parity_margin
    found = parity(ours, theirs, epsilon=margin, alpha=split.bar.delta)
    needs = found.more_cases or 0
    if found.more_cases is None and not found.passes:
        variance = max(float(np.var(ours - theirs)), 1 / (ours.size + 1))
        wanted = cases_for_parity(variance, epsilon=margin, alpha=split.bar.delta)
        needs = max(0, (wanted or 0) - ours.size)
    return Parity(
        frontier=split.frontier,
        n=int(ours.size),
        difference=_round(found.difference),
        lower=_round(found.lower),
        margin=margin,
        needs=needs,
    )


def _round(value: float) -> float:
    return round(value, 6)
