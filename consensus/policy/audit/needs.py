"""What a task type's certificate will ask for: its floor, and how many cases that takes.

The bound is the one-sided Beta bound of :func:`consensus.statistics.beta_lcb`. A route is chosen on
one half of a run and certified on the other, so a plan that wants a certificate from ``n`` cases
has to bring ``2 n``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from consensus.policy.audit.model import AuditTask
from consensus.policy.consequences import Bars, CertificateSettings, bar_for
from consensus.policy.table import PolicyTable
from consensus.statistics import cases_for_floor

__all__ = ["HALVES", "CertificateNeed", "certificate_need"]

HALVES = 2
"""A run is cut in two: one half chooses the route, the other certifies it."""


@dataclass(frozen=True, slots=True)
class CertificateNeed:
    """What a certificate of this task type asks for.

    Attributes:
        floor: quality that no route may fall below (tau).
        delta: chance allowed that the bound is too high.
        gate: whether the consequence asks for a gate.
        cases: evaluation cases with which the bound can clear the floor at 0, 1 and 2 failures.
    """

    floor: float
    delta: float
    gate: bool
    cases: tuple[int, int, int]

    def planned(self, failures: int) -> int:
        """Cases that a run has to have, both halves, where so many failures are allowed for."""
        return HALVES * self.cases[failures]


def certificate_need(task: AuditTask, table: PolicyTable | None = None) -> CertificateNeed:
    """The floor of a task type's consequence, or its own, and what it takes to clear it."""
    bar = _asked(task, table)
    return CertificateNeed(bar.floor, bar.delta, bar.gate, _cases(bar.floor, bar.delta))


@lru_cache(maxsize=256)
def _cases(floor: float, delta: float) -> tuple[int, int, int]:
    zero, one, two = (cases_for_floor(floor, delta=delta, failures=k) for k in range(3))
    return zero, one, two


def _asked(task: AuditTask, table: PolicyTable | None) -> Bars:
    settings = table.certificates if table is not None else CertificateSettings()
    return bar_for(settings, task.consequence, floor=task.floor, delta=task.delta)
