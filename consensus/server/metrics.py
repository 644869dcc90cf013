"""What Prometheus is shown of this server. One registry an app, nothing global."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from consensus.decisions import Decision
from consensus.errors import MissingExtraError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["ServerMetrics"]

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)


class ServerMetrics:
    """Counters of requests and decisions; others register their own in :attr:`registry`.

    Args:
        known: whether a task type has a row. Types without one share the label ``other``, so that
            no caller can make series without end.
        registry: one to add to; a new one where None.
    """

    def __init__(
        self, known: Callable[[str], bool], registry: CollectorRegistry | None = None
    ) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError:
            raise MissingExtraError(
                "prometheus-client is not installed", fix='pip install "consensus-engine[serve]"'
            ) from None
        self._known = known
        self.registry = registry if registry is not None else CollectorRegistry()
        here: dict[str, Any] = {"registry": self.registry, "namespace": "consensus"}
        self.requests = Counter(
            "http_requests", "Requests answered.", ("route", "method", "status"), **here
        )
        self.seconds = Histogram(
            "http_request_duration_seconds", "From request to the end of its answer.", ("route",),
            buckets=SECONDS, **here,
        )  # fmt: skip
        self.decisions = Counter(
            "decisions", "Decisions made for callers.", ("task_type", "action"), **here
        )
        self.decision_seconds = Histogram(
            "decision_duration_seconds", "One decision, without its wait for a place.",
            ("task_type",), buckets=SECONDS, **here,
        )  # fmt: skip
        self.usd = Counter(
            "decision_cost_usd", "Paid for decisions, frontier calls included.", ("task_type",),
            **here,
        )  # fmt: skip
        self.refused = Counter(
            "refused_requests", "Requests refused before any call.", ("code",), **here
        )
        self.abandoned = Counter(
            "abandoned_decisions", "Decisions cut short by a hang-up or a shutdown.", ("why",),
            **here,
        )  # fmt: skip
        self.running = Gauge("decisions_running", "Decisions under way.", **here)
        self.waiting = Gauge("decisions_waiting", "Decisions that wait for a place.", **here)

    def decided(self, decision: Decision) -> None:
        """Count a decision and what it cost."""
        label = self.label(decision.task_type)
        self.decisions.labels(label, decision.action).inc()
        self.decision_seconds.labels(label).observe(decision.latency_s)
        usd = decision.cost.usd + (decision.frontier.cost.usd if decision.frontier else 0.0)
        self.usd.labels(label).inc(usd)

    def label(self, task_type: str) -> str:
        """A task type as a label."""
        return task_type if self._known(task_type) else "other"

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)
