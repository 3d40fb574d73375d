"""The dashboard against the published types of the very Grafana that docker compose names.

No Grafana runs here: these are the types its makers generate from its schema, so a field or option
that Grafana does not know is found, and how it looks is not.
"""

import copy
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import prometheus, stat, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel

ROOT = Path(__file__).parent.parent.parent
DASHBOARD = json.loads((ROOT / "deploy" / "watching" / "dashboard.json").read_text())
OPTIONS = {"stat": stat.Options, "timeseries": timeseries.Options}


@pytest.fixture(scope="module", autouse=True)
def _panels() -> None:
    """Have options and queries read by the types of their panel and data source."""
    register_default_plugins()


def unknown(given: Any, place: str = "") -> list[str]:
    """Give where a dashboard holds what Grafana's types do not: it is not there after reading and writing it."""
    return _lost(given, json.loads(JSONEncoder().encode(Dashboard.from_json(copy.deepcopy(given)))), place)


def _lost(given: Any, back: Any, place: str) -> list[str]:
    if isinstance(given, dict):
        found = []
        for name, value in given.items():
            known = isinstance(back, dict) and name in back
            found += _lost(value, back[name], f"{place}/{name}") if known else [f"{place}/{name}"]
        return found
    if isinstance(given, list) and isinstance(back, list) and len(given) == len(back):
        return [one for n, pair in enumerate(zip(given, back, strict=True)) for one in _lost(*pair, f"{place}/{n}")]
    return [] if given == back else [place]


def test_every_field_of_the_dashboard_is_one_that_grafana_knows() -> None:
    assert unknown(DASHBOARD) == []
    for panel in Dashboard.from_json(DASHBOARD).panels or ():
        if isinstance(panel, RowPanel):
            continue
        assert isinstance(panel, Panel)
        assert isinstance(panel.options, OPTIONS[panel.type_val]), panel.title
        assert all(isinstance(one, prometheus.Dataquery) and one.expr for one in panel.targets or ()), panel.title
        assert panel.datasource is not None
        assert panel.datasource.uid == "prometheus", panel.title


@pytest.mark.parametrize("where", ["/", "/panels/1", "/panels/1/options", "/panels/8/fieldConfig/defaults",
                                   "/panels/8/targets/0"])  # fmt: skip
def test_a_field_that_grafana_does_not_know_is_found(where: str) -> None:
    wrong = copy.deepcopy(DASHBOARD)
    here = wrong
    for part in where.strip("/").split("/"):
        here = here[int(part) if part.isdigit() else part] if part else here
    here["colour"] = "blue"
    assert unknown(wrong) == [f"{where.rstrip('/')}/colour"]


def test_panels_have_ids_of_their_own_and_do_not_lie_on_each_other() -> None:
    panels = DASHBOARD["panels"]
    assert len({one["id"] for one in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for one in panels:
        at = one["gridPos"]
        assert at["x"] + at["w"] <= 24, one["title"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, one["title"]
        taken |= cells


def test_compose_names_the_grafana_whose_types_these_are_and_its_files_name_the_data_source() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    released = version("grafana-foundation-sdk").rpartition("!")[2]
    assert compose["services"]["grafana"]["image"] == f"grafana/grafana:{released}"
    (source,) = yaml.safe_load((ROOT / "deploy" / "watching" / "grafana.yml").read_text())["datasources"]
    assert (source["type"], source["uid"]) == ("prometheus", "prometheus")
