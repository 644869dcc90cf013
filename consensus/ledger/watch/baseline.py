"""What production is held against: the evidence of one row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from consensus.errors import ConsensusError
from consensus.policy.certificate import Certificate, Profile
from consensus.policy.demotion import demotion_of, standing
from consensus.policy.history import evidence_sha256
from consensus.policy.oracles import gate_name, grader_of, oracle_of
from consensus.policy.table import PolicyTable

__all__ = ["Baseline", "baselines"]


@dataclass(frozen=True, slots=True)
class Baseline:
    """One row's evidence.

    Attributes:
        key: hash of certificate and profile; with another, everything is counted anew.
        begins: decisions made earlier do not count, in seconds since 1970: the certificate's day;
            of a row that went back to an earlier certificate, the moment it did.
        gated: whether outcomes pass a gate, so that its verdicts are to be read.
        graded: whether that gate is a model. The profile was then measured without it, so what it
            refused is compared with nothing.
        demoted: whether the row serves by its strongest step now: its profile is of another route.
        earlier: the day of the earlier certificate that the row went back to; profile and
            certificate are then that one's, since they are of the route that serves.
        before: the row's earlier certificates, the latest first.
        own: hash of the row's own evidence, and those of its history while it is demoted: what
            incidents may have been opened against that still go on.
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
    earlier: date | None = None
    before: tuple[Certificate, ...] = ()
    own: frozenset[str] = frozenset()
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
    for name, own in table.tasks.items():
        if own.profile is None and own.certificate is None:
            continue
        demotion, stands = demotion_of(table, name), standing(table, name)
        row = own if stands is None else stands[0].tasks[name]
        made = row.certificate
        begins = 0.0
        if made is not None:
            begins = datetime.combine(made.date, time(), UTC).timestamp()
        known = {evidence_sha256(own)}
        if demotion is not None:
            known |= {one.sha256 for one in table.history.get(name, ())}
        if demotion is not None and stands is not None:
            begins = max(begins, _seconds(demotion.since))
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
            demoted=demotion is not None and stands is None,
            earlier=None if stands is None else stands[1].certificate.date,
            before=tuple(one.certificate for one in reversed(table.history.get(name, ()))),
            own=frozenset(known),
            horizon_days=table.watch.horizon_days,
        )
    return found


def _seconds(stamp: str) -> float:
    """A demotion's moment; somebody may have written it by hand."""
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
