"""The study's declared replays: which questions are put to which recorded data set.

Nothing here is a result. ``published`` figures are those of the data set's own README.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from consensus.benchmark.acting import Acting
from consensus.benchmark.replay_settings import ReplaySettings
from consensus.benchmark.run_format.run import RecordedRun
from consensus.orchestrators.spec import Losses

__all__ = ["SHIPPED", "STUDIES", "Passes", "Row", "Single", "Study", "Table", "command_of"]


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


def _row(label: str, frontier: str, panel: str, strategy: str = "vote", **more: Any) -> Row:
    return Row(label, ReplaySettings(frontier, tuple(panel.split(",")), strategy, **more))


_LEARN: Mapping[str, Any] = {"calibrate": True, "splits": 5}
_SEARCH: Mapping[str, Any] = {"calibrate": True, "splits": 20}
_SEARCH_TEXT = (
    "`auto` chooses on one half of the cases, by goal; every figure is from the other half, means "
    "over 20 splits."
)


def _alone(model: str, variant: str | None, published: float | None, **more: Any) -> Single:
    whole = ReplaySettings(model, (model,), "single", variant=variant, sample=0)
    name = model if variant is None or "balanced" not in more else f"{model}@{variant}"
    return Single(name, replace(whole, complete=True), whole, published, **more)


# --- rb2 -------------------------------------------------------------------------------------

_RB2 = {
    "gpt-5.4": {1: (0.723, 0.617), 3: (0.750, 0.692), 8: (0.760, 0.735)},
    "gpt-5.4-mini": {1: (0.655, 0.525), 3: (0.708, 0.653), 8: (0.729, 0.705)},
    "gpt-5.4-nano": {1: (0.573, 0.453), 3: (0.630, 0.583), 8: (0.688, 0.671)},
    "claude-sonnet-4.6": {1: (0.730, 0.637), 3: (0.776, 0.727), 8: (0.780, 0.759)},
    "claude-haiku-4.5": {1: (0.730, 0.637), 3: (0.775, 0.728), 8: (0.804, 0.791)},
}


def _rb2(label: str, panel: str, strategy: str = "vote", **more: Any) -> Row:
    return _row(label, "gpt-5.4", panel, strategy, **{"variant": "base", **more})


def _rb2_single(model: str) -> Single:
    # Naming all five restricts the cases to those that all five answered in full.
    named = ReplaySettings(model, tuple(_RB2), "vote", variant="base", sample=0, complete=True)
    whole = ReplaySettings(model, (model,), "single", variant="base", sample=0)
    return Single(model, named, whole, _RB2[model][1][0], key="frontier_accuracy")


_MINI, _NANO = "gpt-5.4-mini", "gpt-5.4-nano"
_rb2_study = Study(
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
                _rb2("weighted (learned)", f"{_MINI},{_NANO}", "weighted", seats=6, **_LEARN),
                _rb2("blocks (learned)", f"{_MINI},{_NANO}", "blocks", seats=6, **_LEARN),
            ),
        ),
    ),
)

_GPT = f"{_MINI},{_NANO},gpt-5.4"
_SKETCH = "cascade:1+2+1+3"
_rb2_auto = Study(
    "rb2-auto",
    "rb2_judges_dev",
    "rb2_judges_dev: the searched strategy",
    _SEARCH_TEXT,
    tables=(
        Table(
            "auto against one pass of gpt-5.4",
            tuple(
                _rb2(f"auto, {goal}", _GPT, "auto", goal=goal, against=_SKETCH, **_SEARCH)
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
                _rb2(f"auto, {goal}", _GPT, "auto", goal=goal, complete=True, **_SEARCH)
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


_rb2_stopping = Study(
    "rb2-stopping", "rb2_judges_dev", "Stopping early, on the same samples", writer=_stopping
)

# --- medagents -------------------------------------------------------------------------------

_CHEAP = "Llama-3.3-70B-Instruct-Turbo,gpt-4o-mini,claude-3-5-haiku"
_MED = {
    "DeepSeek-R1": 0.848,
    "o3-mini": 0.821,
    "gpt-4o": 0.802,
    "o1-mini": 0.788,
    "DeepSeek-V3": 0.760,
    "Llama-3.3-70B-Instruct-Turbo": 0.737,
    "claude-3-5-sonnet": 0.730,
    "QwQ-32B-Preview": 0.713,
    "gpt-4o-mini": 0.696,
    "claude-3-5-haiku": 0.653,
}
_HARD_MODELS = ("gpt-4o-mini", "gpt-4o", "DeepSeek-V3")
_DEBATES = ("multipersona2", "medagents", "mdagents", "self_refine3")
_PROMPTS = ("cot", "few_shot", "cot_sc5", "medprompt3")


def _med(label: str, panel: str, strategy: str = "vote", **more: Any) -> Row:
    frontier = more.pop("frontier", "DeepSeek-R1")
    return _row(label, frontier, panel, strategy, variant="zero_shot", sample=0, **more)


def _hard(methods: tuple[str, ...], against: str) -> tuple[Row, ...]:
    return tuple(
        _row(
            f"{method}",
            f"{model}@{against}",
            f"{model}@{method}",
            "single",
            sample=0,
            complete=True,
        )
        for model in _HARD_MODELS
        for method in methods
    )


_medagents = Study(
    "medagents",
    "medagents",
    "medagents: medical multiple choice",
    singles=tuple(_alone(m, "zero_shot", p) for m, p in _MED.items()),
    tables=(
        Table(
            "Panels of single calls",
            (
                _med("vote", _CHEAP),
                _med("vote", f"{_CHEAP},DeepSeek-V3"),
                _med("vote", f"{_CHEAP},DeepSeek-V3,QwQ-32B-Preview"),
                _med("vote", "o3-mini,Llama-3.3-70B-Instruct-Turbo,DeepSeek-V3"),
                _med("vote", _CHEAP, frontier="Llama-3.3-70B-Instruct-Turbo"),
                _med("vote", _CHEAP, frontier="o3-mini"),
                _med("weighted (learned)", f"{_CHEAP},DeepSeek-V3", "weighted", **_LEARN),
                _med("blocks (learned)", f"{_CHEAP},DeepSeek-V3", "blocks", **_LEARN),
                _med("cascade", f"{_CHEAP},DeepSeek-R1", "cascade"),
                _med("cascade", f"{_CHEAP},o3-mini", "cascade"),
                _med("cascade", f"{_CHEAP},o3-mini", "cascade", frontier="o3-mini"),
            ),
        ),
        Table(
            "Debate and other multi-agent methods against one chain of thought of the same model",
            _hard(_DEBATES, "cot"),
            "On the hard cases. The hard set was chosen by failures of the `zero_shot` calls, so "
            "its comparisons are with `cot` and with `hard_zero_shot`, an independent run. A "
            "method is one recorded answer; its cost is that of all its calls.",
        ),
        Table(
            "The same methods, and prompts, against one direct answer of the same model",
            _hard((*_DEBATES, *_PROMPTS), "hard_zero_shot"),
            "What a method adds to a bare answer, and at how many times its cost. The table above, "
            "against a chain of thought, is the fairer question.",
        ),
        Table(
            "Debate of gpt-4o against one direct answer of o3-mini",
            tuple(
                _row(
                    method,
                    "o3-mini@hard_zero_shot",
                    f"gpt-4o@{method}",
                    "single",
                    sample=0,
                    complete=True,
                )
                for method in _DEBATES
            ),
        ),
    ),
)

_medagents_auto = Study(
    "medagents-auto",
    "medagents",
    "medagents: the searched strategy",
    _SEARCH_TEXT,
    tables=(
        Table(
            "auto against one call of DeepSeek-R1",
            tuple(
                _med(f"auto, {goal}", f"{_CHEAP},o3-mini,DeepSeek-R1", "auto", goal=goal, **_SEARCH)
                for goal in ("parity", "quality", "budget:0.25", "budget:0.5", "budget:1")
            ),
        ),
    ),
    searches=True,
)

# --- mmlu_pro --------------------------------------------------------------------------------

_L70 = "Meta-Llama-3_1-70B-Instruct"
_MMLU = {
    "gemini-3.1-pro": 0.859,
    "gpt4o-may24": 0.727,
    "gemini-1.5-pro-002": 0.706,
    "gemini-1.5-flash-002": 0.646,
    _L70: 0.635,
    "DeepSeek-Coder-V2": 0.556,
    "jamba-1.5-large": 0.506,
    "Qwen1.5-110B": 0.502,
    "Meta-Llama-3_1-8B-Instruct": 0.447,
    "Mixtral-8x7B-Instruct-v0.1": 0.429,
    "Phi-3-mini-4k-instruct": 0.426,
    "mathstral-7B": 0.426,
    "c4ai-command-r-v01": 0.376,
    "Llama-2-7b-hf": 0.187,
}
_MMLU_REST = (
    "DeepSeek-Coder-V2,Llama-2-13b-hf,Llama-2-70b-hf,Llama-2-7b-hf,Meta-Llama-3-70B,"
    "Meta-Llama-3-8B,Meta-Llama-3_1-70B,Meta-Llama-3_1-70B-Instruct,Meta-Llama-3_1-8B,"
    "Meta-Llama-3_1-8B-Instruct,Mistral-7B-Instruct-v0.1,Mistral-7B-Instruct-v0.2,"
    "Mistral-7B-v0.1,Mistral-7B-v0.2-hf,Mixtral-8x7B-Instruct-v0.1,Mixtral-8x7B-v0.1,"
    "Phi-3-mini-4k-instruct,Qwen1.5-110B,Qwen1.5-72B-Chat,Qwen1.5-7B-Chat,Yi-34B,Yi-6B,"
    "Yi-6b-Chat,c4ai-command-r-v01,deepseek-v2,gemma-7b,jamba-1.5-large,mathstral-7B"
)
_WEAK = (
    "Meta-Llama-3_1-8B-Instruct,mathstral-7B,Mixtral-8x7B-Instruct-v0.1,Phi-3-mini-4k-instruct,"
    "c4ai-command-r-v01"
)
_MID = f"gemini-1.5-flash-002,{_L70},jamba-1.5-large,Qwen1.5-110B,Meta-Llama-3-70B"
_THREE = f"gemini-1.5-flash-002,{_L70},DeepSeek-Coder-V2"
_mmlu_pro = Study(
    "mmlu_pro",
    "mmlu_pro",
    "mmlu_pro: ten options",
    "No prices are known. The published figures divide by all stable cases, so that a missing "
    "answer is a wrong one: without `--complete`.",
    tuple(_alone(m, None, p) for m, p in _MMLU.items()),
    tables=(
        Table(
            "Crowds, unweighted, against the best of their members",
            (
                _row("vote, 28 models", _L70, _MMLU_REST),
                _row("vote, 5 small", "Meta-Llama-3_1-8B-Instruct", _WEAK),
                _row("vote, 5 middling", "gemini-1.5-flash-002", _MID),
                _row("vote, 3", "gemini-1.5-flash-002", _THREE),
            ),
        ),
        Table(
            "Panels against a frontier model",
            (
                _row("vote, 28 models", "gpt4o-may24", _MMLU_REST),
                _row("vote, 5 small", "gpt4o-may24", _WEAK),
                _row("vote, 5 middling", "gpt4o-may24", _MID),
                _row("vote, 3", "gpt4o-may24", _THREE),
                _row("weighted (learned), 5", "gpt4o-may24", _MID, "weighted", **_LEARN),
                _row("blocks (learned), 5", "gpt4o-may24", _MID, "blocks", **_LEARN),
                _row("cascade", "gpt4o-may24", f"{_THREE},gpt4o-may24", "cascade"),
                _row("cascade", "gemini-3.1-pro", f"{_THREE},gemini-3.1-pro", "cascade"),
            ),
        ),
    ),
)

_mmlu_pro_auto = Study(
    "mmlu_pro-auto",
    "mmlu_pro",
    "mmlu_pro: the searched strategy",
    f"{_SEARCH_TEXT} No prices are known, so the goal is quality; the frontier is the best member.",
    tables=(
        Table(
            "auto against the best member",
            tuple(
                _row(label, best, panel, "auto", goal="quality", **_SEARCH)
                for label, best, panel in (
                    ("auto, 3", "gemini-1.5-flash-002", _THREE),
                    ("auto, 5 middling", "gemini-1.5-flash-002", _MID),
                    ("auto, 5 small", "Meta-Llama-3_1-8B-Instruct", _WEAK),
                )
            ),
        ),
    ),
    searches=True,
)

# --- prd_vicuna80 ----------------------------------------------------------------------------

_PRD = {"gpt-4": 0.639, "gpt-3.5": 0.608, "claude-1": 0.601, "bard": 0.568, "vicuna-13b": 0.500}
_FOUR = "gpt-3.5,claude-1,bard,vicuna-13b"
_prd = Study(
    "prd",
    "prd_vicuna80",
    "prd_vicuna80: pairs, judged in both orders",
    "Sample 0 is the shown order, sample 1 the swapped one. The published panels decide by the "
    "sign of the votes for 1 less those for 2; here `tie` is an option like the others and equal "
    "votes share their credit, so these rows are no repetition of them. No prices are known.",
    tuple(_alone(m, None, p) for m, p in _PRD.items()),
    tables=(
        Table(
            "Each judge in one order, against gpt-4 in the same order",
            tuple(
                _row(f"{order} order only", "gpt-4", judge, "single", sample=sample)
                for judge in _FOUR.split(",")
                for sample, order in enumerate(("shown", "swapped"))
            ),
        ),
        Table(
            "Both orders and panels, against one judgement of gpt-4 (the mean of its two orders)",
            (
                _row("vote, both orders", "gpt-4", "gpt-4", seats=2),
                _row("vote, one order each", "gpt-4", _FOUR, seats=4),
                _row("vote, both orders", "gpt-4", _FOUR, seats=8),
                _row("vote, both orders", "gpt-4", f"gpt-4,{_FOUR}", seats=10),
                _row("blocks (learned)", "gpt-4", _FOUR, "blocks", seats=8, **_LEARN),
                _row("blocks (learned)", "gpt-4", f"gpt-4,{_FOUR}", "blocks", seats=10, **_LEARN),
            ),
        ),
    ),
)

_prd_auto = Study(
    "prd-auto",
    "prd_vicuna80",
    "prd_vicuna80: the searched strategy",
    f"{_SEARCH_TEXT} No prices are known, so the goal is quality.",
    tables=(
        Table(
            "auto against one judgement of gpt-4",
            (
                _row("auto, all 5", "gpt-4", f"gpt-4,{_FOUR}", "auto", goal="quality", **_SEARCH),
                _row("auto, without gpt-4", "gpt-4", _FOUR, "auto", goal="quality", **_SEARCH),
            ),
        ),
    ),
    searches=True,
)

# --- iclr_review -----------------------------------------------------------------------------

_ICLR_GPT = "gpt-4o@single,gpt-4o@reflect5,gpt-4o@reflect5_ens5,gpt-4o@fewshot1_reflect5_ens5"
_ICLR_OTHER = "gpt-4o-mini@fewshot1_reflect5_ens5,claude-3.5-sonnet@reflect5_ens5"
_ICLR_ALL = f"{_ICLR_GPT},{_ICLR_OTHER}"


def _iclr(label: str, panel: str, strategy: str = "vote", **more: Any) -> Row:
    return _row(label, "gpt-4o@single", panel, strategy, **more)


_iclr_study = Study(
    "iclr",
    "iclr_review",
    "iclr_review: accept or reject, with biased approvers",
    "One reviewer accepts nearly everything and another rejects nearly everything: accuracy "
    "rewards the commoner label (always rejecting is right on .632), balanced accuracy does not. "
    "No prices are known.",
    (
        _alone("claude-3.5-sonnet", "reflect5_ens5", 0.398, balanced=0.524),
        _alone("gpt-4o", "fewshot1_reflect5_ens5", 0.696, balanced=0.602),
        _alone("gpt-4o", "single", 0.656, balanced=0.585),
        _alone("gpt-4o-mini", "fewshot1_reflect5_ens5", 0.648, balanced=0.525),
        _alone("gpt-4o", "reflect5", None, balanced=None),
        _alone("gpt-4o", "reflect5_ens5", None, balanced=None),
    ),
    tables=(
        Table(
            "Reviewers and panels against one plain review of gpt-4o",
            (
                _iclr("alone", "claude-3.5-sonnet@reflect5_ens5", "single"),
                _iclr("alone", "gpt-4o-mini@fewshot1_reflect5_ens5", "single"),
                _iclr("alone", "gpt-4o@fewshot1_reflect5_ens5", "single"),
                _iclr("vote, 4 of gpt-4o", _ICLR_GPT),
                _iclr("vote, all 6", _ICLR_ALL),
                _iclr("vote, 3 models", f"gpt-4o@reflect5_ens5,{_ICLR_OTHER}"),
                _iclr("weighted (learned), all 6", _ICLR_ALL, "weighted", **_LEARN),
                _iclr("blocks (learned), all 6", _ICLR_ALL, "blocks", **_LEARN),
            ),
        ),
    ),
)

_iclr_auto = Study(
    "iclr-auto",
    "iclr_review",
    "iclr_review: the searched strategy",
    f"{_SEARCH_TEXT} No prices are known, so the goal is quality: by balanced accuracy, and by "
    "accuracy.",
    tables=(
        Table(
            "auto on all six reviewers, against one plain review of gpt-4o",
            (
                _iclr("auto, balanced", _ICLR_ALL, "auto", goal="quality", **_SEARCH),
                _iclr(
                    *("auto, accuracy", _ICLR_ALL, "auto"),
                    **{"goal": "quality", "objective": "accuracy", **_SEARCH},
                ),
            ),
        ),
    ),
    searches=True,
)


_HALVES: Mapping[str, Any] = {"calibrate": True, "splits": 20}
_FIVE, _FIFTH = Losses(false_approve=5), Losses(false_reject=5)
_iclr_acting = Study(
    "iclr-acting",
    "iclr_review",
    "iclr_review: act, or leave it to somebody",
    "All six reviewers; every figure is from held-out halves, means over 20 splits. The rule is "
    "that of a policy row: more than half of the six seats behind the outcome, and what stands in "
    "the column *rule*. *acted*: share of the cases. *wrong of those*: selective risk. "
    "*loss*: a case, nothing for what is not acted upon; beside it what acting always on the "
    "majority, and on one plain review of gpt-4o, would lose. *worth*: a case that is left to "
    "somebody may cost so much to settle before acting always would have been as good.",
    tables=tuple(
        Table(
            title,
            tuple(
                _iclr(strategy, _ICLR_ALL, strategy, acting=rule, **_HALVES)
                for rule in rules
                for strategy in strategies
            ),
            text,
        )
        for title, strategies, rules, text in (
            (
                "A wrong approval costs five wrong rejections",
                ("vote", "live:blocks", "stacked"),
                (
                    Acting(losses=Losses(), veto=2),
                    Acting(losses=_FIVE),
                    Acting(losses=_FIVE, veto=1),
                ),
                "`vote` is a cold start; `live:blocks` has each model's confusion matrix.",
            ),
            (
                "A wrong rejection costs five wrong approvals",
                ("vote", "live:blocks", "stacked"),
                (Acting(losses=_FIFTH),),
                "",
            ),
            (
                "Prediction sets",
                ("mean", "live:weighted", "live:blocks", "stacked"),
                (Acting(alpha=0.1, conformal=True), Acting(alpha=0.2, conformal=True)),
                "Coverage is what is promised (1 − α, of sets); the error among the acted is not.",
            ),
        )
    ),
)
_rb2_acting = Study(
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
                    **{"seats": 4, "draws": 16, "acting": rule, **_HALVES},
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


def _simulations(_: RecordedRun | None) -> str:
    from consensus.benchmark.simulation_study import render_simulations

    return render_simulations()


_simulation = Study("simulation", "", "Simulations", writer=_simulations)


def _live(run: RecordedRun | None) -> str:
    from consensus.benchmark.live_study import render_live

    if run is None:
        raise ValueError("the live run's section reads its answers")
    return render_live(run)


_live_study = Study("live", f"{SHIPPED}recorded/judgement-local", "The live run", writer=_live)

STUDIES: tuple[Study, ...] = (
    _live_study,
    _rb2_study,
    _rb2_stopping,
    _rb2_auto,
    _medagents,
    _medagents_auto,
    _mmlu_pro,
    _mmlu_pro_auto,
    _prd,
    _prd_auto,
    _iclr_study,
    _iclr_auto,
    _iclr_acting,
    _rb2_acting,
    _simulation,
)
"""In the order of their sections."""
