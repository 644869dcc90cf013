"""iclr_review: accept or reject, by reviewers who lean to one of the two."""

from __future__ import annotations

from typing import Any

from consensus.benchmark.acting import Acting
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
from consensus.orchestrators.spec import Losses

__all__ = ["ACTING", "AUTO", "STUDY"]

_ICLR_GPT = "gpt-4o@single,gpt-4o@reflect5,gpt-4o@reflect5_ens5,gpt-4o@fewshot1_reflect5_ens5"
_ICLR_OTHER = "gpt-4o-mini@fewshot1_reflect5_ens5,claude-3.5-sonnet@reflect5_ens5"
_ICLR_ALL = f"{_ICLR_GPT},{_ICLR_OTHER}"


def _iclr(label: str, panel: str, strategy: str = "vote", **more: Any) -> Row:
    return row(label, "gpt-4o@single", panel, strategy, **more)


STUDY = Study(
    "iclr",
    "iclr_review",
    "iclr_review: accept or reject, with biased approvers",
    "One reviewer accepts nearly everything and another rejects nearly everything: accuracy "
    "rewards the commoner label (always rejecting is right on .632), balanced accuracy does not. "
    "No prices are known.",
    (
        alone("claude-3.5-sonnet", "reflect5_ens5", 0.398, balanced=0.524),
        alone("gpt-4o", "fewshot1_reflect5_ens5", 0.696, balanced=0.602),
        alone("gpt-4o", "single", 0.656, balanced=0.585),
        alone("gpt-4o-mini", "fewshot1_reflect5_ens5", 0.648, balanced=0.525),
        alone("gpt-4o", "reflect5", None, balanced=None),
        alone("gpt-4o", "reflect5_ens5", None, balanced=None),
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
                _iclr("weighted (learned), all 6", _ICLR_ALL, "weighted", **LEARN),
                _iclr("blocks (learned), all 6", _ICLR_ALL, "blocks", **LEARN),
            ),
        ),
    ),
)

AUTO = Study(
    "iclr-auto",
    "iclr_review",
    "iclr_review: the searched strategy",
    f"{SEARCH_TEXT} No prices are known, so the goal is quality: by balanced accuracy, and by "
    "accuracy.",
    tables=(
        Table(
            "auto on all six reviewers, against one plain review of gpt-4o",
            (
                _iclr("auto, balanced", _ICLR_ALL, "auto", goal="quality", **HALVES),
                _iclr(
                    *("auto, accuracy", _ICLR_ALL, "auto"),
                    **{"goal": "quality", "objective": "accuracy", **HALVES},
                ),
            ),
        ),
    ),
    searches=True,
)


_FIVE, _FIFTH = Losses(false_approve=5), Losses(false_reject=5)
ACTING = Study(
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
                _iclr(strategy, _ICLR_ALL, strategy, acting=rule, **HALVES)
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
