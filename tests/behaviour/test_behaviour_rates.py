"""The bundled pack holds the rate of every family, or no less than what is known of this very revision."""

import tomllib
from pathlib import Path

import pytest

from worker.lab.evaluate.behaviour import FamilyResult, Report, measure
from worker.lab.evaluate.cases import load_families

HERE = Path(__file__).parent
FAMILIES = {family.name: family for family in load_families(HERE / "cases")}
SHORTFALLS = tomllib.loads((HERE / "shortfalls.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report() -> Report:
    """All cases through the bundled pack, once."""
    return measure(HERE / "cases", threads=1)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_bundled_pack_holds_the_rate(name: str, report: Report) -> None:
    (result,) = (result for result in report.results if result.family.name == name)
    if result.skipped is not None:
        pytest.skip(result.skipped)
    known = SHORTFALLS["families"].get(name) if SHORTFALLS["model"] == report.model else None
    if known is None:
        assert result.holds, said(result)
        return
    assert not result.holds, f"{name} holds its rate now: take it out of shortfalls.toml"
    assert result.rate >= known["rate"] - 0.5 / len(result.family.cases), said(result)
    if "moved" in known:
        assert result.moved is not None
        assert result.moved.by <= known["moved"] + 0.005, said(result)


def said(result: FamilyResult) -> str:
    lines = [
        f"{result.family.name}: {result.rate:.2f} of {result.family.rate} required, {result.moved or ''}"
    ]
    return "\n".join(lines + [f"  {miss.text} => {miss.said}" for miss in result.misses])


def test_there_are_some_300_cases_and_no_text_stands_in_one_family_twice() -> None:
    assert sum(len(family.cases) for family in FAMILIES.values()) >= 300
    for family in FAMILIES.values():
        texts = [case.texts for case in family.cases]
        assert len(set(texts)) == len(texts), family.name


def test_shortfalls_name_families_that_exist() -> None:
    assert set(SHORTFALLS["families"]) <= set(FAMILIES)
