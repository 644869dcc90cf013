"""The report as Markdown: the same figures in the same words, for a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from consensus.benchmark.report.html import headline, numbered
from consensus.benchmark.report.readings import GROUPS
from consensus.benchmark.report.words import (
    UNKNOWN,
    count,
    points,
    ratio,
    seconds,
    share,
    span,
    usd,
)

__all__ = ["render_markdown"]


def render_markdown(report: Mapping[str, Any]) -> str:
    """Lay out a report of :func:`~consensus.benchmark.report.data.build_report`.

    Everything that came from outside is escaped, so that it is shown and not interpreted.
    """
    head, rest = headline(report)
    setup = report["setup"]
    parts = [
        f"# {_safe(report['name'])}",
        f"**{_safe(head)}.** {_safe(rest)}.",
        (
            f"{count(setup['cases'])} cases, {setup['models']} models. Frontier: "
            f"{_safe(setup['frontier'])}. Panel ({setup['strategy']}, {setup['seats']} seats): "
            f"{_list(setup['panel']) or 'none'}. {' '.join(_safe(text) for text in setup['why'])}"
        ),
        *_headline(report["headline"]),
        *_choices(report),
        *_controls(report["controls"]),
        *_seats(report),
        *_risk(report["risk_coverage"]),
        *_matrix(report["agreement"]),
        *_groups(report),
        *_readings(report["disagreements"]),
        *_cost(report["cost"]),
        *_method(report),
    ]
    return "\n\n".join(part.rstrip() for part in parts if part.strip()) + "\n"


def _safe(value: object) -> str:
    """One line of text in which nothing is Markdown or HTML."""
    text = " ".join(str(value).split())
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, f"\\{mark}")
    # A backslash keeps Markdown from a tag; the entity keeps any other reader from it too.
    return text.replace("&", "&amp;").replace("\\<", "&lt;").replace("\\>", "&gt;")


def _list(values: Iterable[object]) -> str:
    return ", ".join(_safe(value) for value in values)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def _with(value: str, ends: str) -> str:
    return value if ends == UNKNOWN else f"{value} ({ends})"


def _headline(figures: Mapping[str, Any] | None) -> list[str]:
    if figures is None:
        return []
    rows = [
        ("panel is right", _with(share(figures["accuracy"]), span(figures["ci95"]))),
        ("  strictly, ties wrong", share(figures["accuracy_strict"])),
        ("frontier is right", share(figures["frontier_accuracy"])),
        (
            "difference, points",
            _with(points(figures["difference"]), span(figures["difference_ci95"], signed=True)),
        ),
        ("cost a case", usd(figures["cost_per_case"])),
        ("cost, against the frontier", ratio(figures["cost_ratio"])),
        ("cost a right answer", usd(figures["cost_per_correct"])),
        ("same answer as the frontier", share(figures["agreement"])),
        ("kappa", count(figures["agreement_kappa"])),
        ("median time", seconds(figures["latency_p50"])),
        ("time, against the frontier", ratio(figures["latency_ratio"])),
    ]
    return [_table(["", "value (95 %)"], rows)]


def _choices(report: Mapping[str, Any]) -> list[str]:
    models, strategies = numbered(report)
    found = [
        "## Cost against accuracy",
        _table(
            ["model", "right (95 %)", "cost a case", "of frontier's", "a right answer", "time",
             "same as frontier", "failed", "Pareto"],
            (
                [
                    _safe(row["name"]) + (f" ({row['role']})" if row["role"] else ""),
                    _with(share(row["accuracy"]), span(row["ci95"])),
                    usd(row["cost_per_case"]),
                    ratio(row["cost_ratio"]),
                    usd(row["cost_per_correct"]),
                    seconds(row["latency_p50"]),
                    share(row["agreement"]),
                    f"{count(sum(row['failures'].values()))} of {count(row['answers'])}",
                    _yes(row["pareto"]),
                ]
                for row in models
            ),
        ),
    ]  # fmt: skip
    if strategies:
        found.append(
            _table(
                ["strategy", "cases", "right (95 %)", "difference (95 %)", "calls", "cost a case",
                 "of frontier's", "escalated", "tied", "Pareto", "ruling"],
                (
                    [
                        row["name"] + ("*" if row["learned"] else ""),
                        count(row["n"]),
                        _with(share(row["accuracy"]), span(row["ci95"])),
                        _with(points(row["difference"]), span(row["difference_ci95"], signed=True)),
                        count(row["calls_per_case"]),
                        usd(row["cost_per_case"]),
                        ratio(row["cost_ratio"]),
                        share(row["escalation_rate"]),
                        share(row["tie_rate"]),
                        _yes(row["pareto"]),
                        row["ruling"],
                    ]
                    for row in strategies
                ),
            )
        )  # fmt: skip
        found.append(r"\* calibrated on one half of the cases and measured on the other.")
    found += [f"Not shown: {r['name']} ({_safe(r['why'])})." for r in report["strategies_left_out"]]
    return found


def _yes(value: bool | None) -> str:
    return UNKNOWN if value is None else ("yes" if value else "no")


def _controls(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    return [
        "## Controls",
        _table(
            ["control", "right", "cost a case", "what it is"],
            (
                [
                    row["name"].replace("_", " "),
                    share(row["accuracy"]),
                    usd(row["cost_per_case"]),
                    row["meaning"] + (f": {_list(row['models'])}" if row["models"] else ""),
                ]
                for row in rows
            ),
        ),
    ]


def _seats(report: Mapping[str, Any]) -> list[str]:
    data, votes = report["by_seats"], report["dependence"]
    if data is None:
        return []
    rows = zip(data["seats"], data["accuracy"], data["ci95"], data["gain"], data["cost_per_case"],
               strict=True)  # fmt: skip
    found = [
        "## Accuracy against the number of seats",
        _table(
            ["seats", "right (95 %)", "the last one adds", "cost a case"],
            (
                [str(n), _with(share(a), span(ends)), "" if gain is None else points(gain), usd(c)]
                for n, a, ends, gain, c in rows
            ),
        ),
    ]
    if votes is not None:
        low, high = votes["n_eff_ci95"]
        found.append(
            f"Errors correlate (rho {count(votes['rho'])}): {votes['seats']} models are worth "
            f"{count(votes['n_eff'])} independent votes (95 %: {count(low)} to {count(high)})."
        )
    return found


def _risk(data: Mapping[str, Any] | None) -> list[str]:
    if data is None:
        return []
    rows = zip(data["threshold"], data["coverage"], data["risk"], strict=True)
    return [
        "## Deciding only where the panel agrees",
        _table(
            ["agreement at least", "decided", "wrong among them"],
            ([share(t, 0), share(c), share(r)] for t, c, r in rows),
        ),
    ]


def _matrix(data: Mapping[str, Any]) -> list[str]:
    names = data["models"]
    if len(names) < 2:
        return []
    found = ["## Who agrees with whom"]
    for key, title in (("agreement", "Same answer"), ("error_correlation", "Errors correlate")):
        rows = (
            [f"{i}. {_safe(name)}", *("–" if v is None else f"{v:.2f}" for v in row)]
            for i, (name, row) in enumerate(zip(names, data[key], strict=True), 1)
        )
        found.append(_table([title, *(str(i) for i in range(1, len(names) + 1))], rows))
    return found


def _groups(report: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for key, title in (
        ("by_type", "task type"),
        ("by_complexity", "complexity"),
        ("by_kind", "kind of task"),
        ("by_tag", "tag"),
    ):
        if report[key]:
            rows = (
                [
                    _safe(row["name"]),
                    count(row["n"]),
                    _with(share(row["accuracy"]), span(row["ci95"])),
                    _with(share(row["frontier_accuracy"]), span(row["frontier_ci95"])),
                    _with(points(row["difference"]), span(row["difference_ci95"], signed=True)),
                    f"{share(row['best_single_accuracy'])} {_safe(row['best_single'])}",
                    ratio(row["cost_ratio"]),
                    row["ruling"] or "too few to rule",
                ]
                for row in report[key]
            )
            head = [title, "cases", "panel (95 %)", "frontier (95 %)", "difference (95 %)",
                    "best member", "cost", "ruling"]  # fmt: skip
            found.append(_table(head, rows))
    intro = f"The panel's decisions ({report['groups_of']}) on parts of the cases."
    return ["## Where it pays", intro, *found] if found else []


def _readings(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    found: list[str] = []
    for group, title in GROUPS.items():
        here = [case for case in cases if case["group"] == group]
        if here:
            found.append(f"### {title}")
        for case in here:
            lines = [
                f"**{_safe(case['case'])}**" + (f" ({_safe(case['type'])})" if case["type"] else "")
            ]
            lines += [f"- {_safe(name)}: {_safe(text)}" for name, text in case["shown"]]
            lines.append(f"- right: {_list(case['right']) or 'none of the answers'}")
            for name, said in case["answers"].items():
                given = ", ".join(f"{_safe(o)} {share(p, 0)}" for o, p in said["votes"].items())
                lines.append(f"- {_safe(name)}: {given or 'no answer'}")
            found.append("\n".join(lines))
    return ["## Cases to read", *found] if found else []


def _cost(cost: Mapping[str, Any]) -> list[str]:
    failed = count(cost["failures"])
    lines = [
        f"- paid for this run: {usd(cost['paid_usd'])}",
        (
            f"- answers reported: {count(cost['answers'])}, of them {failed} failed; "
            f"together {usd(cost['answers_usd'])} ({usd(cost['known_usd'])} where it is known)"
        ),
    ]
    if cost["unknown"]:
        lines.append(f"- cost unknown: {_list(cost['unknown'])}")
    return ["## What it cost", "\n".join(lines)]


def _method(report: Mapping[str, Any]) -> list[str]:
    method, setup = report["method"], report["setup"]
    lines = [
        f"- cases: {count(setup['cases'])}, {count(setup['left_out'])} left out",
        f"- read: {_safe(method['reading'])}",
        f"- prices of: {_safe(method['prices_date'] or UNKNOWN)}",
        f"- seed {method['seed']}, {method['draws']} orders, consensus {method['consensus']}",
        *(f"- {_safe(key)}: `{value}`" for key, value in method["source"].items()),
        *(f"- note: {_safe(text)}" for text in method["notes"]),
        *(f"- broken row: {_safe(text)}" for text in method["messages"]),
    ]
    words = "\n".join(f"- **{word}**: {text}" for word, text in method["definitions"].items())
    return ["## How it was measured", "\n".join(lines), words]
