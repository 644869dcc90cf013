"""A row's certificate from labels of production: nothing is asked, and nothing else is chosen.

What people said of the row's own decisions is its evidence, each label weighted by one over the
chance that the decision had to be looked at. Only decisions by the route that serves now count: a
version of the policy takes part if its receipts show the same hops, checks, words and prompts. The
row was chosen before these decisions were made, so they need no halves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from consensus.ballots import PICO
from consensus.benchmark.proposals.candidates import choice_of
from consensus.benchmark.proposals.figures import percent
from consensus.benchmark.proposals.model import Figures, Proposal, RowProposal
from consensus.errors import ConsensusError, DataError
from consensus.ledger.feedback import Label, labels_in_force
from consensus.ledger.quality import LabelEvidence, label_evidence
from consensus.models.prices import PriceBook
from consensus.orchestrators.spec import StrategySpec
from consensus.panel.book import PromptBook
from consensus.policy.audit.model import Audit
from consensus.policy.certificate import Certificate, CertificateStatus, CertifiedPrice
from consensus.policy.certifying import (
    Evidence,
    evidence_of_labels,
    hop_text,
    hop_texts,
    route_sha256,
)
from consensus.policy.consequences import Bars, bar_of
from consensus.policy.route import route_type
from consensus.policy.table import PolicyTable

if TYPE_CHECKING:
    from consensus.ledger.receipts import Receipt
    from consensus.ledger.store import Ledger

__all__ = ["LabelSettings", "renew"]

NEWEST = 5
"""Receipts of each version of the policy that are looked at besides the labelled ones."""


NOTES = (
    "labels certify the row that serves and choose no other: consensus policy propose does",
    "a bound is valid once: to look after each label and stop at the first that clears is no proof",
)


@dataclass(frozen=True)
class LabelSettings:
    """Which labels count, and how.

    Attributes:
        today: the certificates' date.
        types: only these task types; None: every row that has a label.
        share: of the audit by which decisions were drawn; None: each label by its own chance.
        least: the smallest chance that any acted decision had, where labels bring their own; the
            smallest one seen, where it is not given.
        since: only decisions of this time on, in seconds since 1970.
    """

    today: date
    types: tuple[str, ...] | None = None
    share: float | None = None
    least: float | None = None
    since: float | None = None


class _Served(NamedTuple):
    """The decisions of the route that serves now: versions of the policy, and what they cost."""

    versions: frozenset[str]
    others: int
    hops: np.ndarray
    calls: np.ndarray
    usd: np.ndarray
    latency_s: np.ndarray
    acted: np.ndarray
    models: dict[str, tuple[str, ...]]


def renew(
    ledger: Ledger,
    table: PolicyTable,
    settings: LabelSettings,
    *,
    book: PromptBook,
    audit: Audit | None = None,
) -> Proposal:
    """Propose the rows as they stand, with certificates that rest on labels.

    Args:
        ledger: of production.
        table: the policy in force.
        settings: see :class:`LabelSettings`.
        book: the project's prompts.
        audit: floors and volumes of task types, where it states them.

    Raises:
        DataError: no row has a label, or an argument is none.
    """
    labels = labels_in_force(ledger)
    names = settings.types or tuple(sorted({one.task_type for one in labels} & set(table.tasks)))
    if not names:
        raise DataError(
            "no row of the policy has a labelled decision",
            where=ledger.where,
            fix="label some: consensus ledger queue --audit SHARE --label",
        )
    rows, skipped = [], {}
    for name in names:
        try:
            if name not in table.tasks:
                raise DataError("the policy has no such row", where=name)
            mine = [one for one in labels if one.task_type == name]
            rows.append(_renewed(ledger, table, name, mine, settings, book, audit))
        except ConsensusError as error:
            skipped[name] = str(error)
    return Proposal(
        policy=table.source,
        policy_version=table.version_hash,
        run=f"labels of {ledger.where}",
        frontier=next(iter(table.tiers.get("frontier", ())), ""),
        by="labels",
        seed=0,
        date=settings.today.isoformat(),
        rows=tuple(rows),
        skipped=skipped,
        notes=NOTES,
    )


def _renewed(
    ledger: Ledger,
    table: PolicyTable,
    name: str,
    labels: Sequence[Label],
    settings: LabelSettings,
    book: PromptBook,
    audit: Audit | None,
) -> RowProposal:
    row = table.tasks[name]
    if row.consequence is None:
        row = row.model_copy(update={"consequence": table.defaults.consequence})
    asked = audit.tasks.get(name) if audit is not None else None
    bar = bar_of(
        table.certificates,
        row,
        floor=asked.floor if asked is not None else None,
        delta=asked.delta if asked is not None else None,
    )
    served = _served(ledger, table, name, labels, settings.since, book)
    found = label_evidence(
        ledger,
        name,
        share=settings.share,
        least=settings.least,
        since=settings.since,
        delta=bar.delta,
        policies=served.versions,
    )
    if found.mean is None:
        raise DataError(
            "no label counts: of none is the chance known that its decision had to be looked at",
            where=name,
            fix="consensus ledger queue --audit SHARE --label, or label --probability",
        )
    method = (
        f"clopper-pearson on a draw of {found.least:.3g}"
        if found.design == "draw"
        else f"betting on errors weighted by 1/chance, n_eff {found.effective:.1f}"
    )
    evidence = evidence_of_labels(
        found.mean, found.bound, bar, known=found.known, effective=found.effective, method=method
    )
    status = _status(evidence, bar, shadowed=row.shadow is not None)
    certificate = _certificate(
        table, name, status, evidence, bar, found, labels, served, settings, book
    )
    old = choice_of(table.tasks[name])
    failed = f"its labels say that it fails: consensus policy propose RUN --type {name}"
    return RowProposal(
        task_type=name,
        kind=row.kind or "",
        consequence=row.consequence,
        status=status,
        old=old,
        new=old,
        why=tuple(_why(found, evidence, bar, status, served)),
        certificate=certificate,
        profile=table.tasks[name].profile,
        expected=_figures(found, served),
        monthly_volume=asked.monthly_volume if asked is not None else None,
        servable=failed if status == "failed" else "",
    )


def _status(evidence: Evidence, bar: Bars, *, shadowed: bool) -> CertificateStatus:
    """A row that serves provisionally must have its shadow already."""
    if evidence.bound >= bar.floor:
        return "certified"
    if shadowed and bar.provisional is not None and evidence.bound >= bar.provisional:
        return "provisional"
    return "failed" if evidence.hopeless else "uncertifiable"


def _certificate(
    table: PolicyTable,
    name: str,
    status: CertificateStatus,
    evidence: Evidence,
    bar: Bars,
    found: LabelEvidence,
    labels: Sequence[Label],
    served: _Served,
    settings: LabelSettings,
    book: PromptBook,
) -> Certificate:
    models = route_type(table, name).models
    book_of_prices = PriceBook(overrides=table.price_overrides())
    prices = {}
    for model in models:
        if book_of_prices.knows(model):
            rates = book_of_prices.price(model).per_million()
            prices[model] = CertifiedPrice(input=rates["input"], output=rates["output"])
    said = sorted([one.receipt_id, str(one.agrees), str(one.inclusion)] for one in labels)
    return Certificate(
        status=status,
        n=evidence.n,
        passes=min(round(evidence.passes, 6), evidence.n),
        bound=evidence.bound,
        floor=bar.floor,
        delta=found.delta,
        needs=0 if status in ("certified", "failed") else evidence.needs,
        method=evidence.method,
        route=route_sha256(table, name),
        oracle=_digest(["labels", name]),
        prompts=book.sha256,
        suite=_digest(said),
        served={m: names for m, names in served.models.items() if m in models},
        prices=prices,
        labels=found.design,
        effective=round(found.effective, 3),
        run=f"labels, {found.looked_at:,} of {found.decisions:,} decisions",
        date=settings.today,
        max_age_days=table.certificates.max_age_days,
    )


def _why(
    found: LabelEvidence,
    evidence: Evidence,
    bar: Bars,
    status: CertificateStatus,
    served: _Served,
) -> Iterable[str]:
    weighted = (
        f"drawn at {percent(found.least)}"
        if found.design == "draw"
        else f"weighted by one over the chance to be looked at (at least {percent(found.least)})"
    )
    yield (
        f"labels of {found.looked_at:,} of {found.acted:,} acted decisions, {weighted}: "
        f"{percent(found.mean)} of {found.decisions:,} callers got an acceptable answer, lower "
        f"bound {percent(evidence.bound)} at δ = {bar.delta:g} (n_eff {found.effective:.1f})"
    )
    if status == "certified":
        yield f"clears the floor of {percent(bar.floor)}; the row stays as it is"
    elif status == "provisional":
        yield f"below the floor of {percent(bar.floor)}, above {percent(bar.provisional)}"
    elif status == "uncertifiable":
        yield (
            f"does not clear the floor of {percent(bar.floor)}: about {evidence.needs:,} more "
            "decisions looked at in the same way could"
        )
    else:
        yield f"cannot clear the floor of {percent(bar.floor)} at the rate seen"
    left = found.decisions - found.acted
    if left:
        yield f"{left:,} decisions that were left to a person count as no pass, labelled or not"
    if found.missing:
        yield f"{found.missing:,} drawn and not yet labelled count as wrong"
    if found.unweighted:
        yield f"{found.unweighted:,} labels of no known chance do not count"
    if served.others:
        yield f"{served.others:,} decisions by another row, or with other prompts, do not count"


def _figures(found: LabelEvidence, served: _Served) -> Figures:
    """Of all decisions of the route, but for the quality, which is the labels'."""
    mean = min(max(found.mean or 0.0, 0.0), 1.0)
    margin = 1.96 * (found.standard_error or 0.0)
    return Figures(
        n=found.decisions,
        quality=mean,
        ci95=(max(0.0, mean - margin), min(1.0, mean + margin)),
        undecided=float(1 - served.acted.mean()),
        escalated=float((served.hops > 1).mean()),
        calls=float(served.calls.mean()),
        usd=float(served.usd.mean()),
        latency_p50_s=float(np.quantile(served.latency_s, 0.5)),
        latency_p95_s=float(np.quantile(served.latency_s, 0.95)),
    )


# -- which decisions are the row's -----------------------------------------------------------------


def _served(
    ledger: Ledger,
    table: PolicyTable,
    name: str,
    labels: Sequence[Label],
    since: float | None,
    book: PromptBook,
) -> _Served:
    from sqlalchemy import select

    from consensus.ledger.schema import decisions as d

    wanted = ("receipt_id", "policy_version", "action", "hops", "ballots", "failures",
              "cost_pico", "latency_s")  # fmt: skip
    query = select(*(d.c[column] for column in wanted)).where(d.c.task_type == name)
    if since is not None:
        query = query.where(d.c.created_at >= since)
    query = query.order_by(d.c.created_at.desc(), d.c.receipt_id)
    rows = ledger.read(lambda connection: connection.execute(query).all())
    looked = {one.receipt_id for one in labels}
    by_version: dict[str, list[str]] = {}
    for row in rows:
        seen = by_version.setdefault(row.policy_version, [])
        if len(seen) < NEWEST or row.receipt_id in looked:
            seen.append(row.receipt_id)
    known = hop_texts(table, name)
    models: dict[str, set[str]] = {}
    versions = set()
    for version, ids in by_version.items():
        receipts = [ledger.receipt(one) for one in ids]
        if all(_is_of(receipt, table, name, known, book) for receipt in receipts):
            versions.add(version)
            for receipt in receipts:
                _note_served(receipt, models)
    kept = [row for row in rows if row.policy_version in versions]
    if not kept:
        raise DataError(
            f"none of {len(rows):,} decisions was made by the row as it stands, with these prompts",
            where=name,
        )
    return _Served(
        frozenset(versions),
        len(rows) - len(kept),
        np.array([row.hops for row in kept]),
        np.array([row.ballots + row.failures for row in kept], dtype=float),
        np.array([row.cost_pico / PICO for row in kept]),
        np.array([row.latency_s for row in kept]),
        np.array([row.action == "act" for row in kept]),
        {model: tuple(sorted(names)) for model, names in sorted(models.items())},
    )


def _is_of(
    receipt: Receipt, table: PolicyTable, name: str, known: frozenset[str], book: PromptBook
) -> bool:
    """Whether a receipt is of the row as it stands: the same hops, checks, words and prompts."""
    if receipt.prompts_sha256 != book.sha256:
        return False
    row = table.tasks[name]
    criteria = getattr(row, "criteria", None)
    if criteria and receipt.text_stored and receipt.task.get("criteria") != criteria:
        return False
    for hop in receipt.hops:
        try:
            strategy = StrategySpec.model_validate(hop.strategy).model_dump(mode="json")
        except ValueError:
            return False
        if hop_text(strategy, hop.checks) not in known:
            return False
    return True


def _note_served(receipt: Receipt, models: dict[str, set[str]]) -> None:
    for hop in receipt.hops:
        for seat in (*hop.ballots, *hop.failures):
            if seat.served_model:
                models.setdefault(seat.model, set()).add(seat.served_model)


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
