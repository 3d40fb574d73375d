"""Whatever is sent by the OpenAPI's own rules, nothing breaks: no 5xx, and answers are as described."""

from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from rejoinder.engine import Engine
from rejoinder.settings import Settings


@schemathesis.serializer("application/sdp")
def _sdp(ctx: schemathesis.SerializationContext, value: object) -> bytes:
    """Send what was made for a WebRTC offer as it is."""
    del ctx
    return str(value).encode("utf-8", "replace")


def test_requests_made_from_the_schema_never_break_the_server(tmp_path: Path) -> None:
    with Engine(Settings(_env_file=None, data_dir=tmp_path)) as engine:
        app = engine.apps()[0]
        schema = schemathesis.openapi.from_asgi("/api/openapi.json", app)
        checks = [not_a_server_error, content_type_conformance, status_code_conformance]
        for result in schema.get_all_operations():
            operation = result.ok()
            if operation.path.endswith("/stream"):
                continue
            _exercise(operation, checks)


def _exercise(operation: object, checks: list[object]) -> None:
    from hypothesis import given

    strategy = operation.as_strategy()  # type: ignore[attr-defined]

    @settings(max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=strategy)
    def run(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=checks)

    run()
