"""A proposal for people: a diff of rows with their evidence, as Markdown and as one HTML page."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from consensus.benchmark.proposals.accepting import row_toml
from consensus.benchmark.proposals.figures import money, percent
from consensus.benchmark.proposals.model import Figures, Measured, Proposal, RowProposal

__all__ = ["beside", "diff_lines", "headline", "render_html", "render_markdown"]

SHOWN = 12
"""Candidates in a table; the others are counted."""

LONG = 60
"""Characters of a text that a diff shows."""


def diff_lines(row: RowProposal) -> list[str]:
    """The row's change as a diff: lines with ``-``, ``+`` or a space before them."""
    old = [] if row.old is None else _lines(row.task_type, row.old)
    given = {k: _brief(v) for k, v in row.given.items() if row.old is None or k not in row.old}
    new = _lines(row.task_type, {**given, **row.new})
    head = f"  [tasks.{row.task_type}]" if row.old is not None else f"+ [tasks.{row.task_type}]"
    return [
        head,
        *(f"- {line}" for line in old if line not in new),
        *(f"  {line}" for line in new if line in old),
        *(f"+ {line}" for line in new if line not in old),
        *(f"+ {line}" for line in _declared(row)),
    ]


def _declared(row: RowProposal) -> list[str]:
    """The strategies and oracles that the policy gets with the row."""
    found = []
    for name, strategy in row.strategies.items():
        found += row_toml("strategies", name, strategy).splitlines()
    for name, declared in row.oracles.items():
        found += row_toml("oracles", name, {k: _brief(v) for k, v in declared.items()}).splitlines()
    return [line for line in found if line.strip()]


def _brief(value: Any) -> Any:
    """A long text's first line: the file has all of it."""
    if isinstance(value, str) and (len(value) > LONG or "\n" in value.strip()):
        first = value.strip().splitlines()[0]
        return f"{first[:LONG]} …"
    return value.strip() if isinstance(value, str) else value


def _lines(task_type: str, row: Mapping[str, Any]) -> list[str]:
    return [line for line in row_toml("tasks", task_type, row).splitlines()[1:] if line.strip()]


def headline(row: RowProposal) -> str:
    """One line: the type, its status, quality and cost, and what it saves."""
    parts = [f"{row.task_type}: {row.status}"]
    if row.status == "uncertifiable":
        parts[0] += f" (needs about {row.certificate.needs:,} more evaluation cases)"
    if row.status == "failed":
        parts[0] += " → the frontier"
    parts.append(
        f"quality {percent(row.expected.quality)} "
        f"(bound {percent(row.certificate.bound)}, floor {percent(row.certificate.floor)})"
    )
    parts.append(_cost(row.expected))
    if row.saving_usd is not None:
        parts.append(f"{_signed(row.saving_usd)} a month at {row.monthly_volume:,} requests")
    return ", ".join(parts)


def _signed(saving: float) -> str:
    return f"saves ${saving:,.2f}" if saving >= 0 else f"costs ${-saving:,.2f} more"


def _cost(figures: Figures) -> str:
    if figures.usd is None:
        return f"{figures.calls:.2f} calls a decision"
    return f"{money(figures.usd)} a decision"


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} s"


_HEAD = ("", "cases", "quality (95 %)", "undecided", "escalated", "cost", "latency p50 / p95")


def _figures_row(name: str, figures: Figures) -> tuple[str, ...]:
    low, high = figures.ci95
    return (
        name,
        f"{figures.n:,}",
        f"{percent(figures.quality)} ({100 * low:.1f} to {100 * high:.1f})",
        percent(figures.undecided),
        percent(figures.escalated),
        _cost(figures).removesuffix(" a decision"),
        f"{_seconds(figures.latency_p50_s)} / {_seconds(figures.latency_p95_s)}",
    )


def beside(row: RowProposal) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A table's head and rows: the new row beside the one in force and one frontier call."""
    found = [_figures_row("new row", row.expected)]
    if row.before is not None:
        found.append(_figures_row("row in force", row.before))
    if row.frontier is not None:
        found.append(_figures_row("one frontier call", row.frontier))
    return _HEAD, found


_CANDIDATES = ("candidate", "named by", "chosen on", "measured on", "cost")


def _candidates(row: RowProposal) -> tuple[list[tuple[str, ...]], str]:
    """The candidates that were measured, the cheapest first, and what is said of the others."""
    measured = [c for c in row.candidates if c.evaluation is not None]
    left = [c for c in row.candidates if c.evaluation is None]
    best = sorted(measured, key=lambda c: -_quality(c))[:SHOWN]
    rows: list[tuple[str, ...]] = [
        (
            c.name,
            c.source,
            percent(c.calibration.quality) if c.calibration else "",
            percent(c.evaluation.quality) if c.evaluation else "",
            _cost(c.evaluation).removesuffix(" a decision") if c.evaluation else "",
        )
        for c in measured
        if c in best
    ]
    said = []
    if len(measured) > len(rows):
        said.append(f"{len(measured) - len(rows)} worse ones are in the JSON")
    for reason in dict.fromkeys(c.left_out for c in left):
        names = [c.name for c in left if c.left_out == reason]
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        said.append(f"not in the choice: {', '.join(names[:2])}{more} ({reason})")
    return rows, "; ".join(said)


def _quality(candidate: Measured) -> float:
    return candidate.calibration.quality if candidate.calibration is not None else 0.0


def _rest(row: RowProposal) -> str:
    certificate = row.certificate
    served = ", ".join(name for names in certificate.served.values() for name in names)
    return (
        f"{certificate.passes:g} of {certificate.n:,} at δ = {certificate.delta:g} "
        f"({certificate.method}); served by {served or 'nobody who was named'}; "
        f"holds until {certificate.expires().isoformat()}"
    )


def render_markdown(proposal: Proposal) -> str:
    """The proposal for a pull request."""
    origin = (
        f"From `{proposal.run}` (halves by seed {proposal.seed}), against `{proposal.policy}` "
        f"version `{proposal.policy_version}`; frontier `{proposal.frontier}`; candidates by "
        f"{proposal.by}; {proposal.date}."
    )
    out = [
        "# Proposed policy",
        "",
        origin,
        "",
        "Routes were chosen on the calibration half; every figure below is of the evaluation half.",
    ]
    for row in proposal.rows:
        table, said = _candidates(row)
        out += ["", f"## {headline(row)}", "", "```diff", *diff_lines(row), "```", ""]
        out += [f"- {text}" for text in row.why]
        if row.servable:
            out.append(f"- **cannot be accepted as it stands**: {row.servable}")
        out += ["", *_table(*beside(row)), "", f"Certificate: {_rest(row)}.", ""]
        out += _table(_CANDIDATES, table)
        if said:
            out += ["", f"{said}."]
    out += [f"\nSkipped `{name}`: {why}" for name, why in sorted(proposal.skipped.items())]
    out += [f"\nNote: {text}" for text in proposal.notes]
    return "\n".join(out) + "\n"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    align = ["---" if i == 0 else "---:" for i in range(len(head))]
    lines = [head, tuple(align), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


_CSS = """
:root{color-scheme:light dark;--line:#8884;--add:#1a7f37;--cut:#c62828}
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
h2{border-top:1px solid var(--line);padding-top:1rem;font-size:1.1rem}
table{border-collapse:collapse;margin:.7rem 0;display:block;overflow-x:auto}
td,th{border-bottom:1px solid var(--line);padding:.25rem .7rem;text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left}
pre{background:#8881;padding:.7rem;overflow-x:auto}.add{color:var(--add)}.cut{color:var(--cut)}
"""


def render_html(proposal: Proposal) -> str:
    """The proposal as one page: no script, no font, no address."""
    e = html.escape
    origin = (
        f"From <code>{e(proposal.run)}</code> (halves by seed {proposal.seed}), against "
        f"<code>{e(proposal.policy)}</code> version <code>{e(proposal.policy_version)}</code>; "
        f"frontier <code>{e(proposal.frontier)}</code>; candidates by {e(proposal.by)}; "
        f"{e(proposal.date)}."
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    out = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name=viewport content="width=device-width,initial-scale=1">',
        f"<title>Proposed policy</title><style>{_CSS}</style><h1>Proposed policy</h1>",
        f"<p>{origin}</p>",
        "<p>Chosen on the calibration half; every figure is of the evaluation half.</p>",
    ]
    for row in proposal.rows:
        table, said = _candidates(row)
        out.append(f"<h2>{e(headline(row))}</h2><pre>")
        for line in diff_lines(row):
            mark = {"+": "add", "-": "cut"}.get(line[0], "")
            out.append(f'<span class="{mark}">{e(line)}</span>')
        out.append("</pre><ul>")
        out += [f"<li>{e(text)}</li>" for text in row.why]
        if row.servable:
            out.append(f"<li><b>cannot be accepted as it stands</b>: {e(row.servable)}</li>")
        out.append(f"</ul>{_html_table(*beside(row))}<p>Certificate: {e(_rest(row))}.</p>")
        out.append(_html_table(_CANDIDATES, table))
        if said:
            out.append(f"<p>{e(said)}.</p>")
    out += [
        f"<p>Skipped <code>{e(name)}</code>: {e(why)}</p>"
        for name, why in sorted(proposal.skipped.items())
    ]
    out += [f"<p>Note: {e(text)}</p>" for text in proposal.notes]
    return "\n".join(out) + "\n"


def _html_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{cells}</tr>{body}</table>"
