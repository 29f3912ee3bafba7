"""What `moodstream evaluate --behaviour` prints."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from worker import exitcodes

if TYPE_CHECKING:
    from worker.evaluation.behaviour import FamilyResult, Report

_WIDTH = 100


def behaviour(packs: Sequence[Path], cases: Path, *, as_json: bool) -> int:
    """Run the cases in a folder against packs; hand back exit code 1 where a rate does not hold."""
    from worker.evaluation.behaviour import measure  # noqa: PLC0415 - loads onnxruntime

    reports = [measure(cases, pack) for pack in packs]
    if as_json:
        click.echo(json.dumps([report.as_dict() for report in reports], indent=2, ensure_ascii=False))
    else:
        click.echo("\n\n".join(_text(report) for report in reports))
    held = all(result.holds for report in reports for result in report.results)
    return exitcodes.OK if held else exitcodes.INTERNAL


def _text(report: "Report") -> str:
    """A line a family, and under each that falls short the cases that failed."""
    width = max(len(report.model), *(len(result.family.name) for result in report.results))
    lines = [f"{report.model:<{width}}  {'required':>9}  {'reached':>7}"]
    for result in report.results:
        family = result.family
        reached = "-" if result.skipped else f"{result.rate:.0%}"
        line = f"{family.name:<{width}}  {family.rate:>9.0%}  {reached:>7}"
        lines.append(f"{line}  {_remark(result)}".rstrip())
        if not result.holds:
            lines += [_short(f"    {miss.text} => {miss.said}") for miss in result.misses]
    return "\n".join(lines)


def _remark(result: "FamilyResult") -> str:
    if result.skipped:
        return f"not asked: {result.skipped}"
    moved = f"{result.moved.column} moves by {result.moved.by:.3f}" if result.moved else ""
    return ", ".join(part for part in ("" if result.holds else "falls short", moved) if part)


def _short(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
