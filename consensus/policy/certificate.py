"""What a row of the policy has earned: its certificate, and the profile it is watched against.

Both are written by ``consensus policy accept`` and read by the checks, the watch, the projection
and the page. A row without one is *unproven*.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, StringConstraints, model_validator

from consensus.policy._types import ModelName, NotNegative, Strict

__all__ = [
    "Certificate",
    "CertificateStatus",
    "CertifiedPrice",
    "Parity",
    "Profile",
    "Sha256",
]

CertificateStatus: TypeAlias = Literal["certified", "provisional", "uncertifiable", "failed"]
"""``certified``: the lower bound clears the floor. ``provisional``: measured between the
provisional threshold and the floor; the cheap route serves with a mandatory shadow share.
``uncertifiable``: too few cases to tell (``needs`` more). ``failed``: no cheaper route can serve;
the frontier does.
"""

Sha256: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Probability: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Delta: TypeAlias = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Finite: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
Whole: TypeAlias = Annotated[int, Field(ge=0)]


class Parity(Strict):
    """The paired comparison with one frontier call on the same cases."""

    frontier: ModelName = Field(description="Model asked once, plainly.")
    n: Whole = Field(description="Cases that both answered.")
    difference: Finite = Field(description="Mean of route minus frontier, as a share.")
    lower: Finite = Field(description="Lower confidence bound of the difference at delta.")
    margin: NotNegative = Field(description="Loss that still counts as parity, as a share.")
    needs: Whole = Field(default=0, description="More cases until parity could be shown.")

    @property
    def shown(self) -> bool:
        """Whether parity within the margin is proved."""
        return self.n > 0 and self.lower >= -self.margin


class CertifiedPrice(Strict):
    """Dollars per million tokens on the day of the certificate."""

    input: NotNegative = Field(description="Of input.")
    output: NotNegative = Field(description="Of output.")


class Certificate(Strict):
    """A row's evidence. It dies with its oracle, prompts, served models or age."""

    status: CertificateStatus = Field(description="What the evidence allows.")
    n: Whole = Field(description="Evaluation cases.")
    passes: NotNegative = Field(
        description="How many of them were acceptable; ties count their share."
    )
    bound: Probability = Field(description="Lower confidence bound of the pass rate at delta.")
    floor: Probability = Field(description="Quality that the consequence asks for (tau).")
    delta: Delta = Field(description="Chance allowed that the bound is too high.")
    needs: Whole = Field(default=0, description="More cases until the floor could be cleared.")
    method: str = Field(description="How the bound was made, such as clopper-pearson.")
    route: Sha256 = Field(description="Hash of everything in the row that changes its answers.")
    oracle: Sha256 = Field(description="Hash of the oracle that judged.")
    prompts: Sha256 = Field(description="Hash of the prompts asked with.")
    suite: Sha256 = Field(description="Hash of the suite's cases and oracles.")
    served: dict[ModelName, Annotated[tuple[str, ...], Field(strict=False)]] = Field(
        default={}, description="Models that really answered, by model asked for."
    )
    prices: dict[ModelName, CertifiedPrice] = Field(
        default={}, description="Prices of the route's models on that day."
    )
    parity: Parity | None = Field(default=None, description="Against one frontier call.")
    labels: Literal["draw", "chances"] | None = Field(
        default=None,
        description="Of labels given in production, weighted by how the decisions came to be "
        "looked at: draw (one share for all) or chances (each its own). None: of a run.",
    )
    effective: NotNegative | None = Field(
        default=None,
        description="As many cases of equal weight would say as much (n_eff), of labels.",
    )
    run: str = Field(default="", description="Folder of the run, as it was named.")
    date: datetime.date = Field(description="Day it was made.")
    max_age_days: Annotated[int, Field(ge=1)] = Field(
        default=90, description="Days after which it no longer holds."
    )

    @model_validator(mode="after")
    def _adds_up(self) -> Certificate:
        if self.passes > self.n:
            raise ValueError(f"passes ({self.passes}) are more than its {self.n} cases")
        if self.status == "certified" and self.bound < self.floor:
            raise ValueError(
                f"says certified, but its bound {self.bound} is below the floor {self.floor}"
            )
        return self

    def expires(self) -> datetime.date:
        """The first day on which it is too old."""
        return self.date + datetime.timedelta(days=self.max_age_days + 1)


class Profile(Strict):
    """What a run measured of the row's route: production is watched against this."""

    n: Whole = Field(description="Evaluation cases.")
    escalations: Whole = Field(default=0, description="Cases that needed another hop.")
    undecided: Whole = Field(default=0, description="Cases that ended as escalate or abstain.")
    gate_failures: Whole = Field(default=0, description="Outcomes that the gate refused.")
    usd_per_decision: NotNegative = Field(description="Mean cost, US dollars.")
    usd_sd: NotNegative = Field(default=0.0, description="Standard deviation of the cost.")
    calls_per_decision: NotNegative = Field(default=1.0, description="Mean calls.")
    input_tokens: NotNegative = Field(default=0.0, description="Mean a decision, cached included.")
    cached_tokens: NotNegative = Field(default=0.0, description="Mean read from a cache.")
    output_tokens: NotNegative = Field(default=0.0, description="Mean, reasoning included.")
    output_tokens_sd: NotNegative = Field(default=0.0, description="Standard deviation of it.")
    reasoning_tokens: NotNegative = Field(default=0.0, description="Mean, within the output.")
    latency_p50_s: NotNegative = Field(default=0.0, description="Seconds.")
    latency_p95_s: NotNegative = Field(default=0.0, description="Seconds.")
    frontier_n: Whole = Field(default=0, description="Cases that the frontier answered too.")
    frontier_agreed: NotNegative = Field(default=0.0, description="How many it agreed on.")
    frontier_usd: NotNegative = Field(
        default=0.0, description="Mean cost of one frontier call, US dollars."
    )
    frontier_usd_sd: NotNegative = Field(
        default=0.0, description="Standard deviation of that cost."
    )
    frontier_latency_p50_s: NotNegative = Field(
        default=0.0, description="Seconds of one frontier call, at the median."
    )

    @model_validator(mode="after")
    def _adds_up(self) -> Profile:
        for name in ("escalations", "undecided", "gate_failures"):
            if getattr(self, name) > self.n:
                raise ValueError(f"{name} are more than its {self.n} cases")
        if self.frontier_agreed > self.frontier_n:
            raise ValueError("frontier_agreed is more than frontier_n")
        return self
