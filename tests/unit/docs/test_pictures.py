"""The pictures of the docs: current where they are drawn from something, and small."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from tests.support.pictures import PAGE_PICTURE, page_files, signature

ROOT = Path(__file__).parents[3]
IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 200_000


def layout() -> ModuleType:
    spec = importlib.util.spec_from_file_location("layout", ROOT / "deploy" / "grafana" / "layout.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_layouts_of_the_dashboards_are_current() -> None:
    """After a change of a dashboard: make dashboards."""
    drawn = layout().pictures()
    assert set(drawn) == {"grafana-mood.svg", "grafana-worker.svg"}
    for name, text in drawn.items():
        assert (IMAGES / name).read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", ["mood", "worker"])
def test_a_layout_shows_every_panel_and_none_over_another(name: str) -> None:
    board = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / f"{name}.json").read_text("utf-8"))
    tree = ElementTree.parse(IMAGES / f"grafana-{name}.svg")
    shown = " ".join(tree.getroot().itertext())
    assert all(panel["title"] in shown for panel in board["panels"])
    rects = [
        tuple(float(rect.attrib[side]) for side in ("x", "y", "width", "height"))
        for rect in tree.iter("{http://www.w3.org/2000/svg}rect")
        if rect.attrib["class"] == "panel"
    ]
    assert len(rects) == sum(panel["type"] != "row" for panel in board["panels"])
    for number, (x, y, width, height) in enumerate(rects):
        for x2, y2, width2, height2 in rects[number + 1 :]:
            assert x + width <= x2 or x2 + width2 <= x or y + height <= y2 or y2 + height2 <= y


def test_the_picture_of_the_page_is_of_the_page_as_it_is() -> None:
    """After a change of worker/dashboard/static: make pictures."""
    assert signature(PAGE_PICTURE.read_bytes()) == page_files()


def test_every_picture_is_small_and_shown_on_a_page() -> None:
    pages = "".join(
        page.read_text(encoding="utf-8") for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    )
    for picture in IMAGES.iterdir():
        assert picture.stat().st_size < MOST_BYTES, picture.name
        assert re.search(rf"\(\S*images/{re.escape(picture.name)}\)", pages), picture.name
