"""Traces by OpenTelemetry, sent over OTLP where a setting says so; its libraries are loaded only then."""

from typing import TYPE_CHECKING

from operators.tracing import About, OpenSpan
from rejoinder import __version__
from schemas.errors import ModelMissing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span
    from opentelemetry.trace import Tracer as OtelTracer

    from rejoinder.settings import Settings

__all__ = ["OtelTraces", "open_traces"]

NS = 1_000_000_000
FLUSH_MS = 2_000


class _OtelSpan:
    def __init__(self, span: "Span") -> None:
        context = span.get_span_context()
        self._span = span
        self.trace = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def end(self, end_s: float | None = None, about: About | None = None) -> None:
        self._span.set_attributes(about or {})
        self._span.end(int(end_s * NS) if end_s is not None else None)


class OtelTraces:
    """Traces that are sent in the background; what the collector does not take in time is dropped, nothing waits."""

    def __init__(self, provider: "TracerProvider", tracer: "OtelTracer") -> None:
        """Keep spans with `provider`."""
        self._provider, self._tracer = provider, tracer

    def begin(self, name: str, parent: str = "", start_s: float | None = None, about: About | None = None) -> OpenSpan:
        """Begin a span; see `operators.tracing.Tracer`."""
        from opentelemetry.context import Context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # Nothing is taken from this thread's own context: flows make the spans of many sessions in one thread.
        above = TraceContextTextMapPropagator().extract({"traceparent": parent} if parent else {}, Context())
        started = int(start_s * NS) if start_s is not None else None
        return _OtelSpan(self._tracer.start_span(name, above, attributes=about, start_time=started))

    def close(self) -> None:
        """Send what is left, for two seconds at most."""
        self._provider.force_flush(FLUSH_MS)
        self._provider.shutdown()


def open_traces(settings: "Settings", role: str) -> OtelTraces | None:
    """Give the tracer that the settings ask for, None when they ask for none; `role` names the process.

    Raises:
        ModelMissing: The extra is not installed.
    """
    if not settings.otel_endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
    except ImportError as error:
        raise ModelMissing("traces need: uv sync --extra otel") from error
    about = {"service.name": "rejoinder", "service.version": __version__, "rejoinder.role": role}
    provider = TracerProvider(
        # Not the environment's resource attributes: all settings are read in one place.
        resource=Resource(about),
        sampler=ParentBasedTraceIdRatio(settings.otel_ratio),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(settings.otel_endpoint, insecure=settings.otel_endpoint.startswith("http://"))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    return OtelTraces(provider, provider.get_tracer("rejoinder", __version__))
