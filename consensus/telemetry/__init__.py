"""Spans and metrics of decisions and calls (design/telemetry.md).

Nothing is imported, and next to nothing is done, where nobody has set up OpenTelemetry or asked for
Prometheus metrics.
"""

from consensus.telemetry.metrics import Metrics
from consensus.telemetry.watching import DecisionWatch, Telemetry

__all__ = ["DecisionWatch", "Metrics", "Telemetry"]
