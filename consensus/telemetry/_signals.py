"""The two OpenTelemetry signals, found where they have been set up and nowhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from consensus._version import __version__
from consensus.telemetry import conventions as names

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Tracer, TracerProvider

__all__ = ["Meters", "Tracers"]

_SCOPE: Final = "consensus"
_TRACES_BY_ENVIRONMENT: Final = "OTEL_PYTHON_TRACER_PROVIDER"
_METRICS_BY_ENVIRONMENT: Final = "OTEL_PYTHON_METER_PROVIDER"


class Tracers:
    """The tracer to use now.

    Whoever sets up an SDK imports ``opentelemetry`` to do so; as long as nobody has, it is not
    imported here either. An SDK that is set up later is found by the next decision.
    """

    def __init__(self, provider: TracerProvider | None) -> None:
        self._given = provider
        self._declared = _named_by(_TRACES_BY_ENVIRONMENT)
        self._known: tuple[TracerProvider, Tracer] | None = None

    def tracer(self) -> Tracer | None:
        """A tracer that leads somewhere, or None."""
        provider = self._given
        if provider is None:
            if not (self._declared or "opentelemetry.trace" in sys.modules):
                return None
            from opentelemetry import trace

            provider = trace.get_tracer_provider()
            if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
                return None
        if self._known is None or self._known[0] is not provider:
            tracer = provider.get_tracer(_SCOPE, __version__, names.SCHEMA_URL)
            self._known = provider, tracer
        return self._known[1]


class Meters:
    """The three histograms, made once somebody could read them."""

    def __init__(self, provider: MeterProvider | None) -> None:
        self._given = provider
        self._declared = _named_by(_METRICS_BY_ENVIRONMENT)
        self._made: tuple[MeterProvider, Mapping[str, Histogram]] | None = None

    def histograms(self) -> Mapping[str, Histogram] | None:
        """By metric name; None where nobody reads metrics."""
        provider = self._given
        if provider is None:
            if not (self._declared or "opentelemetry.metrics" in sys.modules):
                return None
            from opentelemetry import metrics

            provider = metrics.get_meter_provider()
            # The API's own stand-ins forward to nobody, and the first of them is no public class.
            if type(provider).__module__.startswith("opentelemetry.metrics"):
                return None
        if self._made is None or self._made[0] is not provider:
            self._made = provider, _histograms(provider)
        return self._made[1]


def _named_by(variable: str) -> bool:
    """Whether the environment names a provider, which the API then makes when it is asked."""
    return bool(os.environ.get(variable)) and find_spec("opentelemetry") is not None


def _histograms(provider: MeterProvider) -> Mapping[str, Histogram]:
    meter = provider.get_meter(_SCOPE, __version__, names.SCHEMA_URL)
    return {
        names.TOKEN_USAGE: meter.create_histogram(
            names.TOKEN_USAGE,
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=names.TOKEN_BUCKETS,
        ),
        names.OPERATION_DURATION: meter.create_histogram(
            names.OPERATION_DURATION,
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=names.DURATION_BUCKETS_S,
        ),
        names.WORKFLOW_DURATION: meter.create_histogram(
            names.WORKFLOW_DURATION,
            unit="s",
            description="GenAI workflow duration.",
            explicit_bucket_boundaries_advisory=names.DURATION_BUCKETS_S,
        ),
    }
