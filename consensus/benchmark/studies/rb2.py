"""rb2_judges_dev: judges who score four candidates, in eight passes."""

from __future__ import annotations

from typing import Any

from consensus.benchmark.acting import Acting
from consensus.benchmark.replay_settings import ReplaySettings
from consensus.benchmark.run_format.run import RecordedRun
from consensus.benchmark.studies.declared import (
    HALVES,
    LEARN,
    SEARCH_TEXT,
    Passes,
    Row,
    Single,
    Study,
    Table,
    row,
)

__all__ = ["ACTING", "AUTO", "STOPPING", "STUDY"]

_RB2 = {
    "gpt-5.4": {1: (0.723, 0.617), 3: (0.750, 0.692), 8: (0.760, 0.735)},
    "gpt-5.4-mini": {1: (0.655, 0.525), 3: (0.708, 0.653), 8: (0.729, 0.705)},
    "gpt-5.4-nano": {1: (0.573, 0.453), 3: (0.630, 0.583), 8: (0.688, 0.671)},
    "claude-sonnet-4.6": {1: (0.730, 0.637), 3: (0.776, 0.727), 8: (0.780, 0.759)},
    "claude-haiku-4.5": {1: (0.730, 0.637), 3: (0.775, 0.728), 8: (0.804, 0.791)},
}


def _rb2(label: str, panel: str, strategy: str = "vote", **more: Any) -> Row:
    return row(label, "gpt-5.4", panel, strategy, **{"variant": "base", **more})


def _rb2_single(model: str) -> Single:
    # Naming all five restricts the cases to those that all five answered in full.
    named = ReplaySettings(model, tuple(_RB2), "vote", variant="base", sample=0, complete=True)
    whole = ReplaySettings(model, (model,), "single", variant="base", sample=0)
    return Single(model, named, whole, _RB2[model][1][0], key="frontier_accuracy")


_MINI, _NANO = "gpt-5.4-mini", "gpt-5.4-nano"
STUDY = Study(
    "rb2",
    "rb2_judges_dev",
    "rb2_judges_dev: choose one of four by scoring each",
    "The published figures are on the cases that all five judges answered in full in all eight "
    "passes; a command that names all five (its key `frontier_accuracy`) is on the same cases.",
    tuple(_rb2_single(model) for model in _RB2),
    Passes(tuple(_RB2), "base", "gpt-5.4", _RB2),
    (
        Table(
            "Panels against one pass of gpt-5.4",
            (
                _rb2("vote", _MINI, seats=3),
                _rb2("vote", _MINI, seats=5),
                _rb2("vote", f"{_MINI},{_NANO}", seats=6),
                _rb2("vote", f"{_MINI},{_NANO}", seats=16),
                _rb2("mean score", _MINI, "scores", seats=3),
                _rb2("mean score", _MINI, "scores", seats=5),
                _rb2("mean score", _MINI, "scores", seats=8),
                _rb2("mean score", _NANO, "scores", seats=8),
                _rb2("mean score", f"{_MINI},{_NANO}", "scores", seats=6),
                _rb2("mean score", f"{_MINI},{_NANO}", "scores", seats=16),
                _rb2("mean score", f"{_MINI}@criteria", "scores", seats=3, variant=None),
                _rb2("mean score", f"{_MINI}@combined", "scores", seats=3, variant=None),
                _rb2("mean score", "gpt-5.4", "scores", seats=3),
                _rb2("mean score", "claude-haiku-4.5", "scores", seats=3),
                _rb2("mean score", ",".join(_RB2), "scores", seats=5),
                _rb2("stops early", _MINI, "adaptive", seats=8),
                _rb2("cascade", f"{_MINI},gpt-5.4", "cascade", seats=4),
                _rb2("weighted (learned)", f"{_MINI},{_NANO}", "weighted", seats=6, **LEARN),
                _rb2("blocks (learned)", f"{_MINI},{_NANO}", "blocks", seats=6, **LEARN),
            ),
        ),
    ),
)

_GPT = f"{_MINI},{_NANO},gpt-5.4"
_SKETCH = "cascade:1+2+1+3"
AUTO = Study(
    "rb2-auto",
    "rb2_judges_dev",
    "rb2_judges_dev: the searched strategy",
    SEARCH_TEXT,
    tables=(
        Table(
            "auto against one pass of gpt-5.4",
            tuple(
                _rb2(f"auto, {goal}", _GPT, "auto", goal=goal, against=_SKETCH, **HALVES)
                for goal in ("parity", "quality", "budget:0.4", "budget:1")
            ),
            f"Beside it, on the same halves and in pairs, `{_SKETCH}`: mini, nano, mini again, "
            "gpt-5.4, each one pass; a softmax over each model's mean scores, one temperature a "
            "model and step, and thresholds on the leader's posterior (a grid of 24 levels a "
            "step), both from the calibration half, aimed as `auto` aims.",
        ),
        Table(
            "The same on the cases that all three answered in full",
            tuple(
                _rb2(f"auto, {goal}", _GPT, "auto", goal=goal, complete=True, **HALVES)
                for goal in ("parity", "budget:1")
            ),
            "Above, a pass that is missing or cannot be read counts as wrong, for the panel and "
            "for the frontier alike.",
        ),
    ),
    searches=True,
)


def _stopping(run: RecordedRun | None) -> str:
    from consensus.benchmark.stopping_study import RB2_STOPPING, render_stopping

    if run is None:
        raise ValueError("the comparison of stopping rules reads recorded answers")
    return render_stopping(run, RB2_STOPPING)


STOPPING = Study(
    "rb2-stopping", "rb2_judges_dev", "Stopping early, on the same samples", writer=_stopping
)

ACTING = Study(
    "rb2-acting",
    "rb2_judges_dev",
    "rb2_judges_dev: act, or leave it to somebody",
    "Two passes of mini, one of nano, one of gpt-5.4; held-out halves, means over 20 splits; 16 "
    "sample orders. Columns as in the section before.",
    tables=(
        Table(
            "By probability and by prediction set",
            tuple(
                _rb2(
                    *(strategy, _GPT, strategy),
                    **{"seats": 4, "draws": 16, "acting": rule, **HALVES},
                )
                for rule in (
                    Acting(alpha=0.2),
                    Acting(alpha=0.2, conformal=True),
                    Acting(alpha=0.1, conformal=True),
                )
                for strategy in ("softmax", "stacked")
            ),
        ),
    ),
)
