"""The analytics as a process of its own: owns the file, runs the flow, serves the API and the dashboard."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from api.app import create_app
from api.deps import ApiParts
from eventlog import START_S, open_log
from rejoinder import __version__
from rejoinder.accounts.keys import KeyStore
from rejoinder.analytics.owner import Analytics
from rejoinder.analytics.routes import analytics_router
from rejoinder.instance import InstanceLock
from rejoinder.settings import Settings
from schemas.errors import EngineError
from schemas.progress import FlowProgress

__all__ = ["AnalyticsRole"]

PAGE = Path(__file__).parents[1] / "web"


class _View:
    """What the health page says."""

    def __init__(self, analytics: Analytics) -> None:
        self._analytics = analytics

    def flows(self) -> Sequence[FlowProgress]:
        one = self._analytics.status()
        late_s = max(0.0, one.stored_at_s - one.last_record_at_s) if one.behind_records else 0.0
        return [
            FlowProgress("analytics", "analytics", one.records, 0, one.behind_records, late_s, one.alive, one.detail)
        ]

    def models(self) -> Mapping[str, str]:
        return {}

    def problems(self) -> Sequence[str]:
        return [f"analytics: {flow.detail or 'not running'}" for flow in self.flows() if not flow.alive]


class AnalyticsRole:
    """One process; use it as a context."""

    def __init__(self, settings: Settings, *, key_required: bool | None = None) -> None:
        """Open log and keys; callers need a key beyond loopback, or as `key_required` says.

        Raises:
            LogUnavailable: The log cannot be used, or another process owns the analytics.
        """
        self.settings = settings
        self._lock = InstanceLock(settings.data_dir / "analytics", "analytics")
        self.required = not settings.loopback if key_required is None else key_required
        try:
            self.log = open_log(settings.log_url, settings.log_sync, follow=(), kafka=settings.kafka, wait_s=START_S)
            self.keys = KeyStore(settings.data_dir / "accounts.sqlite3", key_required=self.required)
        except EngineError:
            self._lock.release()
            raise
        self.analytics = Analytics(settings, self.log, share=1.0)

    def doors(self, port: int) -> list[tuple[FastAPI, str, int]]:
        """Give the app, to be served on a port."""
        view = _View(self.analytics)
        parts = ApiParts(log=self.log, callers=self.keys, engine=view, version=__version__)
        app = create_app(parts, doors="health")
        readers = tuple(self.settings.analytics_readers)
        app.include_router(analytics_router(self.analytics, readers=readers, key_required=self.required))
        app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
        return [(app, self.settings.host, port)]

    def stop(self) -> None:
        """Write what was read and let go of everything."""
        self.analytics.stop()
        self.keys.close()
        self.log.close()
        self._lock.release()

    def __enter__(self) -> Self:
        """Start."""
        self.analytics.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()
