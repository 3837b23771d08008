"""Send OpenTelemetry spans of calls, where a site collects them (`CDS_OTLP_ENDPOINT`, extra `otel`).

Spans are made after a call has ended, from times that are measured anyway, so a site without traces pays nothing. A span holds
the service, the status, the number of cards, and the duration of each phase.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from cds_service import __version__
from cds_service.settings import SettingsError
from cds_service.telemetry.timings import Timings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter


class Traces:
    """Write the spans of one process. Made only where traces are configured."""

    def __init__(self, exporter: SpanExporter, *, at_once: bool = False) -> None:
        """`exporter` gets the spans in batches from a thread; `at_once` for tests."""
        self._exporter = exporter
        self._at_once = at_once

    def start(self) -> None:
        """Start the thread; before this, the process may be forked."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        about = Resource({"service.name": "cds-service", "service.version": __version__, "process.pid": os.getpid()})
        processor = SimpleSpanProcessor if self._at_once else BatchSpanProcessor
        self.provider = TracerProvider(resource=about, shutdown_on_exit=False)
        self.provider.add_span_processor(processor(self._exporter))
        self._tracer = self.provider.get_tracer("cds_service", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def write(self, service: str, status: int, timings: Timings, traceparent: str) -> None:
        """Write a span for a call that ends now, with a child span per phase, below the caller's `traceparent`.

        `tracestate` and `baggage` are not passed on, because callers may put any data there.
        """
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

        end = time.time_ns()
        at = start = end - int((time.perf_counter() - timings.started) * 1e9)
        above = self._propagator.extract({"traceparent": traceparent} if traceparent else {})
        call = self._tracer.start_span(
            "cds-services",
            context=above,
            kind=SpanKind.SERVER,
            start_time=start,
            attributes={"cds.service": service, "http.response.status_code": status, "cds.cards": timings.cards},
        )
        within = set_span_in_context(call)
        for phase, milliseconds in timings.phases.items():
            span = self._tracer.start_span(phase, context=within, start_time=at)
            at += int(milliseconds * 1e6)
            span.end(at)
        if status >= 500:
            call.set_status(StatusCode.ERROR)
        call.end(end)

    def close(self) -> None:
        """Send the waiting spans; blocks until the collector has taken them, for some seconds at most."""
        self.provider.shutdown()


def open_traces(endpoint: str) -> Traces | None:
    """Return traces that are sent to `endpoint` (OTLP over HTTP, `https://collector.example/v1/traces`), None for "".

    Raises SettingsError where the packages for it are not installed.
    """
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise SettingsError("CDS_OTLP_ENDPOINT needs the extra `otel`: pip install 'cramp-cds[otel]'") from None
    return Traces(OTLPSpanExporter(endpoint=endpoint, timeout=5))
