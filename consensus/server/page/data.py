"""Everything the page shows, as plain JSON values: one reading of the ledger and of the policy."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from consensus.ballots import PICO
from consensus.errors import DataError, LedgerError
from consensus.ledger.feedback import Waiting, labels_of
from consensus.ledger.queries import DecisionSummary, list_decisions
from consensus.ledger.receipts import Receipt
from consensus.ledger.shadows import shadow_of
from consensus.ledger.store import Ledger
from consensus.ledger.watch.incident import Incident
from consensus.panel.book import PromptBook
from consensus.policy.demotion import demotion_of, serves_by
from consensus.policy.rows import TaskRow
from consensus.policy.staleness import Current, deaths
from consensus.policy.table import PolicyTable
from consensus.server.page.receipts import moment_text, receipt_view, whole_answer
from consensus.server.page.series import Bucket, Overview, overview
from consensus.statistics.intervals import wilson

if TYPE_CHECKING:
    from consensus.models.rates import ModelPrice

__all__ = ["PAGE_FORMAT", "look_up", "page_data", "review_data"]

PAGE_FORMAT = 1
"""Grows when a key changes its meaning."""

LEVEL = 0.95
"""Of the intervals."""


def page_data(
    ledger: Ledger,
    table: PolicyTable,
    *,
    since: float | None = None,
    text: bool = False,
    newest: int = 50,
    receipts: Sequence[str] = (),
    incidents: Iterable[Incident] = (),
    waiting: Sequence[Waiting] = (),
    current: Current | None = None,
    book: PromptBook | None = None,
    frontier: tuple[str, ModelPrice] | None = None,
    now: float | None = None,
) -> dict[str, Any]:
    """Read everything the page shows.

    Args:
        ledger: an open ledger.
        table: the policy whose rows, profiles and certificates are shown.
        since: from this time on, in seconds since 1970; None: everything.
        text: show judged text, rationales and textual answers where the ledger keeps them.
        newest: how many of the latest decisions are listed, each with its receipt.
        receipts: further receipts to open, by id; those that are not there are left out.
        incidents: what the watch has open.
        waiting: what waits for a person, oldest first: the ledger's queue.
        current: what holds today, for the certificates; None: the date only.
        book: the prompts in force, for the words of framings.
        frontier: the model of the all-frontier arithmetic and its price.
        now: seconds since 1970; None: the clock.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    moment = time.time() if now is None else now
    today = current or Current(today=datetime.fromtimestamp(moment, UTC).date())
    latest = list_decisions(ledger, since=since, limit=newest)
    shown = overview(ledger, since=since, frontier=frontier)
    types = [
        _type(name, shown, table, today)
        for name in sorted({*shown.types, *_earning(table)}, key=lambda n: (-_weight(shown, n), n))
    ]
    wanted = [one.receipt_id for one in latest] + [one.receipt_id for one in waiting[:newest]]
    found = _receipts(ledger, wanted, receipts, book, text=text)
    return {
        "format": PAGE_FORMAT,
        "made": moment_text(moment),
        "since": None if since is None else moment_text(since),
        "first": None if shown.first is None else moment_text(shown.first),
        "ledger": ledger.where,
        "policy": {"source": table.source, "version": table.version_hash},
        "text": text,
        "summary": _summary(shown),
        "step_s": shown.step,
        "starts": list(shown.starts),
        "incidents": _troubles(incidents),
        "queue": _queue(waiting, found),
        "alarm_ratio": table.alarms.escalation_ratio,
        "types": types,
        "newest": [_row(one) for one in latest],
        "receipts": found,
    }


def review_data(
    ledger: Ledger,
    table: PolicyTable,
    types: Sequence[str] | None,
    *,
    since: float | None = None,
    newest: int = 50,
    waiting: Sequence[Waiting] = (),
    book: PromptBook | None = None,
) -> dict[str, Any]:
    """The part of the page that is for the people who settle decisions of some types.

    Args:
        types: those; None: all of them.
        others: as :func:`page_data`.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    latest = list_decisions(ledger, task_type=types, since=since, limit=newest)
    wanted = [one.receipt_id for one in latest] + [one.receipt_id for one in waiting[:newest]]
    found = _receipts(ledger, wanted, (), book, text=False)
    return {
        "format": PAGE_FORMAT,
        "review": None if types is None else list(types),
        "made": moment_text(time.time()),
        "since": None if since is None else moment_text(since),
        "policy": {"source": table.source, "version": table.version_hash},
        "text": False,
        "queue": _queue(waiting, found),
        "newest": [_row(one) for one in latest],
        "receipts": found,
    }


def _earning(table: PolicyTable) -> list[str]:
    """Rows with evidence are shown even before their first decision."""
    return [name for name, row in table.tasks.items() if row.certificate or row.profile]


def _weight(shown: Overview, name: str) -> int:
    return sum(bucket.decisions for bucket in shown.types.get(name, ()))


def _summary(shown: Overview) -> dict[str, Any]:
    total, report = shown.report.total, shown.report
    compared = sum(b.compared for row in shown.types.values() for b in row)
    agreed = sum(b.agreed for row in shown.types.values() for b in row)
    own = total.cost_pico - total.beside_pico
    saved, could = report.saved_pico, report.could_save_pico
    return {
        "decisions": total.decisions,
        "acted": total.acted or 0,
        "escalated": total.escalated or 0,
        "abstained": total.abstained or 0,
        "escalations": total.escalations or 0,
        "calls": total.calls,
        "failures": total.failures,
        "paid_usd": total.cost_pico / PICO,
        "beside_usd": total.beside_pico / PICO,
        "usd_per_decision": own / PICO / total.decisions if total.decisions else None,
        "latency_p50_s": total.latency_p50_s,
        "latency_p95_s": total.latency_p95_s,
        "frontier": report.frontier,
        "saved_usd": None if saved is None else saved / PICO,
        "could_save_usd": None if could is None else could / PICO,
        "agreement": _rate(agreed, compared),
    }


def _type(name: str, shown: Overview, table: PolicyTable, today: Current) -> dict[str, Any]:
    row = table.tasks.get(name)
    buckets = shown.types.get(name, ())
    whole = Bucket()
    for bucket in buckets:
        for field in Bucket.__slots__:
            setattr(whole, field, getattr(whole, field) + getattr(bucket, field))
    profile = None if row is None else row.profile
    expected = profile.escalations / profile.n if profile is not None and profile.n else None
    agreeing = (
        profile.frontier_agreed / profile.frontier_n
        if profile is not None and profile.frontier_n
        else None
    )
    escalated = _rate(whole.escalations, whole.decisions)
    ratio = table.alarms.escalation_ratio
    line = None if expected is None else expected * ratio
    demoted = _demotion(name, table)
    return {
        "name": name,
        "known": row is not None,
        "kind": None if row is None else row.kind,
        "owner": None if row is None else row.owner,
        "consequence": None if row is None else row.consequence or table.defaults.consequence,
        "decisions": whole.decisions,
        "usd": whole.cost / PICO,
        "usd_per_decision": whole.cost / PICO / whole.decisions if whole.decisions else None,
        "profile_usd": None if profile is None else profile.usd_per_decision,
        "escalation": escalated,
        "profile_escalation": expected,
        "alarm_line": line,
        "over_line": None
        if line is None or escalated["share"] is None or demoted
        else escalated["share"] > line,
        "demoted": demoted,
        "agreement": _rate(whole.agreed, whole.compared),
        "profile_agreement": agreeing,
        "certificate": None if row is None else _certificate(name, row, table, today),
        "over_time": [asdict(bucket) for bucket in buckets],
    }


def _demotion(name: str, table: PolicyTable) -> dict[str, str] | None:
    """Since when a row does not serve by its own choice, why, and by what it does."""
    held, by = demotion_of(table, name), serves_by(table, name)
    if held is None or by is None:
        return None
    return {"since": held.since, "why": held.why, "by": by}


def _certificate(
    name: str, row: TaskRow, table: PolicyTable, today: Current
) -> dict[str, Any] | None:
    held = row.certificate
    if held is None:
        return None
    return {
        "status": held.status,
        "n": held.n,
        "passes": held.passes,
        "bound": held.bound,
        "floor": held.floor,
        "delta": held.delta,
        "needs": held.needs,
        "date": held.date.isoformat(),
        "age_days": (today.today - held.date).days,
        "holds_days": held.max_age_days,
        "expires": held.expires().isoformat(),
        "dead": deaths(table, name, today),
    }


def _rate(part: int, whole: int) -> dict[str, Any]:
    """A share with its 95 % interval; nulls where nothing was counted."""
    if not whole:
        return {"count": part, "of": 0, "share": None, "ci95": None}
    ends = wilson(part, whole, level=LEVEL)
    return {"count": part, "of": whole, "share": part / whole, "ci95": [ends.low, ends.high]}


def _troubles(incidents: Iterable[Incident]) -> list[dict[str, Any]]:
    """Open incidents, those that are parts of one trouble below it."""
    found = {one.incident_id: one for one in incidents}
    parts: dict[str, list[dict[str, Any]]] = {}
    for one in found.values():
        if one.part_of in found:
            parts.setdefault(one.part_of, []).append(_incident(one))
    return [
        {**_incident(one), "parts": parts.get(name, [])}
        for name, one in found.items()
        if one.part_of not in found
    ]


def _incident(one: Incident) -> dict[str, Any]:
    evidence = {
        name: value
        for name, value in one.evidence.items()
        if name not in {"says", "command", "value", "part_of"} and value not in (None, [], ())
    }
    return {
        "name": one.incident_id,
        "type": one.task_type,
        "cause": one.cause,
        "what": one.says,
        "opened": moment_text(one.opened_at),
        "evidence": {name: _short(value) for name, value in evidence.items()},
        "fix": str(one.evidence.get("command", "")),
    }


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_short(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(_short(inner) for inner in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _queue(waiting: Sequence[Waiting], shown: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What waits, each with the last reason of its receipt where that is open and may be read.

    A conclusion ends with what spoke against acting.
    """
    last = {one["id"]: one["reasons"][-1] for one in shown if one.get("reasons")}
    return [{**_waiting(one), "because": last.get(one.receipt_id)} for one in waiting]


def _waiting(one: Waiting) -> dict[str, Any]:
    return {
        "receipt_id": one.receipt_id,
        "created": moment_text(one.created_at),
        "type": one.task_type,
        "kind": one.kind,
        "task_id": one.task_id,
        "probability": one.probability,
        "agreement": one.agreement,
        "why": one.why,
    }


def _row(one: DecisionSummary) -> dict[str, Any]:
    # A ranking's or a text's outcome is in no list; its receipt has it, where text is shown.
    return {
        "receipt_id": one.receipt_id,
        "created": moment_text(one.created_at),
        "type": one.task_type,
        "kind": one.kind,
        "task_id": one.task_id,
        "action": one.action,
        "outcome": whole_answer(one.outcome),
        "probability": one.probability,
        "agreement": one.agreement,
        "ballots": one.ballots,
        "failures": one.failures,
        "route": list(one.route),
        "usd": one.cost_pico / PICO,
        "latency_s": one.latency_s,
    }


def _receipts(
    ledger: Ledger,
    listed: Iterable[str],
    asked: Iterable[str],
    book: PromptBook | None,
    *,
    text: bool,
) -> list[dict[str, Any]]:
    """Each receipt once; one that is damaged is named as such, one that is not there is left out.

    What is asked for comes from outside, and may be anything; what is listed is there.
    """
    found: dict[str, dict[str, Any]] = {}
    for must, identifier in [*((True, one) for one in listed), *((False, one) for one in asked)]:
        if identifier in found:
            continue
        try:
            receipt = ledger.receipt(identifier)
        except DataError as error:
            found[identifier] = {"id": identifier, "broken": str(error)}
        except LedgerError:
            if must:
                raise
        else:
            found[receipt.receipt_id] = look_up(ledger, receipt, book, text=text)
    return list(found.values())


def look_up(
    ledger: Ledger, receipt: Receipt, book: PromptBook | None, *, text: bool
) -> dict[str, Any]:
    """A receipt with what the ledger has beside it: calls, the shadow, labels."""
    name = receipt.receipt_id
    return receipt_view(
        receipt,
        ledger.calls_of(name),
        shadow=shadow_of(ledger, name),
        labels=labels_of(ledger, name),
        book=book,
        text=text,
    )
