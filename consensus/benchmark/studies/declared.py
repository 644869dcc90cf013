"""What a study is: the replays that are declared of one data set, and their command lines."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from consensus.benchmark.replay_settings import ReplaySettings
from consensus.benchmark.run_format.run import RecordedRun

__all__ = [
    "HALVES",
    "LEARN",
    "SEARCH_TEXT",
    "SHIPPED",
    "Passes",
    "Row",
    "Single",
    "Study",
    "Table",
    "alone",
    "command_of",
    "row",
]


@dataclass(frozen=True)
class Row:
    """One replay and what it is called in its table."""

    label: str
    settings: ReplaySettings


@dataclass(frozen=True)
class Table:
    """Replays that belong together.

    Attributes:
        title: a heading.
        rows: the replays.
        text: what a reader must know of them.
        ruled: whether the rows carry their verdict.
    """

    title: str
    rows: tuple[Row, ...]
    text: str = ""
    ruled: bool = True


@dataclass(frozen=True)
class Single:
    """A single model's figure beside the published one.

    Attributes:
        name: the model, with its variant where that matters.
        settings: on the cases answered in full (``--sample 0 --complete``).
        everywhere: the same on all cases, a missing answer counting as wrong.
        published: the README's accuracy.
        balanced: the README's balanced accuracy.
        key: which of the figures of ``settings`` is this model's.
    """

    name: str
    settings: ReplaySettings
    everywhere: ReplaySettings
    published: float | None = None
    balanced: float | None = None
    key: str = "accuracy"


@dataclass(frozen=True)
class Passes:
    """Mean scores of k passes of each model, beside the published figures of the first k.

    Attributes:
        models: all of them; the published cases are those that all answered in full.
        variant: the prompt.
        frontier: what the replays compare with.
        published: (tie-split accuracy, strict accuracy) by model and k.
    """

    models: tuple[str, ...]
    variant: str
    frontier: str
    published: Mapping[str, Mapping[int, tuple[float, float]]]

    def rows(self) -> list[tuple[str, int, ReplaySettings]]:
        """One replay a model and k."""
        return [
            (
                model,
                k,
                ReplaySettings(
                    frontier=self.frontier,
                    panel=(model,),
                    strategy="scores",
                    seats=k,
                    variant=self.variant,
                    complete=True,
                ),
            )
            for model in self.models
            for k in self.published[model]
        ]


@dataclass(frozen=True)
class Study:
    """What is asked of one data set.

    Attributes:
        name: of its section in the results.
        folder: of the data set.
        title: a heading.
        text: definitions that a reader needs.
        singles: single models beside the published figures.
        passes: score means by number of passes.
        tables: the replays.
        searches: it runs ``auto``, which takes minutes: only when asked for.
        writer: writes the whole section instead, from the run (None where ``folder`` is empty:
            nothing is read).
    """

    name: str
    folder: str
    title: str
    text: str = ""
    singles: tuple[Single, ...] = ()
    passes: Passes | None = None
    tables: tuple[Table, ...] = field(default=())
    searches: bool = False
    writer: Callable[[RecordedRun | None], str] | None = None


SHIPPED = "benchmarks/"
"""A data set whose folder begins so lies in the checkout."""

_FLAGS = {
    "seats": "--seats",
    "variant": "--variant",
    "sample": "--sample",
    "goal": "--goal",
    "splits": "--splits",
    "split_seed": "--split-seed",
    "draws": "--draws",
    "seed": "--seed",
    "objective": "--objective",
    "against": "--against",
}


def command_of(folder: str, settings: ReplaySettings) -> str:
    """The command line that repeats a replay; defaults are left out."""
    parts = ["consensus", "bench", "replay", "--frontier", settings.frontier]
    parts += ["--panel", ",".join(settings.panel), "--strategy", settings.strategy]
    defaults = {f.name: f.default for f in fields(ReplaySettings)}
    for name, flag in _FLAGS.items():
        value = getattr(settings, name)
        if value != defaults[name]:
            parts += [flag, str(value)]
    if settings.acting is not None:
        parts += settings.acting.flags()
    if settings.complete:
        parts.append("--complete")
    if settings.calibrate:
        parts += ["--calibrate", "half"]
    data = folder if folder.startswith(SHIPPED) else f'"$CONSENSUS_DATA/{folder}"'
    return f"{shlex.join(parts)} --data {data}"


def row(label: str, frontier: str, panel: str, strategy: str = "vote", **more: Any) -> Row:
    """A replay of a panel, its models with commas."""
    return Row(label, ReplaySettings(frontier, tuple(panel.split(",")), strategy, **more))


LEARN: Mapping[str, Any] = {"calibrate": True, "splits": 5}
HALVES: Mapping[str, Any] = {"calibrate": True, "splits": 20}
SEARCH_TEXT = (
    "`auto` chooses on one half of the cases, by goal; every figure is from the other half, means "
    "over 20 splits."
)


def alone(model: str, variant: str | None, published: float | None, **more: Any) -> Single:
    """One model, on the cases that it answered in full and on all."""
    whole = ReplaySettings(model, (model,), "single", variant=variant, sample=0)
    name = model if variant is None or "balanced" not in more else f"{model}@{variant}"
    return Single(name, replace(whole, complete=True), whole, published, **more)
