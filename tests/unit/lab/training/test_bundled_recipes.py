"""The bundled recipes: each starts from what earlier stages of the chain leave, and none is missing."""

from pathlib import Path

import pytest

from worker.lab.chain.stages import LEFT, RECIPES, SHIPPED, STAGES, Stage, reads
from worker.lab.recipe import load_recipe

ORDER = [stage.name for stage in STAGES]
NOT_SHIPPED = {"six-emotions"}


def test_the_chain_has_every_recipe_once() -> None:
    assert len(set(ORDER)) == len(ORDER)
    assert set(ORDER) == {path.stem for path in RECIPES.glob("*.toml")} - NOT_SHIPPED


def test_the_packs_that_ship_are_those_of_the_chain() -> None:
    packs = Path(__file__).parents[4] / "worker" / "packs"
    assert {stage.name for stage in STAGES if stage.ships} == {
        folder.name for folder in packs.iterdir() if (folder / "manifest.json").is_file()
    }


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_reads_what_earlier_ones_leave(stage: Stage) -> None:
    number, recipe = STAGES.index(stage), stage.recipe()
    earlier = ORDER[:number]
    assert recipe.name == stage.name
    shipped = {other.name for other in STAGES[:number] if other.ships}
    for folder in reads(stage, recipe):
        if match := LEFT.fullmatch(folder):
            assert match[1] in earlier
        elif match := SHIPPED.fullmatch(folder):
            assert match[1] in shipped
        else:
            assert folder.startswith("build/") or "/" not in folder


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_stages_that_a_card_names_come_before_it(path: Path) -> None:
    recipe = load_recipe(path)
    earlier = ORDER[: ORDER.index(recipe.name)] if recipe.name in ORDER else ORDER
    stages = [name.strip() for name in recipe.stages.split(",") if name.strip()]
    assert stages == [name for name in earlier if name in stages]
