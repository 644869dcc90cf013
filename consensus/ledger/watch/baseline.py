"""What production is held against: the evidence of one row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, time

from consensus.errors import ConsensusError
from consensus.policy.certificate import Certificate, Profile
from consensus.policy.demotion import demotion_of, evidence_sha256
from consensus.policy.oracles import gate_name, grader_of, oracle_of
from consensus.policy.table import PolicyTable

__all__ = ["Baseline", "baselines"]


@dataclass(frozen=True, slots=True)
class Baseline:
    """One row's evidence.

    Attributes:
        key: hash of certificate and profile; with another, everything is counted anew.
        begins: decisions made earlier do not count, in seconds since 1970: the certificate's day.
        gated: whether outcomes pass a gate, so that its verdicts are to be read.
        graded: whether that gate is a model. The profile was then measured without it, so what it
            refused is compared with nothing.
        demoted: whether the row serves by its strongest step now: its profile is of another route.
        horizon_days: that alpha is meant for.
    """

    task_type: str
    key: str
    profile: Profile | None
    certificate: Certificate | None
    begins: float = 0.0
    gated: bool = False
    graded: bool = False
    demoted: bool = False
    horizon_days: int = 30

    def rate(self, monitor: str) -> tuple[int, int] | None:
        """Cases of the profile and bad ones among them; None where it has none of this."""
        found = self.profile
        if found is None:
            return None
        if monitor == "disagreement":
            # Shared ties count in part: rounded so that no false alarm comes of it.
            bad = math.ceil(found.frontier_n - found.frontier_agreed - 1e-9)
            return (found.frontier_n, bad) if found.frontier_n else None
        if monitor == "gate" and (not self.gated or self.graded):
            return None
        bad = {
            "escalation": found.escalations,
            "undecided": found.undecided,
            "gate": found.gate_failures,
        }[monitor]
        return (found.n, bad) if found.n else None

    def mean(self, monitor: str) -> tuple[float, float, int] | None:
        """Mean, standard deviation and cases of the profile; None where it has none of this."""
        found = self.profile
        if found is None or not found.n:
            return None
        mean, sd = {
            "cost": (found.usd_per_decision, found.usd_sd),
            "output": (found.output_tokens, found.output_tokens_sd),
        }[monitor]
        return (mean, sd, found.n) if mean > 0 else None


def baselines(table: PolicyTable) -> dict[str, Baseline]:
    """Of every row that has a profile or a certificate."""
    found = {}
    for name, row in table.tasks.items():
        if row.profile is None and row.certificate is None:
            continue
        made = row.certificate
        begins = 0.0
        if made is not None:
            begins = datetime.combine(made.date, time(), UTC).timestamp()
        gated = graded = False
        try:
            gate = gate_name(table, row)
            if gate is not None:
                gated, graded = True, grader_of(oracle_of(table, gate)) is not None
        except ConsensusError:
            pass  # a gate that cannot be made is for the check to tell
        found[name] = Baseline(
            task_type=name,
            key=evidence_sha256(row),
            profile=row.profile,
            certificate=made,
            begins=begins,
            gated=gated,
            graded=graded,
            demoted=demotion_of(table, name) is not None,
            horizon_days=table.watch.horizon_days,
        )
    return found
