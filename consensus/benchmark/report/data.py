"""A run's report as plain values: every figure, how it was measured, and what is not known.

Null is *unknown*, never 0. The same folder and settings give the same values: nothing here looks
at the clock, and every random order has a seed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus._version import __version__
from consensus.benchmark.controls import control_figures, oracle_credit
from consensus.benchmark.evidence import Evidence, evidence_of
from consensus.benchmark.fixed_panels import Vote
from consensus.benchmark.measure import Measured, figures, measure, measure_single
from consensus.benchmark.recorded import load_run
from consensus.benchmark.replay import Replayer, ReplaySettings
from consensus.benchmark.replay_strategies import FIXED_STRATEGIES, make_strategy
from consensus.benchmark.report.figures import (
    MOST_SEATS,
    agreement_matrix,
    by_seats,
    dependence,
    difference,
    interval,
    mark_pareto,
    model_rows,
    risk_curve,
)
from consensus.benchmark.report.readings import worst_cases
from consensus.benchmark.report.scope import Scope, choose_scope
from consensus.benchmark.run_format.run import RecordedRun
from consensus.benchmark.verdict import verdict
from consensus.errors import DataError
from consensus.statistics import Interval
from consensus.strangers import read_json

__all__ = ["FORMAT", "ReportSettings", "build_report", "to_json"]

FORMAT = 1

DIGITS = 9
"""Significant digits kept: more would show the machine and not the run."""

LEARNED = ("weighted", "blocks")
"""Strategies that are calibrated on one half of the cases and measured on the other."""

FEW_CASES = 20
"""A group of fewer cases than this is said to be too small for a ruling."""


@dataclass(frozen=True)
class ReportSettings:
    """What to report; what is None is chosen by rule, and the report says how.

    Attributes:
        frontier: the model that the panel is compared with. Default: the dearest.
        panel: who has seats. Default: every model that costs less than the frontier.
        variant: prompt or method of recorded answers.
        strategy: whose verdict stands at the top.
        goal: of ``auto``, as for a replay.
        seats: of that strategy; None: one a model, and for a vote one more where their number is
            even and there are enough samples, at least three.
        all_cases: also cases that some model has not answered (it is then wrong there).
        readings: cases to read, of each sort.
        draws: random sample orders.
        seed: of orders and intervals.
    """

    frontier: str | None = None
    panel: tuple[str, ...] | None = None
    variant: str | None = None
    strategy: str = "vote"
    goal: str | None = None
    seats: int | None = None
    all_cases: bool = False
    readings: int = 4
    draws: int = 16
    seed: int = 0


def build_report(
    folder: str | Path, settings: ReportSettings | None = None, *, unstable: bool = False
) -> dict[str, Any]:
    """Measure everything that a report shows.

    Args:
        folder: a run of ``consensus bench``, or recorded answers.
        settings: None for the defaults.
        unstable: also use recorded cases whose ``label_stable`` is false.

    Raises:
        DataError: for a folder, model, variant or strategy that cannot be used.
    """
    path = Path(folder)
    wanted = settings or ReportSettings()
    run = load_run(path, unstable=unstable)
    live = _live(path)
    scope = choose_scope(
        run,
        frontier=wanted.frontier,
        panel=wanted.panel,
        variant=wanted.variant,
        all_cases=wanted.all_cases,
    )
    everybody = evidence_of(scope.run, scope.members)
    top = everybody.only([scope.members.index(scope.frontier)])
    base = measure_single(top, top)
    rows, singles = model_rows(scope, everybody, top)
    report: dict[str, Any] = {
        "format": FORMAT,
        "name": scope.run.name,
        "state": live.get("state"),
        "setup": _setup(scope, wanted, live),
    }
    if scope.panel:
        seated = everybody.only([scope.members.index(member) for member in scope.panel])
        wanted = replace(wanted, seats=_seats(scope, wanted, seated))
        report["setup"]["seats"] = wanted.seats or len(scope.panel)
        report |= _compared(scope, wanted, seated, base, singles)
        report["disagreements"] = worst_cases(
            scope,
            everybody,
            _decisions(seated, wanted),
            base,
            most=wanted.readings,
            folder=path if live else None,
        )
    else:
        report |= _alone(scope, base)
    report["models"] = rows
    report["pareto"] = mark_pareto([*rows, *report["strategies"]])
    report["agreement"] = agreement_matrix(scope, everybody)
    report["cost"] = _cost(rows, live)
    report["method"] = _method(run, scope, wanted, live)
    tidied: dict[str, Any] = _tidy(report)
    return tidied


def to_json(report: Mapping[str, Any]) -> str:
    """The report as JSON text: one spelling, so that equal reports are equal bytes."""
    return json.dumps(report, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


# -- the panel against the frontier ----------------------------------------------------------------


def _compared(
    scope: Scope,
    wanted: ReportSettings,
    seated: Evidence,
    base: Measured,
    singles: Mapping[str, Measured],
) -> dict[str, Any]:
    again = Replayer(scope.run)
    head = _replay(again, scope, wanted, wanted.strategy, wanted.seats)
    strategies = [_strategy_row(scope, wanted.strategy, wanted.seats, head, chosen=True)]
    left_out: list[dict[str, Any]] = []
    for name, seats in _others(scope, wanted, seated):
        try:
            found = _replay(again, scope, wanted, name, seats)
        except DataError as error:  # too few cases to calibrate on, or samples to seat
            left_out.append({"name": name, "seats": seats, "why": error.message})
            continue
        strategies.append(_strategy_row(scope, name, seats, found))
    depth = int(seated.typical.min())
    seats = min(len(scope.panel) * max(1, depth), max(MOST_SEATS, len(scope.panel)))
    return {
        "verdict": _verdict(scope, head),
        "headline": _figures(scope, head),
        "strategies": strategies,
        "strategies_left_out": left_out,
        "controls": _controls(scope, head["controls"]),
        "by_seats": by_seats(seated, base, seed=wanted.seed),
        "dependence": dependence(seated, seed=wanted.seed),
        "risk_coverage": risk_curve(seated, seats=seats),
        "groups_of": wanted.strategy if wanted.strategy in _PARTS else "vote",
        **_groups(scope, wanted, seated, base, singles),
    }


def _seats(scope: Scope, wanted: ReportSettings, seated: Evidence) -> int | None:
    """Seats of the strategy at the top: an odd number of votes where the recording has enough."""
    if wanted.seats is not None or wanted.strategy != "vote":
        return wanted.seats
    odd = max(3, len(scope.panel) + 1 - len(scope.panel) % 2)
    return odd if odd <= len(scope.panel) * int(seated.typical.min()) else None


def _replay(
    again: Replayer, scope: Scope, wanted: ReportSettings, name: str, seats: int | None
) -> dict[str, Any]:
    panel = [member.name for member in scope.panel]
    if name == "cascade":
        panel.append(scope.frontier.name)
    learned = name not in FIXED_STRATEGIES or not make_strategy(name, seats).fitted
    return again(
        ReplaySettings(
            frontier=scope.frontier.name,
            panel=tuple(panel),
            strategy=name,
            seats=seats,
            goal=wanted.goal if name == wanted.strategy else None,
            calibrate=learned,
            draws=wanted.draws,
            seed=wanted.seed,
        ),
    ).to_dict()


def _others(scope: Scope, wanted: ReportSettings, seated: Evidence) -> list[tuple[str, int | None]]:
    """The strategies beside the one at the top, and their seats."""
    depth = int(seated.typical.min())
    many = min(len(scope.panel) * depth, MOST_SEATS)
    plain = len(scope.panel)
    found: list[tuple[str, int | None]] = [("vote", None)]
    if many > plain:
        found.append(("vote", many))
    if len(scope.panel) * depth > 1:
        found.append(("adaptive", many if many > plain else None))
    if seated.scores is not None:
        found.append(("scores", None))
    found += [("cascade", None), *((name, None) for name in LEARNED)]
    if len(scope.panel) < 2:
        found = [entry for entry in found if entry[0] not in LEARNED]
    top = (wanted.strategy, wanted.seats or plain)
    return [entry for entry in dict.fromkeys(found) if (entry[0], entry[1] or plain) != top]


_FIGURES = (
    "n",
    "accuracy",
    "ci95",
    "accuracy_strict",
    "frontier_accuracy",
    "difference",
    "difference_ci95",
    "agreement",
    "agreement_kappa",
    "calls_per_case",
    "cost_per_case",
    "frontier_cost_per_case",
    "cost_ratio",
    "cost_per_correct",
    "latency_p50",
    "latency_ratio",
    "escalation_rate",
    "tie_rate",
)


def _figures(scope: Scope, found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in _FIGURES}


def _verdict(scope: Scope, found: Mapping[str, Any]) -> dict[str, Any]:
    ruling = found["verdict"]
    return {**ruling, "sentence": scope.shorten(ruling["sentence"])}


def _strategy_row(
    scope: Scope, name: str, seats: int | None, found: Mapping[str, Any], *, chosen: bool = False
) -> dict[str, Any]:
    members = len(scope.panel) + (name == "cascade")
    return {
        "name": f"{name}, {seats or members} {'seat' if (seats or members) == 1 else 'seats'}",
        "strategy": name,
        "seats": seats or members,
        "role": "top" if chosen else "",
        "learned": name in LEARNED or name == "auto",
        **_figures(scope, found),
        **_verdict(scope, found),
    }


_CONTROLS = {
    "best_single": "one pass of the panel's best member",
    "all_frontier": "every case to the frontier",
    "shuffled": "a coin between two single models, at the strategy's own cost",
    "majority": "plurality of the same seats",
    "oracle": "right wherever any seat is right: no way of combining can pass it",
}


def _controls(scope: Scope, controls: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for name, control in controls.items():
        given = control.get("model") or control.get("models") or []
        models = [given] if isinstance(given, str) else list(given)
        rows.append(
            {
                "name": name,
                "meaning": _CONTROLS[name],
                "models": [scope.shorten(model) for model in models],
                "accuracy": control["accuracy"],
                "cost_per_case": control["cost_per_case"],
            }
        )
    return rows


_PARTS = ("vote", "single", "scores", "adaptive")
"""Strategies that are shown on parts of the cases; for any other, a vote of the same seats is."""


def _decisions(seated: Evidence, wanted: ReportSettings) -> Measured:
    """The decisions that groups and readings look at."""
    name = wanted.strategy if wanted.strategy in _PARTS else "vote"
    strategy = make_strategy(name, wanted.seats)
    return measure(strategy, seated, draws=wanted.draws, seed=wanted.seed)


def _groups(
    scope: Scope,
    wanted: ReportSettings,
    seated: Evidence,
    base: Measured,
    singles: Mapping[str, Measured],
) -> dict[str, Any]:
    """The same comparison on the cases of each task type, complexity and tag."""
    measured = _decisions(seated, wanted)
    majority = measure(Vote(wanted.seats), seated, draws=wanted.draws, seed=wanted.seed)
    oracle = oracle_credit(seated, wanted.seats, draws=wanted.draws, seed=wanted.seed)
    cases = scope.run.cases
    panel = [member.name for member in scope.panel]
    chosen = {name: singles[name] for name in dict.fromkeys([*panel, scope.frontier.name])}

    def table(keys: list[tuple[str, ...]], order: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        names = {key for group in keys for key in group if key}
        rank = {name: i for i, name in enumerate(order)}
        rows = []
        for name in sorted(names, key=lambda key: (rank.get(key, len(rank)), key)):
            where = np.array([i for i, group in enumerate(keys) if name in group], dtype=np.int64)
            rows.append({"name": name, **one(where)})
        return rows

    def one(where: NDArray[np.int64]) -> dict[str, Any]:
        mine, theirs = measured.take(where), base.take(where)
        values = figures(mine, theirs, labelled=False)
        controls = control_figures(
            singles=chosen,
            panel=panel,
            frontier=base,
            majority=majority,
            oracle=oracle,
            cost=values["cost_per_case"],
            evaluate=where,
            calibrate=None,
        )
        gap, span = difference(mine, theirs, seed=wanted.seed)
        best = controls["best_single"]
        row = {
            "n": len(where),
            "accuracy": values["accuracy"],
            "ci95": interval(mine.credit),
            "frontier_accuracy": values["frontier_accuracy"],
            "frontier_ci95": interval(theirs.credit),
            "difference": gap,
            "difference_ci95": span,
            "best_single": scope.shorten(best["model"]),
            "best_single_accuracy": best["accuracy"],
            "cost_per_case": values["cost_per_case"],
            "cost_ratio": values["cost_ratio"],
            "ruling": None,
        }
        if len(where) >= FEW_CASES:
            variance = float(np.var(mine.credit - theirs.credit))
            row["ruling"] = verdict(
                values, controls, Interval(*span), n=len(where), name="panel", variance=variance
            ).ruling
        return row

    levels = [_words_of(record.get("complexity")) for record in cases.records]
    tags = [_words_of(record.get("tags")) for record in cases.records]
    return {
        "by_type": table([_words_of(name) for name in cases.strata]),
        "by_kind": table([_words_of(name) for name in cases.kinds]),
        "by_complexity": table(levels, ("low", "medium", "high")),
        "by_tag": table(tags)[:20],
    }


def _words_of(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()


def _alone(scope: Scope, base: Measured) -> dict[str, Any]:
    accuracy = float(base.credit.mean())
    low, high = interval(base.credit)
    sentence = (
        f"nothing to compare: only {scope.name(scope.frontier)} answered; it is right on "
        f"{accuracy:.1%} (95 % {low:.1%} to {high:.1%}, n = {len(base):,})"
    )
    empty: list[Any] = []
    return {
        "verdict": {"ruling": "nothing to compare", "sentence": sentence, "more_cases": None},
        "headline": None,
        "strategies": empty,
        "strategies_left_out": empty,
        "controls": empty,
        "groups_of": None,
        "by_seats": None,
        "dependence": None,
        "risk_coverage": None,
        "by_type": empty,
        "by_kind": empty,
        "by_complexity": empty,
        "by_tag": empty,
        "disagreements": empty,
    }


# -- what it cost, and how it was measured ---------------------------------------------------------


def _live(folder: Path) -> dict[str, Any]:
    """What a live run's folder says of itself; empty for recorded answers."""
    found: dict[str, Any] = {}
    for name in ("manifest.json", "run.json"):
        path = folder / name
        if path.exists():
            try:
                data = read_json(path)
            except ValueError as error:
                raise DataError(f"cannot be read: {error}", where=str(path)) from None
            if isinstance(data, dict):
                found = {**data, **found}
    return found


def _setup(scope: Scope, wanted: ReportSettings, live: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "cases": len(scope.run.cases),
        "left_out": scope.left_out,
        "models": len(scope.members),
        "frontier": scope.name(scope.frontier),
        "panel": [scope.name(member) for member in scope.panel],
        "strategy": wanted.strategy,
        "seats": wanted.seats or len(scope.panel),
        "variants": list(scope.variants),
        "started": live.get("started"),
        "why": list(scope.why),
    }


def _cost(rows: list[dict[str, Any]], live: Mapping[str, Any]) -> dict[str, Any]:
    usd = [row["usd"] for row in rows]
    known = [value for value in usd if value is not None]
    graded = [given.get("grading_usd") for given in (live.get("models") or {}).values()]
    return {
        "paid_usd": live.get("spent_usd"),
        "grading_usd": sum(graded) if graded and None not in graded else None,
        "answers_usd": None if None in usd else sum(usd),
        "known_usd": sum(known) if known else None,
        "unknown": [row["name"] for row in rows if row["usd"] is None],
        "answers": sum(row["answers"] for row in rows),
        "failures": sum(sum(row["failures"].values()) for row in rows),
    }


_DEFINITIONS = {
    "accuracy": "The share of cases decided rightly. A tie of k options counts 1/k where one of "
    "them is right. A single pass without a readable answer is wrong; on a panel it is a seat "
    "without a vote.",
    "case": "Every case counts once, whatever weight its suite gives it.",
    "one pass": "One answer of one model to a case. Where a model answered several times, its "
    "figures are the mean over these passes.",
    "95 %": "Wilson's interval over cases, at the effective sample size where credits are "
    "fractions; differences: percentile bootstrap over cases, paired.",
    "cost a case": "Recorded dollars, else tokens times the prices given; every answer that is "
    "used is paid for. Unknown where a price or a token count is missing.",
    "Pareto": "Nothing measured here is both cheaper and more accurate. The line joins what coins "
    "between such points can reach.",
    "agreement": "The chance that two give the same answer to a case; kappa corrects for chance.",
    "error correlation": "Pearson's correlation of being wrong. The panel's seats are worth "
    "N / (1 + (N - 1) rho) independent ones.",
    "risk and coverage": "Cases are decided where the leader's share of all seats reaches a "
    "threshold. Coverage: the share decided. Risk: the share of wrong ones among these.",
    "learned": "Calibrated on the cases whose sha256(seed:case_id) begins with a 0 bit, measured "
    "on the others.",
    "verdict": "Pays: better than the frontier, or as good (within 1 point) and cheaper, or a "
    "saving beyond what shuffled routing at that price gives. Does not pay: beaten by one model "
    "that costs no more, or worse, or no better and not cheaper. Otherwise the interval is too "
    "wide: not enough cases.",
}


def _method(
    run: RecordedRun, scope: Scope, wanted: ReportSettings, live: Mapping[str, Any]
) -> dict[str, Any]:
    source = {
        key: value
        for key, value in sorted(run.source.items())
        if isinstance(value, str | int | float) and value != ""
    }
    notes = [*run.report.notes, *(live.get("report") or {}).get("notes", [])]
    prices = live.get("prices_date") or run.source.get("prices_date")
    return {
        "consensus": __version__,
        "source": source,
        "oracles": dict(sorted((run.source.get("oracles") or {}).items())),
        "graders": list(run.source.get("graders") or []),
        "plan": run.source.get("plan"),
        "started": live.get("started"),
        "prices": {
            model: {k: v for k, v in price._asdict().items() if v is not None}
            for model, price in sorted(run.prices.items())
        },
        "prices_date": prices,
        "seed": wanted.seed,
        "draws": wanted.draws,
        "reading": run.report.summary(),
        "broken": dict(sorted(run.report.broken.items())),
        "messages": [message.rpartition("/")[2] for message in run.report.messages[:10]],
        "notes": [note.rpartition("/")[2] if "/" in note.split(" ")[0] else note for note in notes],
        "definitions": _DEFINITIONS,
    }


def _tidy(value: Any) -> Any:
    """Plain JSON values; floats to :data:`DIGITS` significant digits; NaN and infinity to None."""
    if isinstance(value, Mapping):
        return {str(key): _tidy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tidy(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") + 0.0 if math.isfinite(value) else None
    return value
