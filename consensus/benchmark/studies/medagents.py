"""medagents: medical multiple choice, single calls and methods of several agents."""

from __future__ import annotations

from typing import Any

from consensus.benchmark.studies.declared import (
    HALVES,
    LEARN,
    SEARCH_TEXT,
    Row,
    Study,
    Table,
    alone,
    row,
)

__all__ = ["AUTO", "STUDY"]

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
    return row(label, frontier, panel, strategy, variant="zero_shot", sample=0, **more)


def _hard(methods: tuple[str, ...], against: str) -> tuple[Row, ...]:
    return tuple(
        row(
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


STUDY = Study(
    "medagents",
    "medagents",
    "medagents: medical multiple choice",
    singles=tuple(alone(m, "zero_shot", p) for m, p in _MED.items()),
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
                _med("weighted (learned)", f"{_CHEAP},DeepSeek-V3", "weighted", **LEARN),
                _med("blocks (learned)", f"{_CHEAP},DeepSeek-V3", "blocks", **LEARN),
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
                row(
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

AUTO = Study(
    "medagents-auto",
    "medagents",
    "medagents: the searched strategy",
    SEARCH_TEXT,
    tables=(
        Table(
            "auto against one call of DeepSeek-R1",
            tuple(
                _med(f"auto, {goal}", f"{_CHEAP},o3-mini,DeepSeek-R1", "auto", goal=goal, **HALVES)
                for goal in ("parity", "quality", "budget:0.25", "budget:0.5", "budget:1")
            ),
        ),
    ),
    searches=True,
)
