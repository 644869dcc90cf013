"""The live run of the shipped suite, as a section of the study's Markdown.

Models on one's own machine cost nothing by a price list, so what a panel costs is said in calls,
and in seconds beside one call of the larger model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark._study_page import grid
from consensus.benchmark.replay import Replay, Replayer
from consensus.benchmark.replay_settings import ReplaySettings
from consensus.benchmark.run_format.run import RecordedRun
from consensus.benchmark.studies.declared import SHIPPED, command_of
from consensus.errors import DataError

__all__ = ["FOLDER", "LIVE", "LivePlan", "render_live"]

FOLDER = f"{SHIPPED}recorded/judgement-local"
"""Where the run's answers lie in the checkout."""


@dataclass(frozen=True)
class LivePlan:
    """What is compared.

    Attributes:
        small: the model that has the panel's seats, one for each framing that it was asked with.
        large: the model that is asked once.
        plain: the framing of a single call.
    """

    small: str
    large: str
    plain: str = "plain"


LIVE = LivePlan("local/qwen2.5-coder-0.5b-instruct", "local/qwen2.5-coder-1.5b-instruct")


def render_live(run: RecordedRun, plan: LivePlan = LIVE) -> str:
    """The section: the panel and its parts against one plain call of the larger model.

    Raises:
        DataError: the run holds no panel of the small model, or nothing of the larger one.
    """
    framings = _framings(run, plan.small, plan.plain)
    if len(framings) < 2:
        raise DataError(
            f"{plan.small} was asked with {len(framings)} framing, and a panel needs two",
            where=run.name,
            fix="consensus bench run SUITE --framings 3",
        )
    seats = tuple(f"{plan.small}@{framing}" for framing in framings)
    against = f"{plan.large}@{plan.plain}"
    rows: list[tuple[str, ReplaySettings]] = [
        ("one plain call of the small model", ReplaySettings(against, seats[:1], "single")),
        ("its panel, by vote", ReplaySettings(against, seats, "vote")),
        ("its panel, probabilities averaged", ReplaySettings(against, seats, "scores")),
    ]
    more = tuple(f"{plan.large}@{framing}" for framing in _framings(run, plan.large, plan.plain))
    if len(more) > 1 and _seats(run, plan.large).min() > 1:
        rows.append(("a panel of the larger model, by vote", ReplaySettings(against, more)))
        averaged = ReplaySettings(against, more, "scores")
        rows.append(("a panel of the larger model, probabilities averaged", averaged))
    again = Replayer(run)
    measured = [(label, settings, again(settings)) for label, settings in rows]
    return "\n\n".join(
        [
            "## The shipped suite, live on local models",
            _text(run, plan, framings),
            grid(_HEAD, (_row(n, *one) for n, one in enumerate(measured, 1))),
            "### By task type",
            _by_type(run, [(label, settings) for label, settings, _ in measured], against),
            "<details><summary>Commands</summary>\n\n"
            + "\n".join(
                f"{n}. `{command_of(FOLDER, settings)}`"
                for n, (_, settings, _) in enumerate(measured, 1)
            )
            + "\n\n</details>",
        ]
    )


_HEAD = (
    *("#", "strategy", "n", "accuracy (95 %)", "larger model's", "difference (95 %)"),
    *("calls", "seconds, ratio", "ties", "verdict"),
)


def _framings(run: RecordedRun, model: str, first: str) -> tuple[str, ...]:
    """What a model was asked with; the plain framing leads."""
    found = {one.variant for one in run.members if one.model == model}
    return tuple(sorted(found, key=lambda name: (name != first, name)))


def _seats(run: RecordedRun, model: str) -> NDArray[np.int64]:
    """(n,) answers of a model to each case."""
    own = [number for number, one in enumerate(run.members) if one.model == model]
    asked = run.rows.case[np.isin(run.rows.member, own)]
    return np.bincount(asked, minlength=len(run.cases))


def _text(run: RecordedRun, plan: LivePlan, framings: tuple[str, ...]) -> str:
    return (
        f"`benchmarks/suites/judgement` ({len(run.cases):,} cases, six kinds of task) put to "
        f"`{plan.small}` and `{plan.large}` on one CPU. The larger model is asked once, plainly, "
        "as a team without an engine would ask it. Framings differ by kind of task "
        f"({', '.join(framings)}); where a closed answer fits one token, a ballot is a "
        "distribution over the options. Both models are free, so the cost is calls and the "
        "seconds that they took one after another on a machine with other work."
        f"{_unused(run, plan)}\n\n"
        f"The answers are in `{FOLDER}`; its `run.json` says how they were asked."
    )


def _unused(run: RecordedRun, plan: LivePlan) -> str:
    """What was asked and takes no part: framings of the larger model that not every case has."""
    seats = _seats(run, plan.large)
    if seats.max() == seats.min():
        return ""
    return (
        f" A panel of the larger model was begun and is not complete: {(seats - 1).sum():,} of its "
        "answers are recorded and take no part here."
    )


def _row(number: int, label: str, settings: ReplaySettings, result: Replay) -> list[str]:
    figures = result.figures
    low, high = figures["ci95"]
    least, most = figures["difference_ci95"]
    calls, ratio = figures["calls_per_case"], figures["latency_ratio"]
    return [
        str(number),
        label,
        f"{figures['n']:,}",
        f"{figures['accuracy']:.3f} ({low:.3f} to {high:.3f})",
        f"{figures['frontier_accuracy']:.3f}",
        f"{100 * figures['difference']:+.1f} ({100 * least:+.1f} to {100 * most:+.1f})",
        f"{calls:.1f}",
        "–" if ratio is None else f"{ratio:.2f}",
        f"{figures['tie_rate']:.3f}",
        result.verdict.sentence,
    ]


def _by_type(run: RecordedRun, rows: list[tuple[str, ReplaySettings]], against: str) -> str:
    single = ReplaySettings(against, (against,), "single")
    columns = [("one plain call of the larger model", single), *rows]
    types = np.asarray(run.cases.strata)
    body = []
    for name in sorted(set(types.tolist())):
        again = Replayer(run.take_cases(np.flatnonzero(types == name)))
        cells = [again(settings).figures for _, settings in columns]
        body.append(
            [
                f"`{name}`",
                str(cells[0]["n"]),
                *(f"{one['accuracy'] * one['n']:.1f}".removesuffix(".0") for one in cells),
            ]
        )
    return "Right answers; ties share.\n\n" + grid(
        ["type", "n", *(label for label, _ in columns)], body
    )
