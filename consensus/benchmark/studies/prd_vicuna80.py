"""prd_vicuna80: which of two answers is better, in both orders."""

from __future__ import annotations

from consensus.benchmark.studies.declared import (
    HALVES,
    LEARN,
    SEARCH_TEXT,
    Study,
    Table,
    alone,
    row,
)

__all__ = ["AUTO", "STUDY"]

_PRD = {"gpt-4": 0.639, "gpt-3.5": 0.608, "claude-1": 0.601, "bard": 0.568, "vicuna-13b": 0.500}
_FOUR = "gpt-3.5,claude-1,bard,vicuna-13b"
STUDY = Study(
    "prd",
    "prd_vicuna80",
    "prd_vicuna80: pairs, judged in both orders",
    "Sample 0 is the shown order, sample 1 the swapped one. The published panels decide by the "
    "sign of the votes for 1 less those for 2; here `tie` is an option like the others and equal "
    "votes share their credit, so these rows are no repetition of them. No prices are known.",
    tuple(alone(m, None, p) for m, p in _PRD.items()),
    tables=(
        Table(
            "Each judge in one order, against gpt-4 in the same order",
            tuple(
                row(f"{order} order only", "gpt-4", judge, "single", sample=sample)
                for judge in _FOUR.split(",")
                for sample, order in enumerate(("shown", "swapped"))
            ),
        ),
        Table(
            "Both orders and panels, against one judgement of gpt-4 (the mean of its two orders)",
            (
                row("vote, both orders", "gpt-4", "gpt-4", seats=2),
                row("vote, one order each", "gpt-4", _FOUR, seats=4),
                row("vote, both orders", "gpt-4", _FOUR, seats=8),
                row("vote, both orders", "gpt-4", f"gpt-4,{_FOUR}", seats=10),
                row("blocks (learned)", "gpt-4", _FOUR, "blocks", seats=8, **LEARN),
                row("blocks (learned)", "gpt-4", f"gpt-4,{_FOUR}", "blocks", seats=10, **LEARN),
            ),
        ),
    ),
)

AUTO = Study(
    "prd-auto",
    "prd_vicuna80",
    "prd_vicuna80: the searched strategy",
    f"{SEARCH_TEXT} No prices are known, so the goal is quality.",
    tables=(
        Table(
            "auto against one judgement of gpt-4",
            (
                row("auto, all 5", "gpt-4", f"gpt-4,{_FOUR}", "auto", goal="quality", **HALVES),
                row("auto, without gpt-4", "gpt-4", _FOUR, "auto", goal="quality", **HALVES),
            ),
        ),
    ),
    searches=True,
)
