"""Figures of a served row, and how they are written for people."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.proposals.model import Figures
from consensus.benchmark.proposals.recording import Recording
from consensus.benchmark.proposals.serving import Served
from consensus.policy.certificate import Profile
from consensus.statistics import mean_interval

__all__ = ["figures_of", "money", "percent", "profile_of", "typical"]


def typical(recording: Recording) -> dict[str, float]:
    """Mean dollars of one call of each model; NaN where its price is not known."""
    found = {}
    for model in recording.models:
        framing = (recording.framings or ("",))[0]
        usd = [
            samples[0].usd
            for case in range(len(recording))
            if (samples := recording.given(case, model, framing))
        ]
        found[model] = float(np.mean(usd)) if usd else math.nan
    return found


def figures_of(served: Served, *, priced: bool) -> Figures:
    """Means over the cases; dollars and seconds only where every case has them."""
    low, high = mean_interval(np.clip(served.credit, 0, 1))
    seconds = served.latency_s
    timed = bool(np.isfinite(seconds).all() and seconds.any())
    return Figures(
        n=len(served),
        quality=float(served.credit.mean()),
        ci95=(low, high),
        undecided=float(1 - served.acted.mean()),
        escalated=float((served.hops > 1).mean()),
        calls=float(served.calls.mean()),
        usd=float(served.usd.mean()) if priced else None,
        latency_p50_s=float(np.quantile(seconds, 0.5)) if timed else None,
        latency_p95_s=float(np.quantile(seconds, 0.95)) if timed else None,
    )


def profile_of(served: Served, frontier: Served, agreed: NDArray[np.bool_]) -> Profile:
    """What production is watched against. Tokens and seconds that nobody recorded are 0."""
    tokens = np.nan_to_num(served.tokens)
    seconds = np.nan_to_num(served.latency_s)
    n = len(served)
    return Profile(
        n=n,
        escalations=int((served.hops > 1).sum()),
        undecided=int((~served.acted).sum()),
        gate_failures=int(served.gated.sum()),
        usd_per_decision=_short(served.usd.mean()),
        usd_sd=_short(served.usd.std(ddof=1) if n > 1 else 0.0),
        calls_per_decision=_short(served.calls.mean()),
        input_tokens=_short(tokens[:, 0].mean()),
        cached_tokens=_short(tokens[:, 1].mean()),
        output_tokens=_short(tokens[:, 2].mean()),
        output_tokens_sd=_short(tokens[:, 2].std(ddof=1) if n > 1 else 0.0),
        reasoning_tokens=_short(tokens[:, 3].mean()),
        latency_p50_s=_short(float(np.quantile(seconds, 0.5))),
        latency_p95_s=_short(float(np.quantile(seconds, 0.95))),
        frontier_n=n,
        frontier_agreed=float(agreed.sum()),
        frontier_usd=_short(frontier.usd.mean()),
        frontier_usd_sd=_short(frontier.usd.std(ddof=1) if n > 1 else 0.0),
        frontier_latency_p50_s=_short(float(np.quantile(np.nan_to_num(frontier.latency_s), 0.5))),
    )


def percent(value: float | None) -> str:
    """``95.3 %``; *unknown* for none."""
    return "unknown" if value is None else f"{100 * value:.1f} %".replace(".0 %", " %")


def money(value: float | None, *, priced: bool = True) -> str:
    """Dollars to four significant digits; calls where nothing has a price."""
    if value is None:
        return "unknown"
    if not priced:
        return f"{value:.2f} calls"
    return f"${value:.6f}" if value < 1 else f"${value:,.2f}"


def _short(value: float) -> float:
    """Nine significant digits: a file that people read."""
    return float(f"{value:.9g}")
