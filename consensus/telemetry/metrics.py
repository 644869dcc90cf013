"""Counters for Prometheus, in a registry of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from consensus.ballots import PICO
from consensus.decisions import Decision
from consensus.models.protocol import CallRecord
from consensus.telemetry._prometheus import needs_prometheus

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""What an endpoint says of :meth:`Metrics.text`."""

MOST_TYPES: Final = 500
"""Task types that have series of their own; callers may invent names, and a series is for ever."""

OTHER: Final = "_other"

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)


class Metrics:
    """What has been decided and paid by this process since it started.

    ========================================== ====================================================
    ``consensus_decisions_total``              by ``type``, ``action``, ``route``
    ``consensus_cost_usd_total``               by ``type``, ``route``, ``of`` (decision, frontier)
    ``consensus_escalations_total``            by ``type``, ``to`` (tier: a further hop; person)
    ``consensus_failures_total``               seats without a ballot, by ``type``, ``failure``
    ``consensus_refusals_total``               tasks that could not be asked, by ``type``
    ``consensus_errors_total``                 decisions that ended in an error, by ``type``,
                                               ``error``
    ``consensus_decision_seconds``             histogram, by ``type``
    ``consensus_decisions_in_flight``          gauge
    ``consensus_attempts_total``               by ``model`` asked, ``purpose``, ``failure``
                                               (empty: answered)
    ``consensus_tokens_total``                 by ``model`` asked, ``kind`` (a class of usage)
    ========================================== ====================================================

    No label holds judged text. Types beyond the first 500 are counted as ``_other``.

    Args:
        registry: where the series are kept; None makes one, so that engines do not share counts.

    Raises:
        MissingExtraError: prometheus-client is not installed.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        needs_prometheus()
        import prometheus_client as prom

        self.registry = prom.CollectorRegistry() if registry is None else registry
        self._types: set[str] = set()

        def counter(name: str, text: str, *labels: str) -> prom.Counter:
            return prom.Counter(f"consensus_{name}", text, labels, registry=self.registry)

        self._decisions = counter("decisions", "Decisions.", "type", "action", "route")
        self._cost = counter("cost_usd", "US dollars paid.", "type", "route", "of")
        self._escalations = counter(
            "escalations", "Decisions that went on to a stronger tier or to a person.", "type", "to"
        )
        self._failures = counter("failures", "Seats without a ballot.", "type", "failure")
        self._refusals = counter("refusals", "Tasks that could not be asked.", "type")
        self._errors = counter("errors", "Decisions that ended in an error.", "type", "error")
        self._attempts = counter(
            "attempts", "Attempts at calls of models.", "model", "purpose", "failure"
        )
        self._tokens = counter("tokens", "Tokens billed, by class.", "model", "kind")
        self._seconds = prom.Histogram(
            "consensus_decision_seconds",
            "Seconds from the task to its decision.",
            ["type"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._in_flight = prom.Gauge(
            "consensus_decisions_in_flight", "Decisions under way.", registry=self.registry
        )

    def text(self) -> str:
        """Everything so far, in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry).decode()

    def began(self) -> None:
        """A decision has begun."""
        self._in_flight.inc()

    def ended(self) -> None:
        """A decision is over, however it ended."""
        self._in_flight.dec()

    def decided(self, decision: Decision) -> None:
        """Count a decision."""
        kind = self._type(decision.task_type)
        route = " > ".join(decision.route) or decision.strategy
        self._decisions.labels(kind, decision.action, route).inc()
        self._cost.labels(kind, route, "decision").inc(decision.cost.pico_usd / PICO)
        if decision.frontier is not None:
            self._cost.labels(kind, route, "frontier").inc(decision.frontier.cost.pico_usd / PICO)
        if len(decision.route) > 1:
            self._escalations.labels(kind, "tier").inc()
        if decision.action == "escalate":
            self._escalations.labels(kind, "person").inc()
        for failure in decision.failures:
            self._failures.labels(kind, failure.failure).inc()
        self._seconds.labels(kind).observe(decision.latency_s)

    def refused(self, task_type: str) -> None:
        """Count a task that could not be asked."""
        self._refusals.labels(self._type(task_type)).inc()

    def broke(self, task_type: str, error: str) -> None:
        """Count a decision that ended in an error (the class's name), or was cancelled."""
        self._errors.labels(self._type(task_type), error).inc()

    def called(self, records: Sequence[CallRecord]) -> None:
        """Count a call's attempts; what was paid for earlier is not counted again."""
        for record in records:
            if record.replayed:
                continue
            model = record.requested_model
            self._attempts.labels(model, record.purpose, record.failure or "").inc()
            usage = record.usage
            for kind, count in (
                ("input", usage.input),
                ("cache_read", usage.cache_read),
                ("cache_write", usage.cache_write + usage.cache_write_1h),
                ("output", usage.output),
            ):
                if count:
                    self._tokens.labels(model, kind).inc(count)

    def _type(self, name: str) -> str:
        if name in self._types:
            return name
        if len(self._types) >= MOST_TYPES:
            return OTHER
        self._types.add(name)
        return name
