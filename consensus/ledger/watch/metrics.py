"""The watch as Prometheus sees it, in a registry that the caller has."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from consensus.ledger.watch.looking import Look
from consensus.telemetry._prometheus import needs_prometheus

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["WatchMetrics"]


class WatchMetrics:
    """Series of the watch; only task types that have a profile have any.

    ================================== ===========================================================
    ``consensus_watch_ratio``          production over the profile, by ``type`` and ``monitor``
    ``consensus_watch_p_value``        valid at any time, by ``type`` and ``monitor``
    ``consensus_incidents_open``       by ``type`` and ``monitor``
    ``consensus_incidents_total``      opened since the process began, by ``type``, ``monitor``
    ``consensus_demoted``              1 while a row does not serve by its own choice, by ``type``
    ``consensus_watch_looked_at``      seconds since 1970 of the last look
    ================================== ===========================================================

    Raises:
        MissingExtraError: prometheus-client is not installed.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        needs_prometheus()
        from prometheus_client import Counter, Gauge

        by = ("type", "monitor")

        def gauge(name: str, text: str, labels: tuple[str, ...] = by) -> Gauge:
            return Gauge(f"consensus_{name}", text, labels, registry=registry)

        self._ratio = gauge("watch_ratio", "Production over the profile.")
        self._p = gauge("watch_p_value", "Of no worse than the profile, valid at any time.")
        self._open = gauge("incidents_open", "Incidents that go on.")
        self._opened = Counter("consensus_incidents", "Incidents opened.", by, registry=registry)
        self._demoted = gauge("demoted", "Rows that do not serve by their own choice.", ("type",))
        self._at = gauge("watch_looked_at", "Time of the last look.", ())

    def show(self, found: Look) -> None:
        """Show what a look found."""
        for series in (self._ratio, self._p, self._open, self._demoted):
            series.clear()
        for row in found.rows:
            self._demoted.labels(row.task_type).set(row.demoted or row.earlier is not None)
            for reading in row.readings:
                if math.isfinite(reading.excess.ratio):
                    self._ratio.labels(row.task_type, reading.monitor).set(reading.excess.ratio)
                self._p.labels(row.task_type, reading.monitor).set(reading.excess.p_value)
        for one in found.open:
            self._open.labels(one.task_type, one.monitor).inc()
        for one in found.opened:
            self._opened.labels(one.task_type, one.monitor).inc()
        self._at.set(found.at)
