"""``consensus bench replay``: any strategy over recorded answers, against one frontier pass."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.cli._console import note, print_json, stdout

if TYPE_CHECKING:
    from consensus.benchmark.acting import Acting
    from consensus.benchmark.replay import Replay
    from consensus.benchmark.run_format import ImportReport

__all__ = ["replay"]

Data = Annotated[
    Path,
    typer.Option(
        help="A folder of recorded answers (answers.csv.gz, cases.jsonl.gz, prices.json) or a run "
        "of consensus bench.",
        show_default=False,
    ),
]
Frontier = Annotated[
    str,
    typer.Option(help="The model to compare with: one pass of it a case.", show_default=False),
]
Panel = Annotated[
    str,
    typer.Option(
        help="The models that have seats, with commas. MODEL@VARIANT names one variant.",
        show_default=False,
    ),
]
Seats = Annotated[
    str | None,
    typer.Option(
        help="All seats: models in turn, samples in turn. Default: one a model; for auto, as many "
        "as it finds worth asking. Several numbers with commas: each is replayed.",
        metavar="<int>",
        show_default=False,
    ),
]
Variant = Annotated[
    str | None,
    typer.Option(
        help="Prompt or method. Default: the one that all models named share and most models of "
        "the data answered; where they share none, each takes part with all of its own.",
        show_default=False,
    ),
]
Complete = Annotated[
    bool,
    typer.Option(
        "--complete",
        help="Only cases that every model named has answered in full. Otherwise a missing answer "
        "is a wrong one.",
    ),
]
Sample = Annotated[
    int | None,
    typer.Option(
        help="Only this sample of every model. Default: a single pass is the mean over all.",
        show_default=False,
    ),
]
StrategyNames = Annotated[
    list[str],
    typer.Option(
        "--strategy",
        help="single, vote, scores (mean of scores), weighted*, blocks*, stack* (learned), "
        "adaptive (stops early), adaptive:RULE:OPTIONS* (by certain, ahead, odds, beta, prior, "
        "value, esc, sprt, mixture, votes, scores or both; options level=0.95, calls=4, same=0.98 "
        "or gain=0.95, and waves=3+2), cascade (the last model decides where the rest disagree), "
        "mean* (of probabilities), softmax* (whole scores), stacked*, cisc (stated confidence), "
        "live:AGGREGATOR* (mean, scores, stacked, weighted, blocks: as a policy row computes it), "
        "cascade:STEPS* (cascade:1+2+1+3 asks the panel's first model, its second … until the "
        "posterior suffices; thresholds by --goal), "
        "debate (the last member is a recorded debate, the others answered blind), "
        "pairs (recorded rankings by at most --seats comparisons, beside as many at random), "
        "auto* (searches). * learns: needs --calibrate half. Given several times, each is replayed "
        "on the same sample orders.",
    ),
]
Goal = Annotated[
    str | None,
    typer.Option(
        help="For auto and cascade:STEPS: parity (cheapest that is as good as the frontier), "
        "quality (the best), budget:RATIO (the best at RATIO of the frontier's cost). Default: "
        "parity.",
        show_default=False,
    ),
]
Calibrate = Annotated[
    str | None,
    typer.Option(
        help="half: learn on the cases whose sha256(SEED:case_id) starts with a 0 bit, report on "
        "the others.",
        show_default=False,
    ),
]
Splits = Annotated[int, typer.Option(help="How many such halves; figures are means over them.")]
SplitSeed = Annotated[int, typer.Option(help="The first half's seed.")]
Draws = Annotated[
    int, typer.Option(help="Random sample orders, where not every sample has a seat.", min=1)
]
Seed = Annotated[int, typer.Option(help="Of sample orders and intervals.")]
ObjectiveName = Annotated[
    str | None,
    typer.Option(
        help="For auto: accuracy, or balanced (the mean of the accuracies on each label). Default: "
        "balanced for approvals, else accuracy.",
        show_default=False,
    ),
]
Unstable = Annotated[
    bool,
    typer.Option("--unstable", help="Also use cases whose label_stable is false."),
]
Against = Annotated[
    str | None,
    typer.Option(
        help="Another strategy on the same cases and halves, compared in pairs.",
        show_default=False,
    ),
]
LossesText = Annotated[
    str | None,
    typer.Option(
        "--losses",
        help="As in a policy row, for approvals: false_approve=20,false_reject=1. Act only where "
        "P passes what they ask for; figures of coverage, errors among the acted and losses.",
        show_default=False,
    ),
]
Veto = Annotated[
    int | None,
    typer.Option(
        help="As in a policy row: so many rejections forbid an approval.", show_default=False
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option(
        help="As in a policy row: act only at P ≥ 1 − α, or by prediction sets.", show_default=False
    ),
]
Conformal = Annotated[
    bool,
    typer.Option(
        "--conformal",
        help="As in a policy row: act only where the prediction set at --alpha is one option; "
        "for mean, softmax, stacked and live:AGGREGATOR.",
    ),
]
MinAgreement = Annotated[
    float | None,
    typer.Option(
        help="As in a policy row: share of the seats behind an outcome that is acted upon; more "
        "than half by default.",
        show_default=False,
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="A broken row is an error, not a counted warning.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def replay(
    data: Data,
    frontier: Frontier,
    panel: Panel,
    strategy: StrategyNames = ["vote"],  # noqa: B006 (typer copies it)
    seats: Seats = None,
    variant: Variant = None,
    complete: Complete = False,
    sample: Sample = None,
    goal: Goal = None,
    calibrate: Calibrate = None,
    splits: Splits = 1,
    split_seed: SplitSeed = 0,
    draws: Draws = 64,
    seed: Seed = 0,
    objective: ObjectiveName = None,
    against: Against = None,
    losses: LossesText = None,
    veto: Veto = None,
    alpha: Alpha = None,
    conformal: Conformal = False,
    min_agreement: MinAgreement = None,
    unstable: Unstable = False,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Replay a strategy over recorded answers, against one pass of a frontier model.

    Nothing is called and nothing is paid. Figures that cannot be known (a model without a known
    price) are null. Ties split their credit; accuracy_strict counts only a single, right winner.
    A single pass without a readable answer is wrong; in a panel it is a failed seat.

    Example:
      consensus bench replay --data rb2 --frontier gpt-5.4 --panel gpt-5.4-mini --seats 3
    """
    from consensus.benchmark.recorded import load_run
    from consensus.benchmark.replay import Replayer, ReplaySettings
    from consensus.errors import DataError

    judges = tuple(name.strip() for name in panel.split(",") if name.strip())
    sizes = _sizes(seats)
    if strategy == ["pairs"]:
        _pairs(data, frontier.strip(), judges, sizes[0], draws=draws, seed=seed, as_json=as_json)
        return
    if calibrate not in (None, "half"):
        raise DataError(f'unknown "{calibrate}"', where="--calibrate", fix="half")
    if objective not in (None, "accuracy", "balanced"):
        raise DataError(f'unknown "{objective}"', where="--objective", fix="accuracy or balanced")
    acting = _acting(losses, veto, alpha, conformal=conformal, min_agreement=min_agreement)
    run = load_run(data, unstable=unstable)
    _warn(run.report, strict)
    again = Replayer(run)
    found = []
    for name in strategy:
        for size in sizes:
            settings = ReplaySettings(
                frontier=frontier.strip(),
                panel=judges,
                strategy=name,
                seats=size,
                variant=variant,
                complete=complete,
                sample=sample,
                goal=goal,
                calibrate=calibrate == "half",
                splits=splits,
                split_seed=split_seed,
                draws=draws,
                seed=seed,
                objective=objective,  # type: ignore[arg-type]
                against=against,
                acting=acting,
            )
            found.append((name, size, again(settings)))
    if as_json:
        one = [result.to_dict() for _, _, result in found]
        print_json(one[0] if len(one) == 1 else {"replays": one})
    elif len(found) == 1:
        _show(found[0][2])
    else:
        _show_several(found)


def _sizes(text: str | None) -> list[int | None]:
    from consensus.errors import DataError

    if text is None:
        return [None]
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise DataError(
            f'"{text}" is no number of seats', where="--seats", fix="5, or 3,5,8 for several"
        ) from None


def _acting(
    losses: str | None,
    veto: int | None,
    alpha: float | None,
    *,
    conformal: bool,
    min_agreement: float | None,
) -> Acting | None:
    """The rule for acting; None where nothing of it was asked for."""
    from consensus.benchmark.acting import Acting, parse_losses

    if (
        losses is None
        and veto is None
        and alpha is None
        and min_agreement is None
        and not conformal
    ):
        return None
    return Acting(
        losses=None if losses is None else parse_losses(losses),
        veto=veto,
        alpha=alpha,
        conformal=conformal,
        min_agreement=0.5 if min_agreement is None else min_agreement,
    )


def _show_several(found: list[tuple[str, int | None, Replay]]) -> None:
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


def _pairs(
    data: Path,
    frontier: str,
    judges: tuple[str, ...],
    seats: int | None,
    *,
    draws: int,
    seed: int,
    as_json: bool,
) -> None:
    """Rankings by pairs: the panel, and the frontier's own comparisons beside it."""
    from consensus.benchmark.replay_pairs import recorded_rankings, replay_pairs
    from consensus.policy.specs import DEFAULT_COMPARISONS

    rankings = recorded_rankings(data)
    most = seats or DEFAULT_COMPARISONS
    found = replay_pairs(rankings, judges, most, draws=draws, seed=seed)
    alone = replay_pairs(rankings, (frontier,), most, draws=1, seed=seed)
    if as_json:
        print_json(
            {
                "strategy": "pairs",
                "n": len(rankings),
                "seats": most,
                "members": list(judges),
                "calls_per_case": found.calls,
                "tau": found.active,
                "tau_random": found.random,
                "difference_ci95": list(found.difference_ci95),
                "frontier": {
                    "model": frontier,
                    "calls_per_case": alone.calls,
                    "tau": alone.active,
                },
            }
        )
        return
    low, high = found.difference_ci95
    for line in (
        f"{len(rankings):,} rankings, at most {most} comparisons each, both orders of a pair",
        f"{', '.join(judges)}: Kendall's tau-b {found.active:.3f} at {found.calls:.1f} comparisons",
        (
            f"as many pairs at random: {found.random:.3f}; "
            f"difference {found.active - found.random:+.3f} (95 % {low:+.3f} to {high:+.3f})"
        ),
        f"{frontier} alone: {alone.active:.3f} at {alone.calls:.1f} comparisons",
    ):
        stdout().print(line, markup=False, highlight=False)


def _warn(report: ImportReport, strict: bool) -> None:
    from consensus.errors import DataError

    broken = sum(report.broken.values())
    if not broken:
        return
    kinds = "; ".join(f"{count:,} × {why}" for why, count in sorted(report.broken.items()))
    if strict:
        raise DataError(f"{broken:,} broken rows ({kinds}): {report.messages[0]}")
    note(f"warning: {broken:,} broken rows are left out ({kinds})")
    for message in report.messages[:5]:
        note(f"  {message}")


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


def _show(result: Replay) -> None:
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
