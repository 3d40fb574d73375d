"""What the door counts, for Prometheus; never any text of a conversation."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.hop_metrics import HopCollector
from schemas.hops import HopShown

__all__ = ["CountRequests", "Metrics"]

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The door's own registry."""

    def __init__(self, hops: Callable[[], Sequence[HopShown]] = lambda: (), version: str = "") -> None:
        """Make the counters; `hops` gives what the flows of this process count."""
        self.registry = CollectorRegistry()
        self.registry.register(HopCollector(hops))
        ProcessCollector(registry=self.registry)
        make: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("rejoinder_requests", "Requests answered", ("method", "route", "status"), **make)
        self.seconds = Histogram(
            "rejoinder_request_seconds", "Time to the start of the answer", ("route",), buckets=BUCKETS, **make
        )
        self.captions = Counter("rejoinder_captions_accepted", "Captions stored", **make)
        self.streams = Gauge("rejoinder_streams_open", "Event streams open", **make)
        self.cut = Counter("rejoinder_streams_cut", "Event streams cut because the client did not read", **make)
        self.audio_seconds = Counter("rejoinder_audio_seconds", "Seconds of sound stored", ("way",), **make)
        self.audio_open = Gauge("rejoinder_audio_open", "Connections that send sound", ("way",), **make)
        self.behind = Gauge(
            "rejoinder_flow_behind_seconds", "Age of the oldest record a flow has not read", ("flow",), **make
        )
        Gauge("rejoinder_build", "1, with the version as a label", ("version",), **make).labels(version).set(1)
        self.alive = Gauge("rejoinder_flow_alive", "1 while the flow runs", ("flow",), **make)

    def text(self) -> bytes:
        """Give the exposition text."""
        return generate_latest(self.registry)


class CountRequests:
    """Counts requests by route template, as plain ASGI so that streams pass through untouched."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap an app."""
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "other")
                self._metrics.requests.labels(scope["method"], route, str(message["status"])).inc()
                self._metrics.seconds.labels(route).observe(time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, counting)
