"""``consensus bench replay``: any strategy over recorded answers, against one frontier pass."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.cli._console import note, print_json, stdout

if TYPE_CHECKING:
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
    int | None,
    typer.Option(
        help="All seats: models in turn, samples in turn. Default: one a model; for auto, as many "
        "as it finds worth asking.",
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
StrategyName = Annotated[
    str,
    typer.Option(
        help="single, vote, scores (mean of scores), weighted*, blocks*, stack* (learned), "
        "adaptive (stops early), adaptive:RULE:OPTIONS* (by certain, ahead, odds, beta, prior, "
        "value, esc, sprt, mixture, votes, scores or both; options level=0.95, calls=4, same=0.98 "
        "or gain=0.95, and waves=3+2), cascade (the last model decides where the rest disagree), "
        "mean* (of probabilities), softmax* (whole scores), stacked*, cisc (stated confidence), "
        "debate (the last member is a recorded debate, the others answered blind), "
        "pairs (recorded rankings by at most --seats comparisons, beside as many at random), "
        "auto* (searches). * learns: needs --calibrate half."
    ),
]
Goal = Annotated[
    str | None,
    typer.Option(
        help="For auto: parity (cheapest that is as good as the frontier), quality (the best), "
        "budget:RATIO (the best at RATIO of the frontier's cost). Default: parity.",
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
Strict = Annotated[
    bool, typer.Option("--strict", help="A broken row is an error, not a counted warning.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def replay(
    data: Data,
    frontier: Frontier,
    panel: Panel,
    strategy: StrategyName = "vote",
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
    from consensus.benchmark.replay import ReplaySettings
    from consensus.benchmark.replay import replay as run_replay
    from consensus.errors import DataError

    judges = tuple(name.strip() for name in panel.split(",") if name.strip())
    if strategy == "pairs":
        _pairs(data, frontier.strip(), judges, seats, draws=draws, seed=seed, as_json=as_json)
        return
    if calibrate not in (None, "half"):
        raise DataError(f'unknown "{calibrate}"', where="--calibrate", fix="half")
    if objective not in (None, "accuracy", "balanced"):
        raise DataError(f'unknown "{objective}"', where="--objective", fix="accuracy or balanced")
    run = load_run(data, unstable=unstable)
    _warn(run.report, strict)
    result = run_replay(
        run,
        ReplaySettings(
            frontier=frontier.strip(),
            panel=judges,
            strategy=strategy,
            seats=seats,
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
        ),
    )
    if as_json:
        print_json(result.to_dict())
    else:
        _show(result)


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
    if figures["chosen"] is not None:
        chosen = figures["chosen"]
        for choice in chosen if isinstance(chosen, list) else [chosen]:
            out.print(f"chosen: {choice.get('summary', choice)}", markup=False)
    stop = figures["strategy"].get("stop")
    if stop is not None:
        import json

        keys = ", ".join(f"{name} = {json.dumps(value)}" for name, value in stop.items())
        out.print(f"in a policy: stop = {{ {keys} }}", markup=False, highlight=False)
    out.print(result.verdict.sentence, markup=False)
    for text in result.notes:
        note(f"note: {text}")


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
    low, high = found["difference_ci95"]
    return f"debate {100 * found['difference']:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"


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
