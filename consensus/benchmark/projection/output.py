"""A projection as plain JSON values and as a flat table."""

from __future__ import annotations

from typing import Any

from consensus.benchmark.projection.project import MONTHS, Line, Projection, Span

__all__ = ["projection_json", "projection_table"]

FORMAT = "consensus-projection/1"


def projection_json(found: Projection) -> dict[str, Any]:
    """One document; dollars a month unless a key says a year. Null: not known."""
    return {
        "format": FORMAT,
        "frontier": found.frontier,
        "traffic": found.traffic,
        "policy_version": found.policy_version,
        "prices_date": found.prices_date,
        "what_if": list(found.what_if),
        "total": line_json(found.total),
        "groups": [line_json(line) for line in found.groups],
        "types": [line_json(line) for line in found.types],
        "break_even": {
            "classifier": None if found.classifier is None else found.classifier.to_json(),
            "ten_calls": None
            if found.ten_calls is None
            else {**found.ten_calls.to_json(), "sentence": found.ten_calls.words()},
        },
        "notes": list(found.notes),
    }


def line_json(line: Line) -> dict[str, Any]:
    """One line of a projection."""
    return {
        "name": line.name,
        "group": line.group,
        "owner": line.owner,
        "monthly_volume": line.monthly,
        "share": line.share,
        "route": line.route,
        "source": line.source,
        "n": line.n,
        "assumed_share": line.assumed_share,
        "before_usd": line.before,
        "before_measured": line.before_measured,
        "after_usd": line.after,
        "after_ci95": _ends(line.interval),
        "best_usd": line.best,
        "worst_usd": line.worst,
        "saved_usd": line.saved,
        "saved_ci95": _ends(line.saved_interval),
        "change": line.change,
        "before_usd_year": line.before * MONTHS,
        "after_usd_year": line.after * MONTHS,
        "saved_usd_year": line.saved * MONTHS,
        "by_token": line.parts.to_json(),
        "by_role": line.roles.to_json(),
        "escalation_rate": line.escalation,
        "escalation_ci95": None
        if line.escalation_interval is None
        else list(line.escalation_interval),
        "latency_p50_s": line.latency_p50_s,
        "latency_p95_s": line.latency_p95_s,
        "latency_needed_s": line.latency_needed_s,
        "frontier_latency_p50_s": line.frontier_latency_s,
        "latency_ratio": line.latency_ratio,
        "cascade": None if line.cascade is None else line.cascade.to_json(),
        "notes": list(line.notes),
    }


def projection_table(found: Projection) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Heads and rows of a flat table for CSV: a row a task type, group, and the total."""
    heads = (
        "level", "name", "group", "owner", "monthly_volume", "share", "route", "source", "n",
        "before_usd_month", "before_measured", "after_usd_month", "after_low", "after_high",
        "best_usd_month", "worst_usd_month", "saved_usd_month", "saved_usd_year",
        "assumed_share", "input_usd", "cached_usd", "output_usd", "reasoning_usd", "other_usd",
        "settled_usd", "losers_usd", "escalations_usd", "retries_usd", "graders_usd",
        "escalation_rate", "escalation_break_even", "latency_p50_s", "latency_p95_s",
        "frontier_latency_p50_s", "notes",
    )  # fmt: skip
    levels = [("type", line) for line in found.types]
    levels += [("group", line) for line in found.groups]
    return heads, [_row(level, line) for level, line in [*levels, ("total", found.total)]]


def _row(level: str, line: Line) -> tuple[Any, ...]:
    low, high = _ends(line.interval) or (None, None)
    parts, roles = line.parts, line.roles
    return (
        level, line.name, line.group, line.owner, line.monthly, line.share, line.route,
        line.source, line.n, line.before, line.before_measured, line.after, low, high, line.best,
        line.worst, line.saved, line.saved * MONTHS, line.assumed_share, parts.input,
        parts.cached, parts.output, parts.reasoning, parts.other, roles.settled, roles.losers,
        roles.escalations, roles.retries, roles.graders, line.escalation,
        None if line.cascade is None else line.cascade.break_even, line.latency_p50_s,
        line.latency_p95_s, line.frontier_latency_s, "; ".join(line.notes),
    )  # fmt: skip


def _ends(span: Span | None) -> list[float] | None:
    return None if span is None else [span.low, span.high]
