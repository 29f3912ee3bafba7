"""Draws where the panels of each Grafana dashboard stand, from its JSON, as SVG for the docs.

    python deploy/grafana/layout.py

The pictures show titles and kinds of panels and no data: they are no screenshots. `make dashboards` writes
them after the JSON, and a test compares the two.
"""

import json
import sys
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parents[1] / "docs" / "images"

COLUMN, LINE, GAP = 40, 16, 6
"""Width of one of Grafana's 24 columns, height of one of its lines, and the space between panels. Pixels."""

HEAD = 56
KINDS = {"stat": "number", "timeseries": "graph over time", "table": "table"}

STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1b1f24; }
.name { font-size: 20px; font-weight: 600; } .title { font-weight: 600; }
.faint { fill: #4d5561; font-size: 13px; }
.ground { fill: #f6f7f9; } .panel { fill: #ffffff; stroke: #c3c9d2; }
@media (prefers-color-scheme: dark) {
  text { fill: #e8eaed; } .faint { fill: #a9b1bc; } .ground { fill: #14171c; }
  .panel { fill: #1d2127; stroke: #464e59; }
}
"""


def draw(board: dict[str, Any]) -> str:
    """One dashboard as SVG."""
    panels = board["panels"]
    lines = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    width, height = 24 * COLUMN + 2 * GAP, HEAD + lines * LINE + GAP
    name = f"Layout of the Grafana dashboard “{board['title']}”"
    filters = [
        item["name"] for item in board.get("templating", {}).get("list", []) if item["type"] != "datasource"
    ]
    about = "drawn from its JSON, without data" + (f"; filters: {', '.join(filters)}" if filters else "")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(name)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{width}" height="{height}"/>',
        f'<text class="name" x="{2 * GAP}" y="26">{escape(name)}</text>',
        f'<text class="faint" x="{2 * GAP}" y="46">{escape(about)}</text>',
        *(part for panel in panels for part in _panel(panel)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(panel: dict[str, Any]) -> list[str]:
    place, title = panel["gridPos"], escape(panel["title"])
    x, y = GAP + place["x"] * COLUMN, HEAD + place["y"] * LINE
    if panel["type"] == "row":
        return [f'<text class="title" x="{x + GAP}" y="{y + 13}">▾ {title}</text>']
    width, height = place["w"] * COLUMN - GAP, place["h"] * LINE - GAP
    kind = KINDS[panel["type"]]
    return [
        f'<rect class="panel" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>',
        f'<text class="title" x="{x + 10}" y="{y + 22}">{title}</text>',
        f'<text class="faint" x="{x + 10}" y="{y + 42}">{kind}</text>',
    ]


def pictures() -> dict[str, str]:
    """The SVG of every dashboard, by the name of its file."""
    boards = sorted((HERE / "dashboards").glob("*.json"))
    return {f"grafana-{file.stem}.svg": draw(json.loads(file.read_text(encoding="utf-8"))) for file in boards}


def main() -> int:
    """Write the pictures."""
    for name, text in pictures().items():
        (IMAGES / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
