"""Calibrations written by hand, for tests."""

from __future__ import annotations

from typing import Any

from consensus.orchestrators.calibration import Calibration

MODELS = ("scripted/a", "scripted/b")

FITS: dict[str, dict[str, Any]] = {
    "weighted": {
        "family": "weighted",
        "maps": [{"a": 0.2, "b": 0.8, "base": 0.7}, {"a": 2.0, "b": 0.0, "base": 0.88}],
        "correlation": 0.3,
    },
    "blocks": {
        "family": "blocks",
        "accuracy": [0.7, 0.88],
        "within": [0.5, 0.4],
        "between": 0.3,
        "confusion": [[[0.9, 0.1], [0.5, 0.5]], [[0.85, 0.15], [0.1, 0.9]]],
        "prior": [0.6, 0.4],
    },
    "stacked": {"family": "stacked", "features": ["votes"], "weights": []},
    "mean": {"family": "mean", "accuracy": [0.7, 0.88], "bias": [[0.6, 0.4], [0.5, 0.5]]},
}

_WEIGHTS = {
    MODELS: [1.0, 2.0, 0.5, 0.2, -0.2, 0.3, -0.3, 0.4, -0.1],
    MODELS[:1]: [1.1, 0.1, -0.1, 0.2, -0.2],
    MODELS[1:]: [2.2, 0.1, -0.1, 0.3, -0.1],
}


def calibration(family: str = "blocks", **fields: Any) -> Calibration:
    """One for approvals by two models, of 100 cases."""
    parts = [MODELS, MODELS[:1], MODELS[1:]]
    fit = dict(FITS[family])
    if family == "stacked":
        fit["weights"] = [_WEIGHTS[part] for part in parts]
    misses = [round(0.0004 * i * i / 4, 6) for i in range(100)]
    given: dict[str, Any] = {
        "format": 1,
        "task_type": "t",
        "kind": "approve",
        "options": ["approve", "reject"],
        "models": MODELS,
        "seats": [1, 1],
        "cases": 100,
        "fit": fit,
        "stages": [
            {"models": part, "cases": 100, "temperature": 1.25, "misses": misses} for part in parts
        ],
        "fitted_on": "2026-11-22",
    }
    return Calibration.model_validate(given | fields)


def judges(**fields: Any) -> Calibration:
    """One for scores from 0 to 10: the first judge is lenient and noisy, the second strict."""
    given: dict[str, Any] = {
        "format": 1,
        "task_type": "t",
        "kind": "score",
        "scale": [0, 10],
        "models": MODELS,
        "seats": [1, 1],
        "cases": 50,
        "fit": {
            "family": "scores",
            "location": [8.0, 4.0],
            "slope": [1.0, 2.0],
            "noise": [2.0, 0.5],
            "centre": 6.0,
            "scale": 1.5,
        },
    }
    return Calibration.model_validate(given | fields)
