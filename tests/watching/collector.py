"""A real OTLP receiver over gRPC, in the test's process."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass
class Seen:
    """A span as it arrived: ids in hex, times in seconds, and the role of the process that sent it."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    role: str
    start_s: float
    end_s: float
    about: dict[str, Any] = field(default_factory=dict)


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._spans: list[Seen] = []

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        del context
        with self._guard:
            for one in request.resource_spans:
                about = {pair.key: _value(pair.value) for pair in one.resource.attributes}
                for scope in one.scope_spans:
                    self._spans += [self._seen(span, about["rejoinder.role"]) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    @staticmethod
    def _seen(span: Any, role: str) -> Seen:
        return Seen(
            span.name,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            role,
            span.start_time_unix_nano / 1e9,
            span.end_time_unix_nano / 1e9,
            {pair.key: _value(pair.value) for pair in span.attributes},
        )

    def spans(self) -> list[Seen]:
        with self._guard:
            return list(self._spans)

    def named(self, name: str, **about: Any) -> list[Seen]:
        return [one for one in self.spans() if one.name == name and about.items() <= one.about.items()]

    def way_of(self, span: Seen) -> list[Seen]:
        """Give the spans from the root down to a span."""
        by_id = {one.span_id: one for one in self.spans()}
        way = [span]
        while way[0].parent_id:
            way.insert(0, by_id[way[0].parent_id])
        return way


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """Give a collector and its address."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(1).wait(5)
