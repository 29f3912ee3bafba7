"""The dashboards' JSON is what their source makes, and every query of theirs gives rows."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.stack.conftest import LANGUAGES, PRODUCTS, SOURCES, ClickHouse

pytestmark = pytest.mark.stack

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"


def _source() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboards", GRAFANA / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def board(name: str) -> dict[str, Any]:
    """A dashboard as Grafana reads it."""
    made: dict[str, Any] = json.loads((GRAFANA / "dashboards" / f"{name}.json").read_text(encoding="utf-8"))
    return made


def panels(name: str) -> list[dict[str, Any]]:
    """The panels of a dashboard, without the rows."""
    return [panel for panel in board(name)["panels"] if panel["type"] != "row"]


def test_the_checked_in_json_is_what_the_source_makes() -> None:
    """After a change of the source: make dashboards."""
    for name, text in _source().generated().items():
        assert (GRAFANA / "dashboards" / name).read_text(encoding="utf-8") == text


def _filled(sql: str) -> str:
    """A query as the plugin sends it, for the last hour and with all values chosen."""
    values = {"product": PRODUCTS, "source": SOURCES, "lang": LANGUAGES}
    for name, choices in values.items():
        sql = sql.replace(f"${{{name}:singlequote}}", ",".join(f"'{choice}'" for choice in choices))
    sql = sql.replace("$__fromTime", "toDateTime(now() - 3600)").replace("$__toTime", "toDateTime(now())")
    assert "$" not in sql
    return sql


@pytest.mark.parametrize("panel", panels("mood"), ids=lambda panel: panel["title"])
def test_every_sql_query_gives_rows(
    clickhouse: ClickHouse, moods: list[dict[str, object]], panel: dict[str, Any]
) -> None:
    clickhouse.receive(moods)
    clickhouse.refresh()
    for target in panel["targets"]:
        rows = clickhouse.rows(_filled(target["rawSql"]))
        assert rows
        assert all(value is not None for row in rows for value in row.values())


def test_the_filters_offer_what_there_is(clickhouse: ClickHouse, moods: list[dict[str, object]]) -> None:
    clickhouse.receive(moods)
    clickhouse.refresh()
    offered = {
        variable["name"]: clickhouse.query(variable["query"]).splitlines()
        for variable in board("mood")["templating"]["list"]
    }
    assert offered == {
        "product": sorted(PRODUCTS),
        "source": sorted(SOURCES),
        "lang": sorted(LANGUAGES),
    }


def test_panels_do_not_overlap_and_fill_rows() -> None:
    for name in ("mood", "worker"):
        taken: set[tuple[int, int]] = set()
        for panel in board(name)["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert place["x"] + place["w"] <= 24
            assert not cells & taken, (name, panel["title"])
            taken |= cells


def test_the_datasources_are_those_that_the_panels_name() -> None:
    file = GRAFANA / "provisioning" / "datasources" / "moodstream.yaml"
    known = {
        (source["type"], source["uid"])
        for source in yaml.safe_load(file.read_text(encoding="utf-8"))["datasources"]
    }
    used = {
        (panel["datasource"]["type"], panel["datasource"]["uid"])
        for name in ("mood", "worker")
        for panel in panels(name)
    }
    assert used == known


def test_every_panel_says_what_it_shows() -> None:
    for name in ("mood", "worker"):
        for panel in panels(name):
            assert re.search(r"\w+\.$", panel["description"]), panel["title"]
