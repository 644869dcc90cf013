"""Readers of what an engine writes to OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from consensus.telemetry import Metrics, Telemetry


class Watched:
    """A telemetry with everything on, and what it was told."""

    def __init__(self, *, content: bool = False, metrics: bool = True) -> None:
        self.exporter = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.telemetry = Telemetry(
            tracer_provider=tracers,
            meter_provider=MeterProvider(metric_readers=[self.reader]),
            metrics=Metrics() if metrics else None,
            content=content,
        )

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def root(self) -> ReadableSpan:
        (found,) = (span for span in self.spans if span.parent is None)
        return found

    def calls(self) -> list[ReadableSpan]:
        """The calls' spans, by seat."""
        found = [span for span in self.spans if span.name.startswith("chat ")]
        return sorted(found, key=lambda span: (attributes(span)["consensus.seat"], span.start_time))

    def points(self, name: str) -> list[HistogramDataPoint]:
        """A histogram's points."""
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
            if isinstance(point, HistogramDataPoint)
        ]

    def everything(self) -> str:
        """All spans as JSON, and all counters, to search for what must not be there."""
        return "".join(str(span.to_json()) for span in self.spans) + self.telemetry.metrics_text()

    def count(self, name: str, **labels: str) -> float:
        """One counter of the Prometheus registry."""
        assert self.telemetry.metrics is not None
        value = self.telemetry.metrics.registry.get_sample_value(f"consensus_{name}", labels)
        return 0.0 if value is None else value


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}
