"""How many cases of what: by traffic, by category, by what each certificate needs.

The sample is weighted like production (200 to 500 cases for a system). A category without earlier
data gets at least 50; a certificate needs so many cases that its bound can clear the floor at all.
The largest of the three holds for each task type. Small categories and misleading inputs are then
more frequent than in production; the suite's weights undo that (:mod:`.accepting`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from consensus.errors import PolicyError
from consensus.policy.audit.model import Audit, AuditTask
from consensus.policy.audit.needs import CertificateNeed, certificate_need
from consensus.policy.table import PolicyTable

__all__ = [
    "CASES",
    "LEAST_MISLEADING",
    "PER_CATEGORY",
    "Cell",
    "SamplePlan",
    "TypePlan",
    "plan_sample",
]

CASES = 300
"""Cases a system, where nothing else is said; 200 to 500 is usual."""

PER_CATEGORY = 50
"""Cases a category without earlier data; 50 to 100 is usual."""

LEAST_MISLEADING = 5
"""Where any input is expected to mislead, so many cases of a category do, or a quarter of a small
one: fewer would show nothing."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One stratum of the sample: a category of a task type, plain or misleading.

    Attributes:
        category: empty where the task type has none.
        share: of its task type's traffic.
        wanted, have: cases in all, and those that a suite holds already.
    """

    task_type: str
    category: str
    adversarial: bool
    share: float
    wanted: int
    have: int = 0

    @property
    def missing(self) -> int:
        """Cases still to be written."""
        return max(0, self.wanted - self.have)

    @property
    def name(self) -> str:
        """``type/category/usual``, for ids and messages."""
        what = "misleading" if self.adversarial else "usual"
        return f"{self.task_type}/{self.category or 'all'}/{what}"


@dataclass(frozen=True, slots=True)
class TypePlan:
    """One task type's part of the sample.

    Attributes:
        by_traffic: cases by its share of the traffic.
        by_category: cases that its categories without earlier data ask for.
        by_certificate: cases that its certificate asks for, both halves; 0 where not planned for.
        need: floor, delta, and evaluation cases at 0, 1 and 2 failures.
    """

    name: str
    share: float
    by_traffic: int
    by_category: int
    by_certificate: int
    need: CertificateNeed
    cells: tuple[Cell, ...]

    @property
    def wanted(self) -> int:
        """Cases in all."""
        return sum(cell.wanted for cell in self.cells)

    @property
    def have(self) -> int:
        """Cases that its suite holds already, as far as they are wanted."""
        return sum(min(cell.have, cell.wanted) for cell in self.cells)

    @property
    def missing(self) -> int:
        """Cases still to be written."""
        return sum(cell.missing for cell in self.cells)


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """The whole sample."""

    types: tuple[TypePlan, ...] = field(default_factory=tuple)

    @property
    def wanted(self) -> int:
        """Cases in all."""
        return sum(each.wanted for each in self.types)

    @property
    def missing(self) -> int:
        """Cases still to be written."""
        return sum(each.missing for each in self.types)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every stratum, in the audit's order."""
        return tuple(cell for each in self.types for cell in each.cells)

    def to_json(self) -> list[dict[str, Any]]:
        """One object a task type."""
        return [
            {
                "type": each.name,
                "share": each.share,
                "by_traffic": each.by_traffic,
                "by_category": each.by_category,
                "by_certificate": each.by_certificate,
                "floor": each.need.floor,
                "delta": each.need.delta,
                "certificate_cases": list(each.need.cases),
                "wanted": each.wanted,
                "have": each.have,
                "missing": each.missing,
                "cells": [
                    {
                        "category": cell.category or None,
                        "adversarial": cell.adversarial,
                        "wanted": cell.wanted,
                        "have": cell.have,
                    }
                    for cell in each.cells
                ],
            }
            for each in self.types
        ]


def plan_sample(
    audit: Audit,
    *,
    table: PolicyTable | None = None,
    types: tuple[str, ...] = (),
    cases: int = CASES,
    per_category: int = PER_CATEGORY,
    certify: bool = True,
    failures: int = 1,
    have: Mapping[str, Counter[tuple[str, bool]]] | None = None,
) -> SamplePlan:
    """The sample that an audit asks for.

    Args:
        audit: the task types.
        table: the policy, for the floors of consequences.
        types: only these; none: all with traffic.
        cases: for the whole system, shared out by traffic.
        per_category: the least for a category of a task type without earlier data.
        certify: whether to plan for what certificates need.
        failures: that the certificate's evaluation half may hold: 0, 1 or 2.
        have: task type → cases that a suite holds already, by (category, misleading).

    Raises:
        PolicyError: a task type that the audit does not have, or no traffic at all.
    """
    names = types or tuple(name for name, task in audit.tasks.items() if task.monthly_volume)
    for name in names:
        audit.task(name)
    if not names:
        raise PolicyError("no task type has any traffic", where=audit.source, fix="audit check")
    plans = []
    for name in names:
        task = audit.tasks[name]
        need = certificate_need(task, table)
        by_traffic = math.ceil(cases * audit.share(name))
        parts = len(task.categories) or 1
        by_category = 0 if task.prior_data else per_category * parts
        by_certificate = need.planned(failures) if certify else 0
        wanted = max(by_traffic, by_category, by_certificate, 1)
        least = 0 if task.prior_data else per_category
        cells = _cells(name, task, wanted, least, (have or {}).get(name, Counter()))
        plans.append(
            TypePlan(name, audit.share(name), by_traffic, by_category, by_certificate, need, cells)
        )
    return SamplePlan(tuple(plans))


def _cells(
    name: str, task: AuditTask, wanted: int, least: int, have: Counter[tuple[str, bool]]
) -> tuple[Cell, ...]:
    shares = {key: part.share for key, part in task.categories.items()} or {"": 1.0}
    total = sum(shares.values())
    cells = []
    for category, share in shares.items():
        part = share / total
        count = max(least, math.ceil(wanted * part - 1e-9))
        misleading = 0
        if task.adversarial_share:
            least_misleading = min(LEAST_MISLEADING, count // 4)
            misleading = max(math.ceil(count * task.adversarial_share), least_misleading)
        for adversarial, number, fraction in (
            (False, count - misleading, 1 - task.adversarial_share),
            (True, misleading, task.adversarial_share),
        ):
            if number:
                cells.append(
                    Cell(
                        name,
                        category,
                        adversarial,
                        part * fraction,
                        number,
                        have[category, adversarial],
                    )
                )
    return tuple(cells)
