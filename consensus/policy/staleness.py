"""Which certificates no longer hold, and why; which choices a changed price opens again.

A certificate is evidence about one oracle, one set of prompts, one suite, one route and the models
that really answered. When any of them changes, or it is too old, nothing is known of what serves
today: it dies. A changed price changes what the cheapest route is, and not how good it is: the
bound stands, and the choice should be made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

from consensus.errors import ConsensusError
from consensus.policy._checking import Findings
from consensus.policy.certificate import Certificate
from consensus.policy.certifying import route_sha256
from consensus.policy.consequences import bar_of
from consensus.policy.findings import Finding
from consensus.policy.rows import TaskRow
from consensus.policy.table import PolicyTable

__all__ = ["Current", "PerMillion", "RateBook", "check_certificates", "deaths", "price_changes"]

PRICE_TOLERANCE = 1e-9
"""Relative difference up to which two prices are the same."""


class PerMillion(Protocol):
    """A price that can be shown in dollars per million tokens."""

    def per_million(self) -> Mapping[str, float]:
        """``input`` and ``output``, among others."""
        ...


class RateBook(Protocol):
    """Where today's prices are looked up: a ``PriceBook``."""

    def price(self, model: str) -> PerMillion:
        """The price, or :class:`PriceError`."""
        ...


@dataclass(frozen=True)
class Current:
    """What holds today, as far as it is known; what is not known is not held against a row.

    Attributes:
        today: against which certificates age.
        prompts: hash of the project's prompts.
        oracles, suites: hash by task type.
        served: model asked for → the model that served it last.
        prices: today's.
    """

    today: date
    prompts: str | None = None
    oracles: Mapping[str, str] = field(default_factory=dict)
    suites: Mapping[str, str] = field(default_factory=dict)
    served: Mapping[str, str] = field(default_factory=dict)
    prices: RateBook | None = None


def check_certificates(table: PolicyTable, current: Current) -> list[Finding]:
    """Every dead certificate, every choice that is open again, every shadow that is missing.

    Rows without a certificate are unproven, which is no fault; ``policy show`` says so.
    """
    found = Findings(table)
    for name, row in table.tasks.items():
        certificate = row.certificate
        if certificate is None:
            continue
        path = ("tasks", name, "certificate")
        again = f"consensus bench run …, then consensus policy propose RUN --type {name}"
        dead = deaths(table, name, current)
        if dead:
            found.add("error", "certificate", path, f"is dead: {'; '.join(dead)}", again)
        elif certificate.status == "uncertifiable":
            found.add(
                "warning",
                "uncertifiable",
                path,
                f"proves too little: about {certificate.needs:,} more evaluation cases are needed",
                again,
            )
        for said in price_changes(certificate, current):
            found.add(
                "warning",
                "price-changed",
                path,
                f"{said}: the quality bound stands, the choice is open again",
                f"consensus policy propose RUN --type {name}",
            )
        if certificate.status == "provisional" and row.shadow is None:
            found.add(
                "error",
                "shadow",
                ("tasks", name),
                "is provisional and has no shadow share: nobody would see it fail",
                f"shadow = {{ share = {table.certificates.shadow_share:g}, route = … }}",
            )
    return found.items


def deaths(table: PolicyTable, task_type: str, current: Current) -> list[str]:
    """Why a row's certificate no longer holds; empty where it does, or where there is none."""
    row = table.tasks[task_type]
    certificate = row.certificate
    if certificate is None:
        return []
    said = []
    try:
        if route_sha256(table, task_type) != certificate.route:
            said.append("the row was changed since it was certified")
    except ConsensusError:
        said.append("the row can no longer be followed")
    compared = [
        ("the oracle was changed", certificate.oracle, current.oracles.get(task_type)),
        ("the prompts are not those it was measured with", certificate.prompts, current.prompts),
        ("the suite was changed", certificate.suite, current.suites.get(task_type)),
    ]
    if certificate.labels is not None:
        # Labels of production are their own oracle, and their cases are in no suite.
        compared = compared[1:2]
    for changed, hashed, now in compared:
        if now is not None and now != hashed:
            said.append(changed)
    said += _served_otherwise(certificate, current)
    if current.today >= certificate.expires():
        age = (current.today - certificate.date).days
        said.append(f"it is {age} days old, and holds for {certificate.max_age_days}")
    said += _raised_bar(table, row, certificate)
    return said


def _served_otherwise(certificate: Certificate, current: Current) -> list[str]:
    said = []
    for model, names in certificate.served.items():
        now = current.served.get(model)
        if now is not None and names and now not in names:
            said.append(f"{model} is served by {now} now, and was by {', '.join(names)}")
    return said


def _raised_bar(table: PolicyTable, row: TaskRow, certificate: Certificate) -> list[str]:
    """A certificate holds against the bar of today: a higher floor, or a smaller delta."""
    if certificate.status not in ("certified", "provisional"):
        return []
    if row.consequence is None:
        row = row.model_copy(update={"consequence": table.defaults.consequence})
    bar = bar_of(table.certificates, row)
    wanted = bar.floor if certificate.status == "certified" else bar.provisional
    if wanted is None:
        return ["its consequence allows nothing provisional any more"]
    # An audit may ask for less than a consequence does: only what was raised since counts.
    if certificate.bound < wanted and (bar.floor > certificate.floor or row.floor is not None):
        return [f"its bound of {certificate.bound:g} is below the {wanted:g} asked for now"]
    return []


def price_changes(certificate: Certificate, current: Current) -> list[str]:
    """Models of the row whose price is not that of the certificate's day."""
    return [
        f"{model}: {what} costs ${now:g} per million, and cost ${old:g}"
        for model, what, old, now in _other_prices(certificate, current)
    ]


def price_factor(certificate: Certificate, current: Current) -> float | None:
    """The most by which any of them has grown: no decision costs more times what it did."""
    grown = [now / old for _, _, old, now in _other_prices(certificate, current) if old]
    return max(grown, default=None)


def _other_prices(
    certificate: Certificate, current: Current
) -> Iterator[tuple[str, str, float, float]]:
    if current.prices is None:
        return
    for model, then in certificate.prices.items():
        try:
            rates = current.prices.price(model).per_million()
        except ConsensusError:
            continue  # a model without a price is refused where the table is loaded
        for what, old in (("input", then.input), ("output", then.output)):
            now = rates[what]
            if abs(now - old) > PRICE_TOLERANCE * max(now, old):
                yield model, what, old, now
