"""The report as one HTML file: no script, no font, nothing from a network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from consensus.benchmark.report import charts, words
from consensus.benchmark.report.readings import GROUPS
from consensus.benchmark.report.templating import page_environment

__all__ = ["headline", "numbered", "render_html"]

RULINGS = {"pays": "good", "does not pay": "bad"}


def render_html(report: Mapping[str, Any]) -> str:
    """Lay out a report of :func:`~consensus.benchmark.report.data.build_report`.

    Everything that came from outside (names, judged texts, answers) is escaped.
    """
    from markupsafe import Markup

    folder = files("consensus.benchmark.report") / "templates"
    environment = page_environment(folder)
    environment.filters["ruling"] = lambda text: RULINGS.get(text, "open")
    drawn = {
        name: None if pair is None else tuple(Markup(svg) for svg in pair)  # noqa: S704 - escaped there
        for name, pair in _charts(report).items()
    }
    style = Markup((folder / "report.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file
    models, strategies = numbered(report)
    head, rest = headline(report)
    text: str = environment.get_template("report.html.j2").render(
        r=report,
        head=head,
        rest=rest,
        models=models,
        priced=any(row["cost_per_case"] for row in [*models, *strategies]),
        strategies=strategies,
        charts=drawn,
        style=style,
        groups=GROUPS,
        unknown=words.UNKNOWN,
    )
    return text.rstrip() + "\n"


def headline(report: Mapping[str, Any]) -> tuple[str, str]:
    """The verdict's sentence as its ruling and the reasons, each with a capital letter."""
    head, _, rest = report["verdict"]["sentence"].partition(": ")
    return head[:1].upper() + head[1:], rest[:1].upper() + rest[1:]


def numbered(report: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Models and strategies, best first, each with its number in the chart."""
    models = sorted(report["models"], key=lambda row: (-row["accuracy"], row["name"]))
    rows = [{**row, "number": number} for number, row in enumerate(models, 1)]
    start = len(rows) + 1
    return rows, [
        {**row, "number": number} for number, row in enumerate(report["strategies"], start)
    ]


def _charts(report: Mapping[str, Any]) -> dict[str, tuple[str, str] | None]:
    models, strategies = numbered(report)
    found: dict[str, tuple[str, str] | None] = {"cost": None, "seats": None, "risk": None}
    pair = [
        charts.cost_accuracy(models, strategies, report["pareto"], width)
        for width in (charts.WIDE, charts.NARROW)
    ]
    if pair[0] is not None and pair[1] is not None:
        found["cost"] = (pair[0], pair[1])
    by_seats, risk = report["by_seats"], report["risk_coverage"]
    if by_seats is not None and len(by_seats["seats"]) > 1:
        found["seats"] = (
            charts.seats_accuracy(by_seats, charts.WIDE),
            charts.seats_accuracy(by_seats, charts.NARROW),
        )
    if risk is not None:
        wrong = 1 - report["headline"]["frontier_accuracy"]
        found["risk"] = (
            charts.risk_coverage(risk, wrong, charts.WIDE),
            charts.risk_coverage(risk, wrong, charts.NARROW),
        )
    return found
