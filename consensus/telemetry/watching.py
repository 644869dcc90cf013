"""Watching decisions and their calls: one trace a decision, a span a seat's call, and counts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from consensus.decisions import Decision
from consensus.errors import DeclarationError, MissingExtraError
from consensus.models.observing import CallObserver, CallWatch
from consensus.models.protocol import CallRecord, Completion, Request
from consensus.telemetry import _attributes as written
from consensus.telemetry import conventions as names
from consensus.telemetry._signals import Meters, Tracers
from consensus.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from consensus.models.context import CallContext

__all__ = ["DecisionWatch", "Telemetry"]

_NANO = 10**9
_IN_PROCESS = ("local/", "scripted/")


class DecisionWatch:
    """One decision under way.

    Attributes:
        observer: for the ``CallContext`` of the decision's calls; None where nobody looks on.
    """

    __slots__ = ("_decision", "observer")

    def __init__(self, observer: CallObserver | None) -> None:
        self.observer = observer
        self._decision: Decision | None = None

    def decided(self, decision: Decision) -> None:
        """The decision has been made, and kept."""
        self._decision = decision


class Telemetry:
    """Where decisions and calls are written to.

    By default it follows what the process has set up: the global OpenTelemetry providers, if any
    were set by the time a decision begins. With none, and without ``metrics``, a decision costs two
    look-ups more.

    Args:
        tracer_provider: in place of the global one.
        meter_provider: in place of the global one.
        metrics: counters for Prometheus; see :class:`~consensus.telemetry.metrics.Metrics`.
        content: write prompts and answers on spans. None: where
            ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` says so (``true``, ``span_only``
            or ``span_and_event``). Judged text then leaves with the spans.

    One object may serve several engines.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        metrics: Metrics | None = None,
        content: bool | None = None,
    ) -> None:
        self._tracers = Tracers(tracer_provider)
        self._meters = Meters(meter_provider)
        self.metrics = metrics
        if content is None:
            said = os.environ.get(names.CAPTURE_CONTENT, "").strip().lower()
            content = said in names.CAPTURE_VALUES
        self.content = content

    def metrics_text(self) -> str:
        """The counters in Prometheus' text format.

        Raises:
            MissingExtraError: made without ``metrics``.
        """
        if self.metrics is None:
            raise MissingExtraError(
                "this engine keeps no Prometheus metrics",
                fix="Engine(..., telemetry=Telemetry(metrics=Metrics()))",
            )
        return self.metrics.text()

    def decision(
        self, task_type: str, kind: str, decision_id: str
    ) -> AbstractContextManager[DecisionWatch]:
        """Watch one decision; it ends with the block, by its decision or by its error."""
        tracer, meters = self._tracers.tracer(), self._meters.histograms()
        if tracer is None and meters is None and self.metrics is None:
            return _UNWATCHED
        return self._watched(task_type, kind, decision_id, tracer, meters)

    @contextmanager
    def _watched(
        self,
        task_type: str,
        kind: str,
        decision_id: str,
        tracer: Tracer | None,
        meters: Mapping[str, Histogram] | None,
    ) -> Iterator[DecisionWatch]:
        watch = DecisionWatch(_Calls(tracer, meters, self.metrics, content=self.content))
        begun = time.perf_counter()
        failed: str | None = None
        if self.metrics is not None:
            self.metrics.began()
        with _opened(
            tracer,
            f"{names.INVOKE_WORKFLOW} {task_type}",
            {
                names.OPERATION_NAME: names.INVOKE_WORKFLOW,
                names.WORKFLOW_NAME: task_type,
                "consensus.task.type": task_type,
                "consensus.task.kind": kind,
                "consensus.decision.id": decision_id,
            },
        ) as span:
            try:
                yield watch
            except BaseException as error:
                failed = written.error_type(error)
                if self.metrics is not None:
                    if isinstance(error, DeclarationError):
                        self.metrics.refused(task_type)
                    else:
                        self.metrics.broke(task_type, failed)
                _mark(span, failed)
                raise
            finally:
                decision = watch._decision
                if span is not None and decision is not None:
                    span.set_attributes(written.decision_attributes(decision))
                if self.metrics is not None:
                    self.metrics.ended()
                    if decision is not None:
                        self.metrics.decided(decision)
                if meters is not None:
                    told: dict[str, Any] = {names.WORKFLOW_NAME: task_type}
                    if failed is not None:
                        told[names.ERROR_TYPE] = failed
                    meters[names.WORKFLOW_DURATION].record(time.perf_counter() - begun, told)


class _Calls:
    """Watches the calls of one decision; a :class:`CallObserver`."""

    __slots__ = ("_content", "_meters", "_metrics", "_tracer")

    def __init__(
        self,
        tracer: Tracer | None,
        meters: Mapping[str, Histogram] | None,
        metrics: Metrics | None,
        *,
        content: bool,
    ) -> None:
        self._tracer = tracer
        self._meters = meters
        self._metrics = metrics
        self._content = content

    @contextmanager
    def call(self, request: Request, ctx: CallContext) -> Iterator[CallWatch]:
        """Watch one call, its retries and fallbacks included, as the conventions ask."""
        begun = time.perf_counter()
        watch = _Answer()
        attributes: dict[str, Any] = {}
        if self._tracer is not None:
            attributes = written.call_attributes(request, ctx)
            if self._content:
                attributes |= written.request_content(request)
        name = f"{names.CHAT} {names.provider_name(request.model)[1]}"
        remote = not request.model.startswith(_IN_PROCESS)
        with _opened(self._tracer, name, attributes, remote=remote) as span:
            failed: str | None = None
            records: Sequence[CallRecord] = ()
            try:
                yield watch
                records = watch.records
            except BaseException as error:
                failed = written.error_type(error)
                records = getattr(error, "calls", ())
                raise
            finally:
                if span is not None:
                    self._describe(span, watch.completion, records, failed)
                if self._metrics is not None:
                    self._metrics.called(records)
                if self._meters is not None:
                    taken = time.perf_counter() - begun
                    self._measure(request, watch.completion, records, failed, taken)

    def _describe(
        self,
        span: Span,
        completion: Completion | None,
        records: Sequence[CallRecord],
        failed: str | None,
    ) -> None:
        if completion is not None:
            span.set_attributes(written.completion_attributes(completion, records))
            if self._content:
                span.set_attributes(written.response_content(completion))
        elif records:
            span.set_attributes(written.usage_attributes(records))
        for record in records:
            if record.failure is not None:
                at = int((record.started_at + record.latency_s) * _NANO)
                span.add_event(
                    "consensus.attempt.failed", written.attempt_attributes(record), timestamp=at
                )
        _mark(span, failed)

    def _measure(
        self,
        request: Request,
        completion: Completion | None,
        records: Sequence[CallRecord],
        failed: str | None,
        seconds: float,
    ) -> None:
        """Both client metrics; an answer that was there already is no operation of a client."""
        if self._meters is None or any(record.replayed for record in records):
            return
        told = written.metric_attributes(request)
        if completion is not None:
            told[names.RESPONSE_MODEL] = names.provider_name(completion.served_model)[1]
        usage = self._meters[names.TOKEN_USAGE]
        for kind, count in (
            ("input", sum(record.usage.total_input for record in records)),
            ("output", sum(record.usage.output for record in records)),
        ):
            if count:
                usage.record(count, {**told, names.TOKEN_TYPE: kind})
        if failed is not None:
            told[names.ERROR_TYPE] = failed
        self._meters[names.OPERATION_DURATION].record(seconds, told)


class _Answer:
    """What a call came to."""

    __slots__ = ("completion", "records")

    def __init__(self) -> None:
        self.completion: Completion | None = None
        self.records: Sequence[CallRecord] = ()

    def answered(self, completion: Completion, records: Sequence[CallRecord]) -> None:
        self.completion, self.records = completion, records


class _Unwatched(AbstractContextManager[DecisionWatch]):
    """For decisions that nobody looks at; shared by all of them."""

    def __init__(self) -> None:
        self._watch = _Blind(None)

    def __enter__(self) -> DecisionWatch:
        return self._watch

    def __exit__(self, *exc: object) -> None:
        return None


class _Blind(DecisionWatch):
    """Remembers nothing."""

    __slots__ = ()

    def decided(self, decision: Decision) -> None:
        """Nobody wants to know."""


_UNWATCHED = _Unwatched()


@contextmanager
def _opened(
    tracer: Tracer | None, name: str, attributes: Mapping[str, Any], *, remote: bool = False
) -> Iterator[Span | None]:
    """A span that is current within the block; None where it is not recorded.

    An exception is neither recorded with its text nor made the span's status: see :func:`_mark`.
    """
    if tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind

    with tracer.start_as_current_span(
        name,
        kind=SpanKind.CLIENT if remote else SpanKind.INTERNAL,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span if span.is_recording() else None


def _mark(span: Span | None, failed: str | None) -> None:
    """Say that a span failed, and in which class; an error's own words might quote the task."""
    if span is None or failed is None:
        return
    from opentelemetry.trace import StatusCode

    span.set_attribute(names.ERROR_TYPE, failed)
    span.set_status(StatusCode.ERROR)
