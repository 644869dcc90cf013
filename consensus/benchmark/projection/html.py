"""The cost pages as one HTML file each: no script, no font, nothing from a network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from consensus.ballots import PICO
from consensus.benchmark.projection.output import projection_json
from consensus.benchmark.projection.project import Projection
from consensus.benchmark.projection.words import (
    break_even_sentences,
    cost_notes,
    cost_verdict,
    usd,
    verdict,
)
from consensus.benchmark.report import words
from consensus.benchmark.report.html import RULINGS
from consensus.benchmark.report.templating import page_environment
from consensus.ledger.attribution import CostReport

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render_costs", "render_projection"]

TOKENS = (
    ("input", "input"),
    ("cached", "input from a cache"),
    ("output", "output"),
    ("reasoning", "reasoning"),
    ("other", "other"),
)
ROLES = (
    ("settled", "first choices that stood"),
    ("losers", "first choices that were escalated"),
    ("escalations", "stronger calls"),
    ("retries", "failed attempts and repairs"),
    ("graders", "graders"),
)
ROOM = 68
"""Per cent of a row that the longest bar takes; the rest is for its figure."""


def render_projection(found: Projection, base: Projection | None = None) -> str:
    """A projection's page; ``base`` is the same without the what-if. Outside names are escaped."""
    data = projection_json(found)
    ruling, head, rest = verdict(found)
    return _render(
        "projection.html.j2",
        title=f"Cost projection: {head}",
        p=data,
        base=projection_json(base or found),
        ruling=ruling,
        head=head,
        rest=rest,
        tokens=[one for one in TOKENS if data["total"]["by_token"][one[0]]] or TOKENS[:1],
        roles=ROLES,
        most=max((max(row["before_usd"], row["after_usd"]) for row in data["groups"]), default=0),
        sentences=break_even_sentences(found),
    )


def render_costs(report: CostReport) -> str:
    """The page of a report on the past. Outside names are escaped."""
    data = report.to_json()
    ruling, head, rest = cost_verdict(report)
    groups = [
        {
            **row,
            "name": " · ".join(one.key),
            "prompt": one.usage.total_input,
            "frontier_usd": None if one.frontier_pico is None else one.frontier_pico / PICO,
        }
        for row, one in zip(data["groups"], report.groups, strict=True)
    ]
    return _render(
        "costs.html.j2",
        title=f"Cost report: {head}",
        ruling=ruling,
        head=head,
        rest=rest,
        span=span_words(report.since, report.until),
        by=list(report.by),
        groups=groups,
        of_calls=bool({"requested", "served"} & set(report.by)),
        decided_usd=report.balance.decisions_pico / PICO,
        t=data["total"],
        most=max((row["cost"]["usd"] for row in groups), default=0),
        notes=cost_notes(report),
    )


def span_words(since: float | None, until: float | None) -> str:
    """A stretch of time for people; its end is not part of it."""
    if since is None and until is None:
        return "the whole ledger"
    said = []
    for name, moment in (("from", since), ("until before", until)):
        if moment is not None:
            text = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")
            said.append(f"{name} {text.removesuffix(' 00:00')}")
    return f"{' '.join(said)} (UTC)"


def _render(template: str, **values: Any) -> str:
    text: str = _environment().get_template(template).render(unknown=words.UNKNOWN, **values)
    return text.rstrip() + "\n"


def _environment() -> Environment:
    from markupsafe import Markup

    own = files("consensus.benchmark.projection") / "templates"
    shared = files("consensus.benchmark.report") / "templates"
    environment = page_environment(own)
    environment.filters["ruling"] = lambda text: RULINGS.get(text, "open")
    environment.filters["width"] = _width
    environment.filters["usd"] = usd
    environment.filters["between"] = _between
    css = [
        (folder / name).read_text(encoding="utf-8")
        for folder, name in ((shared, "report.css"), (own, "cost.css"))
    ]
    environment.globals["style"] = Markup("\n".join(css))  # noqa: S704 - our own files
    return environment


def _width(value: float, most: float, room: float = ROOM) -> float:
    """Per cent of a bar's row."""
    return round(room * max(0.0, value) / most, 2) if most else 0.0


def _between(ends: Sequence[float]) -> str:
    return f"{usd(ends[0])} to {usd(ends[1])}"
