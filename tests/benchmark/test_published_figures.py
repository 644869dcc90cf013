"""The figures that the data sets' own descriptions give, to the third digit.

Definitions, where there is a choice: rb2's 611 cases are those that all five judges scored in full
in all eight passes; k = 3 and 8 are the mean scores of the first k passes. medagents' are sample 0
on all cases. mmlu_pro's divide by all 11,343 stable cases, so that a case without an answer is a
wrong one: ``complete`` leaves such cases out and differs by up to a point where many are missing.
prd_vicuna80's singles are the shown order alone. The published majorities give a tie to the model
named first (medagents, mmlu_pro) or decide by the sign of votes for 1 minus votes for 2 (prd); here
a tie is shared, so a replay's figure is lower by what that luck was worth, and both are computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from consensus.benchmark.evidence import (
    Evidence,
    complete_cases,
    evidence_of,
    resolve_members,
)
from consensus.benchmark.replay import Replay, ReplaySettings, replay
from consensus.benchmark.strategy import leaders, mean_scores
from tests.benchmark.data_fixtures import real_run

pytestmark = pytest.mark.needs("recorded-data")

RB2 = ("gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano", "claude-sonnet-4.6", "claude-haiku-4.5")


def figures(data: str, panel: str, **settings: Any) -> dict[str, Any]:
    models = tuple(panel.split(","))
    frontier = settings.pop("frontier", models[0])
    return replay(
        real_run(data), ReplaySettings(frontier=frontier, panel=models, **settings)
    ).figures


def rb2_complete() -> tuple[Any, Any]:
    run = real_run("rb2_judges_dev")
    found = resolve_members(run, RB2, "base")
    members = [found[name][0] for name in RB2]
    cases = np.flatnonzero(complete_cases(run, members))
    return run.take_cases(cases), members


def stacked(data: str, panel: str, variant: str | None, sample: int | None) -> Evidence:
    run = real_run(data)
    names = panel.split(",")
    found = resolve_members(run, names, variant)
    return evidence_of(run, [found[name][0] for name in names], sample=sample)


def majorities(data: str, panel: str, variant: str | None) -> tuple[float, float]:
    """Accuracy of the plurality with ties to the first named, and with ties shared."""
    evidence = stacked(data, panel, variant, 0)
    votes = evidence.votes[:, :, 0]
    counts = votes.sum(axis=1)
    tied = (counts == counts.max(axis=1, keepdims=True)) & (counts > 0)
    # A vote for a leader weighs more the earlier its model is named.
    earlier = np.arange(votes.shape[1], 0, -1)[:, None]
    first = (votes * earlier).max(axis=1) * tied
    choice = first.argmax(axis=1)
    n = np.arange(len(evidence))
    shared = (tied * evidence.credit).sum(axis=1) / np.maximum(tied.sum(axis=1), 1)
    return float((evidence.credit[n, choice] * tied.any(axis=1)).mean()), float(shared.mean())


@pytest.mark.parametrize(
    ("model", "by_passes"),
    [
        ("gpt-5.4", {1: (0.723, 0.617), 3: (0.750, 0.692), 8: (0.760, 0.735)}),
        ("gpt-5.4-mini", {1: (0.655, 0.525), 3: (0.708, 0.653), 8: (0.729, 0.705)}),
        ("gpt-5.4-nano", {1: (0.573, 0.453), 3: (0.630, 0.583), 8: (0.688, 0.671)}),
        ("claude-sonnet-4.6", {1: (0.730, 0.637), 3: (0.776, 0.727), 8: (0.780, 0.759)}),
        ("claude-haiku-4.5", {1: (0.730, 0.637), 3: (0.775, 0.728), 8: (0.804, 0.791)}),
    ],
)
def test_rb2_score_means_of_the_first_k_passes(
    model: str, by_passes: dict[int, tuple[float, float]]
) -> None:
    run, members = rb2_complete()
    assert len(run.cases) == 611
    evidence = evidence_of(run, [m for m in members if m.model == model])
    for passes, (split, strict) in by_passes.items():
        order = np.broadcast_to(np.arange(passes), (611, 1, passes))
        shares = leaders(mean_scores(evidence.samples(order)), evidence.valid)
        credit = (shares * evidence.credit).sum(axis=1)
        assert credit.mean() == pytest.approx(split, abs=5.1e-4)
        assert (credit == 1).mean() == pytest.approx(strict, abs=5.1e-4)


@pytest.mark.parametrize(
    ("model", "split", "strict"),
    [
        ("gpt-5.4", 0.723, 0.617),
        ("gpt-5.4-mini", 0.655, 0.525),
        ("gpt-5.4-nano", 0.573, 0.453),
        ("claude-sonnet-4.6", 0.730, 0.637),
        ("claude-haiku-4.5", 0.730, 0.637),
    ],
)
def test_rb2_sample_0_on_the_cases_all_judges_completed(
    model: str, split: float, strict: float
) -> None:
    run, _ = rb2_complete()
    result = replay(
        run,
        ReplaySettings(
            frontier=model,
            panel=(model,),
            strategy="single",
            variant="base",
            sample=0,
            complete=True,
        ),
    ).figures
    assert result["n"] == 611
    assert result["accuracy"] == pytest.approx(split, abs=5.1e-4)
    assert result["accuracy_strict"] == pytest.approx(strict, abs=5.1e-4)


def test_rb2_all_five_named_are_complete_on_611_cases() -> None:
    result = figures("rb2_judges_dev", ",".join(RB2), variant="base", sample=0, complete=True)
    assert result["n"] == 611
    assert result["frontier_accuracy"] == pytest.approx(0.723, abs=5e-4)


@pytest.mark.parametrize(
    ("model", "accuracy"),
    [
        ("DeepSeek-R1", 0.848),
        ("o3-mini", 0.821),
        ("gpt-4o", 0.802),
        ("o1-mini", 0.788),
        ("DeepSeek-V3", 0.760),
        ("Llama-3.3-70B-Instruct-Turbo", 0.737),
        ("claude-3-5-sonnet", 0.730),
        ("QwQ-32B-Preview", 0.713),
        ("gpt-4o-mini", 0.696),
        ("claude-3-5-haiku", 0.653),
    ],
)
def test_medagents_single_models(model: str, accuracy: float) -> None:
    settings = {"strategy": "single", "variant": "zero_shot", "sample": 0, "complete": False}
    assert figures("medagents", model, **settings)["accuracy"] == pytest.approx(
        accuracy, abs=5.1e-4
    )


CHEAP = "Llama-3.3-70B-Instruct-Turbo,gpt-4o-mini,claude-3-5-haiku"


@pytest.mark.parametrize(
    ("panel", "accuracy"),
    [
        (CHEAP, 0.729),
        (f"{CHEAP},DeepSeek-V3", 0.750),
        (f"{CHEAP},DeepSeek-V3,QwQ-32B-Preview", 0.758),
        ("o3-mini,Llama-3.3-70B-Instruct-Turbo,DeepSeek-V3", 0.806),
    ],
)
def test_medagents_majorities_with_ties_to_the_first_named(panel: str, accuracy: float) -> None:
    first, split = majorities("medagents", panel, "zero_shot")
    # With five models the order in which they were counted is not told.
    assert first == pytest.approx(accuracy, abs=5.1e-4 if panel.count(",") < 4 else 2e-3)
    result = figures("medagents", panel, variant="zero_shot", sample=0)
    assert result["accuracy"] == pytest.approx(split)
    assert first - 0.01 < split < first


@pytest.mark.parametrize(("top", "accuracy"), [("DeepSeek-R1", 0.823), ("o3-mini", 0.804)])
def test_medagents_cascades(top: str, accuracy: float) -> None:
    result = figures(
        "medagents",
        f"{CHEAP},{top}",
        frontier="DeepSeek-R1",
        variant="zero_shot",
        sample=0,
        strategy="cascade",
    )
    assert result["accuracy"] == pytest.approx(accuracy, abs=1e-3)
    assert result["escalation_rate"] == pytest.approx(0.38, abs=0.005)


@pytest.mark.parametrize(
    ("model", "accuracy"),
    [
        ("gemini-3.1-pro", 0.859),
        ("gpt4o-may24", 0.727),
        ("gemini-1.5-pro-002", 0.706),
        ("gemini-1.5-flash-002", 0.646),
        ("Meta-Llama-3_1-70B-Instruct", 0.635),
        ("DeepSeek-Coder-V2", 0.556),
        ("jamba-1.5-large", 0.506),
        ("Qwen1.5-110B", 0.502),
        ("Meta-Llama-3_1-8B-Instruct", 0.447),
        ("Mixtral-8x7B-Instruct-v0.1", 0.429),
        ("Phi-3-mini-4k-instruct", 0.426),
        ("mathstral-7B", 0.426),
        ("c4ai-command-r-v01", 0.376),
        ("Llama-2-7b-hf", 0.187),
    ],
)
def test_mmlu_pro_single_models_over_all_stable_cases(model: str, accuracy: float) -> None:
    result = figures("mmlu_pro", model, strategy="single", sample=0)
    assert result["n"] == 11_343
    assert result["accuracy"] == pytest.approx(accuracy, abs=5.1e-4)


def test_mmlu_pro_models_with_every_answer_are_the_same_when_complete() -> None:
    model = "Meta-Llama-3_1-8B-Instruct"
    result = figures("mmlu_pro", model, strategy="single", sample=0, complete=True)
    assert result["accuracy"] == pytest.approx(0.447, abs=5.1e-4)


@pytest.mark.parametrize(
    ("panel", "accuracy", "best"),
    [
        (
            (
                "Meta-Llama-3_1-8B-Instruct,mathstral-7B,Mixtral-8x7B-Instruct-v0.1,"
                "Phi-3-mini-4k-instruct,c4ai-command-r-v01"
            ),
            0.5125,
            0.447,
        ),
        (
            (
                "gemini-1.5-flash-002,Meta-Llama-3_1-70B-Instruct,jamba-1.5-large,Qwen1.5-110B,"
                "Meta-Llama-3-70B"
            ),
            0.670,
            0.646,
        ),
    ],
)
def test_mmlu_pro_crowds_with_ties_to_the_first_named(
    panel: str, accuracy: float, best: float
) -> None:
    first, split = majorities("mmlu_pro", panel, None)
    assert first == pytest.approx(accuracy, abs=7e-4)
    result = figures("mmlu_pro", panel)
    assert result["accuracy"] == pytest.approx(split)
    assert result["controls"]["best_single"]["accuracy"] == pytest.approx(best, abs=5.1e-4)


@pytest.mark.parametrize(
    ("model", "variant", "accuracy", "balanced"),
    [
        ("claude-3.5-sonnet", "reflect5_ens5", 0.398, 0.524),
        ("gpt-4o", "fewshot1_reflect5_ens5", 0.696, 0.602),
        ("gpt-4o", "single", 0.656, 0.585),
        ("gpt-4o-mini", "fewshot1_reflect5_ens5", 0.648, 0.525),
    ],
)
def test_iclr_review_single_set_ups(
    model: str, variant: str, accuracy: float, balanced: float
) -> None:
    settings = {"strategy": "single", "sample": 0, "complete": True}
    result = figures("iclr_review", model, variant=variant, **settings)
    assert result["accuracy"] == pytest.approx(accuracy, abs=5.1e-4)
    assert result["balanced_accuracy"] == pytest.approx(balanced, abs=5.1e-4)


@pytest.mark.parametrize(
    ("model", "accuracy"),
    [
        ("gpt-4", 0.639),
        ("gpt-3.5", 0.608),
        ("claude-1", 0.601),
        ("bard", 0.568),
        ("vicuna-13b", 0.5),
    ],
)
def test_prd_single_judges_in_the_shown_order(model: str, accuracy: float) -> None:
    result = figures("prd_vicuna80", model, strategy="single", sample=0, complete=True)
    assert result["accuracy"] == pytest.approx(accuracy, abs=5.1e-4)


@pytest.mark.parametrize(
    ("panel", "three_class", "untied"),
    [
        ("gpt-4", 0.651, 0.679),
        ("gpt-3.5,claude-1,bard,vicuna-13b", 0.661, 0.737),
        ("gpt-4,gpt-3.5,claude-1,bard,vicuna-13b", 0.670, 0.753),
    ],
)
def test_prd_panels_with_both_orders_by_the_sign_of_the_vote(
    panel: str, three_class: float, untied: float
) -> None:
    evidence = stacked("prd_vicuna80", panel, None, None)
    counts = evidence.votes.sum(axis=(1, 2))
    sign = np.sign(np.round(counts[:, 0] - counts[:, 1], 6))
    right = evidence.credit[np.arange(len(evidence)), np.select([sign > 0, sign < 0], [0, 1], 2)]
    assert right.mean() == pytest.approx(three_class, abs=5.1e-4)
    assert right[evidence.credit[:, 2] == 0].mean() == pytest.approx(untied, abs=5.1e-4)


def test_a_debate_with_itself_does_not_pay_where_a_cheaper_method_is_not_shown_to_be_worse() -> (
    None
):
    run = real_run("medagents")

    def against_a_direct_answer(method: str) -> Replay:
        names = ("gpt-4o@hard_zero_shot", (f"gpt-4o@{method}",))
        return replay(run, ReplaySettings(*names, "single", sample=0, complete=True))

    debate = against_a_direct_answer("multipersona2")
    assert debate.figures["difference_ci95"][0] > 0
    assert debate.verdict.ruling == "does not pay"
    assert "gpt-4o@self_refine3 costs less and is not shown to be worse" in debate.verdict.sentence
    assert against_a_direct_answer("cot").verdict.ruling == "pays"
