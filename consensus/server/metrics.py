"""What Prometheus is shown of the server, beside what the engine counts of decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consensus.telemetry._prometheus import needs_prometheus

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from consensus.server.gathered import Gathered

__all__ = ["ServerMetrics"]

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)


class ServerMetrics:
    """Counters of requests. What is decided and paid the engine counts
    (:class:`consensus.telemetry.Metrics`), in the same registry where it has one.

    No label comes from a caller: routes are templates, codes and reasons are closed sets.

    Args:
        registry: one to add to; a new one where None.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        needs_prometheus("serve")
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = registry if registry is not None else CollectorRegistry()
        self.gathered: Gathered | None = None
        here: dict[str, Any] = {"registry": self.registry, "namespace": "consensus"}
        self.requests = Counter(
            "http_requests", "Requests answered.", ("route", "method", "status"), **here
        )
        self.seconds = Histogram(
            "http_request_seconds",
            "From a request to the end of its answer.",
            ("route",),
            buckets=SECONDS,
            **here,
        )
        self.refused = Counter(
            "http_refused", "Requests and tasks of streams that were refused.", ("code",), **here
        )
        self.abandoned = Counter(
            "abandoned_decisions",
            "Decisions cut short by a hang-up or a shutdown.",
            ("why",),
            **here,
        )
        self.waiting = Gauge("decisions_waiting", "Decisions that wait for a place.", **here)

    def text(self) -> bytes:
        """Everything in the registry, in Prometheus' text format; of several workers all of it."""
        if self.gathered is not None:
            return self.gathered.text()
        from prometheus_client import generate_latest

        return generate_latest(self.registry)
