"""``consensus bench replay``: any strategy over recorded answers, against one frontier pass."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consensus.cli._console import note, print_json, stdout
from consensus.cli.bench._replay_page import show_best, show_one, show_row, show_several

if TYPE_CHECKING:
    from consensus.benchmark.acting import Acting
    from consensus.benchmark.run_format.report import ImportReport
    from consensus.benchmark.run_format.run import RecordedRun

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
    str | None,
    typer.Option(
        help="The models that have seats, with commas. MODEL@VARIANT names one variant. Not with "
        "--row, which has its own.",
        show_default=False,
    ),
]
RowName = Annotated[
    str | None,
    typer.Option(
        "--row",
        help="Instead of a panel and a strategy: the row of this task type in --policy, as the "
        "engine would serve it. Its models are named as the recording does, recorded/NAME where "
        "that has no provider, NAME@VARIANT where a model was asked in several ways.",
        show_default=False,
    ),
]
Policy = Annotated[
    str | None,
    typer.Option(
        help="Policy folder or file of --row. Default: the project's, else the shipped one.",
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
        "dawid_skene (confusions without labels), "
        "debate (the last member is a recorded debate, the others answered blind), "
        "best_of_n (candidates of recorded rankings, chosen by judges who do not judge their own), "
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
        "the others. Implied by auto and by --splits.",
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
    panel: Panel = None,
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
    row: RowName = None,
    policy: Policy = None,
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

    if row is not None:
        if panel is not None:
            raise DataError("a row has its own panel", where="--panel", fix="leave it out")
        run = load_run(data, unstable=unstable)
        _warn(run.report, strict)
        _row(run, data, row, policy, frontier.strip(), variant, seed=seed, as_json=as_json)
        return
    if panel is None:
        raise DataError("names no model", where="--panel", fix="--panel MODEL,MODEL or --row TYPE")
    judges = tuple(name.strip() for name in panel.split(",") if name.strip())
    sizes = _sizes(seats)
    if strategy == ["pairs"]:
        _pairs(data, frontier.strip(), judges, sizes[0], draws=draws, seed=seed, as_json=as_json)
        return
    if strategy == ["best_of_n"]:
        _best(data, frontier.strip(), judges, seed=seed, as_json=as_json)
        return
    half = _half(calibrate, implied="auto" in strategy or splits > 1)
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
                calibrate=half,
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
        show_one(found[0][2])
    else:
        show_several(found)


def _half(calibrate: str | None, *, implied: bool) -> bool:
    """Whether to learn on a half of the cases; says so where nobody asked for it."""
    from consensus.errors import DataError

    if calibrate not in (None, "half"):
        raise DataError(f'unknown "{calibrate}"', where="--calibrate", fix="half")
    if calibrate is None and implied:
        note("half of the cases are learned from, the other half is reported (--calibrate half)")
    return implied or calibrate == "half"


def _row(
    run: RecordedRun,
    folder: Path,
    row: str,
    policy: str | None,
    frontier: str,
    variant: str | None,
    *,
    seed: int,
    as_json: bool,
) -> None:
    """A policy's row, as the engine would serve it."""
    from consensus.benchmark.replay_row import replay_row
    from consensus.cli.policy._shared import prompts_of
    from consensus.policy.load import find_policy, load_policy

    found = replay_row(
        run,
        load_policy(policy, strict=False),  # what a recording names need have no price today
        row,
        frontier=frontier,
        folder=folder,
        book=prompts_of(find_policy(policy)),
        variant=variant,
        seed=seed,
    )
    if as_json:
        print_json(found)
    else:
        show_row(found)


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


def _best(data: Path, frontier: str, judges: tuple[str, ...], *, seed: int, as_json: bool) -> None:
    """Candidates of recorded rankings, chosen by judges who do not judge their own."""
    from consensus.benchmark.replay_best import replay_best
    from consensus.benchmark.replay_pairs import recorded_rankings
    from consensus.errors import DataError

    if not (data / "rankings.jsonl.gz").exists():
        raise DataError(
            "holds no candidates with their authors and judges (rankings.jsonl.gz)",
            where=str(data),
            fix="--strategy scores chooses among options by the judges' scores",
        )
    found = replay_best(recorded_rankings(data), judges, frontier, seed=seed)
    if as_json:
        print_json(found)
    else:
        show_best(found)


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
