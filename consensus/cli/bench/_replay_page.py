"""What ``consensus bench replay`` prints for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consensus.cli._console import note, stdout

if TYPE_CHECKING:
    from consensus.benchmark.replay import Replay

__all__ = ["show_best", "show_one", "show_row", "show_several"]

_ROWS = (
    ("accuracy", "accuracy (ties split)", "share"),
    ("accuracy_strict", "accuracy, strict", "share"),
    ("balanced_accuracy", "balanced accuracy", "share"),
    ("frontier_accuracy", "frontier's accuracy", "share"),
    ("difference", "difference", "points"),
    ("agreement", "agreement with the frontier", "share"),
    ("agreement_kappa", "  kappa", "plain"),
    ("calls_per_case", "calls a case", "plain"),
    ("cost_per_case", "cost a case", "money"),
    ("cost_ratio", "  of the frontier's", "plain"),
    ("cost_per_correct", "cost a right answer", "money"),
    ("latency_p50", "latency, median (s)", "plain"),
    ("latency_ratio", "  of the frontier's", "plain"),
    ("escalation_rate", "escalated", "share"),
    ("tie_rate", "tied", "share"),
)


def show_one(result: Replay) -> None:
    """One replay's figures, what stands beside it, and the verdict."""
    from rich.table import Table

    figures = result.figures
    table = Table(
        title=f"{figures['n']:,} cases", title_justify="left", show_header=False, box=None
    )
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column(style="dim")
    spans = {"accuracy": figures["ci95"], "difference": figures["difference_ci95"]}
    for key, label, form in _ROWS:
        if key == "balanced_accuracy" and figures[key] is None:
            continue
        span = spans.get(key)
        text = f"95 %: {_form(span[0], form)} to {_form(span[1], form)}" if span else ""
        table.add_row(label, _form(figures[key], form), text)
    out = stdout()
    out.print(table)
    controls = Table(title="beside it", title_justify="left", box=None)
    controls.add_column("control", style="dim")
    controls.add_column("accuracy", justify="right")
    controls.add_column("cost a case", justify="right")
    for name, control in figures["controls"].items():
        model = control.get("model", "")
        label = f"{name} ({model})" if model else name
        controls.add_row(
            label, _form(control["accuracy"], "share"), _form(control["cost_per_case"], "money")
        )
    out.print(controls)
    if "debate" in figures:
        _show_debate(figures["debate"])
    if "acting" in figures:
        _show_acting(figures["acting"])
    if "against" in figures:
        other = figures["against"]
        out.print(
            f"against {other['strategy']} ({100 * other['accuracy']:.1f} % right at "
            f"{_form(other['cost_ratio'], 'plain')} of the frontier's cost): "
            f"{_points(other['difference'], other['difference_ci95'])}",
            markup=False,
            highlight=False,
        )
    if figures["chosen"] is not None:
        chosen = figures["chosen"]
        for choice in chosen if isinstance(chosen, list) else [chosen]:
            out.print(f"chosen: {choice.get('summary', choice)}", markup=False)
    _show_cascade(figures)
    stop = figures["strategy"].get("stop")
    if stop is not None:
        import json

        keys = ", ".join(f"{name} = {json.dumps(value)}" for name, value in stop.items())
        out.print(f"in a policy: stop = {{ {keys} }}", markup=False, highlight=False)
    out.print(result.verdict.sentence, markup=False)
    for text in result.notes:
        note(f"note: {text}")


def _show_acting(found: dict[str, Any]) -> None:
    """What acting by the rule did, beside acting always."""
    lines = [
        f"acted upon: {_span(found, 'coverage')} of the cases",
        f"wrong among them: {_span(found, 'selective_risk')}",
    ]
    if "false_approve_rate" in found:
        lines.append(
            f"wrongly approved {_form(found['false_approve_rate'], 'share')}, wrongly rejected "
            f"{_form(found['false_reject_rate'], 'share')} of all cases"
        )
    if "set_coverage" in found:
        lines.append(f"prediction sets hold the right option: {_span(found, 'set_coverage')}")
    lines.append(
        f"loss a case {found['loss_per_case']:.3f}; acting always, the majority's is "
        f"{found['majority']['loss_per_case']:.3f}, the frontier's "
        f"{found['frontier']['loss_per_case']:.3f}"
    )
    if found["review_break_even"] is not None:
        lines.append(
            "leaving the others to somebody else pays (against the majority) while settling one "
            f"costs less than {found['review_break_even']:.3f}"
        )
    for line in lines:
        stdout().print(line, markup=False, highlight=False)


def _span(found: dict[str, Any], key: str) -> str:
    value, span = found[key], found[f"{key}_ci95"]
    if value is None:
        return "not known"
    return f"{100 * value:.1f} % (95 %: {100 * span[0]:.1f} to {100 * span[1]:.1f})"


def _show_cascade(figures: dict[str, Any]) -> None:
    """A cascade's thresholds, and its break-even beside what was observed."""
    fitted = figures["strategy"]
    if fitted.get("break_even") is None:
        return
    stdout().print(
        f"thresholds {', '.join(f'{t:.3f}' for t in fitted['thresholds'])}; the first step sends "
        f"on {100 * figures['escalation_rate']:.1f} % of the cases; asking the last model at once "
        f"would cost the same at {100 * fitted['break_even']:.1f} %",
        markup=False,
        highlight=False,
    )


def _show_debate(found: dict[str, Any]) -> None:
    """A debate beside its model's blind answer, and what its money buys."""
    flips = found["flips"]
    lines = [
        (
            f"debate against one blind answer of its model: {_gap(found)}; "
            f"of {found['n']:,} answers {flips['changed']:,} changed, "
            f"{flips['wrong_to_right']:,} for the better and "
            f"{flips['right_to_wrong']:,} for the worse (p = {flips['p_value']:.3g})"
        )
    ]
    if found["cost_ratio"] is not None:
        lines.append(f"it costs {found['cost_ratio']:.1f} × that answer")
    plain, single = found["plain_votes"], found["dearest_single"]
    if plain is not None:
        lines.append(
            f"the same money buys a vote of {len(plain['members'])} blind answers "
            f"({100 * plain['accuracy']:.1f} % right): {_gap(plain)}"
        )
    if single is not None:
        lines.append(
            f"or one of {single['member']} ({100 * single['accuracy']:.1f} % right): {_gap(single)}"
        )
    for line in lines:
        stdout().print(line, markup=False, highlight=False)


def _gap(found: dict[str, Any]) -> str:
    return f"debate {_points(found['difference'], found['difference_ci95'])}"


def _points(value: float, span: list[float]) -> str:
    return f"{100 * value:+.1f} points [{100 * span[0]:+.1f}, {100 * span[1]:+.1f}]"


def _form(value: Any, form: str) -> str:
    if value is None:
        return "not known"
    if form == "share":
        return f"{100 * value:.1f} %"
    if form == "points":
        return f"{100 * value:+.1f} points"
    if form == "money":
        return f"${value:.6f}"
    return f"{value:.3f}"


def show_best(found: dict[str, Any]) -> None:
    """Candidates chosen by judges, and what stands beside it."""
    out = stdout()
    own, other, alone = found["own_judged"], found["any"], found["always_frontier"]
    judges = len(found["members"])
    lines = [
        f"{found['n']:,} lists of {found['candidates']:.1f} candidates, {judges} judges",
        f"the best is chosen in {_form(found['best'], 'share')} of them",
    ]
    for label, beside in (("judges' own left in", own), ("any candidate", other)):
        gap = _points(beside["difference"], beside["difference_ci95"])
        lines.append(f"{label}: {_form(beside['best'], 'share')}; difference {gap}")
    if alone is not None:
        gap = _points(alone["difference"], alone["difference_ci95"])
        best = _form(alone["best"], "share")
        lines.append(f"always {alone['model']}'s answer: {best}; difference {gap}")
    if found["self_preference"] is not None:
        low, high = found["self_preference"]["ci95"]
        lines.append(
            "a judge prefers its own answer by "
            f"{100 * found['self_preference']['points']:+.1f} points [{100 * low:+.1f}, "
            f"{100 * high:+.1f}] more than the others do"
        )
    for line in lines:
        out.print(line, markup=False, highlight=False)


def show_row(found: dict[str, Any]) -> None:
    """A policy's row, beside one pass of the frontier."""
    acting = found["acting"]
    beyond = _form(found["escalation_rate"], "share")
    acted, wrong = _span(acting, "coverage"), _span(acting, "selective_risk")
    right, alone = (_form(found[key], "share") for key in ("accuracy", "frontier_accuracy"))
    gap = _points(found["difference"], found["difference_ci95"])
    cost, ratio = _form(found["cost_per_case"], "money"), _form(found["cost_ratio"], "plain")
    lines = [
        f"row {found['strategy']['row']}: {found['n']:,} cases",
        f"calls a case {found['calls_per_case']:.2f}; beyond the first hop went {beyond}",
        f"acted upon {acted}; wrong among them {wrong}",
        f"acted upon and right {right}; {found['frontier'][0]} alone {alone}: {gap}",
        f"cost a case {cost}, of the frontier's {ratio}; loss a case {acting['loss_per_case']:.3f}",
    ]
    for line in lines:
        stdout().print(line, markup=False, highlight=False)


def show_several(found: list[tuple[str, int | None, Replay]]) -> None:
    """A line a setting."""
    from rich.table import Table

    table = Table(title=f"{found[0][2].figures['n']:,} cases", title_justify="left", box=None)
    for name in ("strategy", "seats", "accuracy", "difference", "95 %", "cost ratio", "calls"):
        table.add_column(name, justify="left" if name == "strategy" else "right")
    table.add_column("verdict")
    for name, size, result in found:
        figures = result.figures
        low, high = figures["difference_ci95"]
        table.add_row(
            name,
            "" if size is None else str(size),
            _form(figures["accuracy"], "share"),
            _form(figures["difference"], "points"),
            f"{100 * low:+.1f} to {100 * high:+.1f}",
            _form(figures["cost_ratio"], "plain"),
            _form(figures["calls_per_case"], "plain"),
            result.verdict.ruling,
        )
    stdout().print(table)
