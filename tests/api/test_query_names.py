"""A query parameter that a route does not know is an error on every route, not something passed over."""

import re
from collections.abc import Iterator

import httpx
import pytest

from rejoinder.settings import Settings
from tests.sound import sending
from tests.support import open_session, running


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("names")
    with running(Settings(_env_file=None, data_dir=folder, port=0, qa_port=0, speech_model="off")) as opened:
        yield opened


def test_every_route_refuses_parameters_it_does_not_know_and_says_which_it_does(client: httpx.Client) -> None:
    asked = 0
    for path, methods in client.get("/api/openapi.json").json()["paths"].items():
        for method, about in methods.items():
            takes = sorted(one["name"] for one in about.get("parameters", ()) if one["in"] == "query")
            takes += ["key"] if path.endswith("/stream") else []
            reply = client.request(method, re.sub(r"\{\w+\}", "x", path), params={"limitt": "5", "Limit": "5"})
            assert reply.status_code == 422, (method, path)
            told = reply.json()
            assert told["detail"].startswith("unknown query parameters: Limit, limitt; this route takes "), path
            assert told["detail"].endswith(", ".join(sorted(takes)) if takes else "none"), (path, takes)
            assert [one["loc"] for one in told["errors"]] == [["query", "Limit"], ["query", "limitt"]]
            asked += 1
    assert asked > 40
    assert client.get("/api/health").status_code == 200
    assert client.get("/?from=a-bookmark").status_code == 200


def test_a_websocket_with_an_unknown_parameter_is_told_so(client: httpx.Client) -> None:
    with sending(client, open_session(client), "mic&rate=48000") as sender:
        code, said = sender.closed()
    assert code == 4422
    assert "rate" in said[-1]["detail"]
