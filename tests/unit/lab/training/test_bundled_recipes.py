"""The bundled recipes: each starts from what earlier steps of the Makefile leave, and none is missing."""

import re
from pathlib import Path

import pytest

from worker.lab.recipe import Recipe, load_recipe

ROOT = Path(__file__).parents[4]
FOLDER = ROOT / "worker" / "lab" / "recipes"
NOT_SHIPPED = {"six-emotions"}
STEPS = re.compile(r"for stage in ([^;]+);|\$\(call DISTILL,([^,]+),|\$\(RUN\) \$\(RECIPES\)/([\w-]+)\.toml")
LEAVES = re.compile(r"build/train/([^/]+)/(pack|checkpoint)")


def _steps() -> list[str]:
    """The recipes in the order of `make pack` and `make social`."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    found = STEPS.findall(text)
    return [name for several, taught, trained in found for name in (several or taught or trained).split()]


def _reads(recipe: Recipe) -> list[str]:
    """The stages whose packs and checkpoints a recipe names."""
    named = [recipe.base, *(mean.checkpoint for mean in recipe.means)]
    named += [teacher for task in recipe.tasks for teacher in task.all_teachers]
    return [found[1] for name in named if (found := LEAVES.fullmatch(name))]


def test_the_makefile_runs_every_recipe_once() -> None:
    steps = _steps()
    assert len(set(steps)) == len(steps)
    assert set(steps) == {path.stem for path in FOLDER.glob("*.toml")} - NOT_SHIPPED


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_a_recipe_reads_what_earlier_steps_leave(path: Path) -> None:
    recipe, steps = load_recipe(path), _steps()
    assert recipe.name == path.stem
    earlier = steps[: steps.index(recipe.name)] if recipe.name in steps else []
    assert set(_reads(recipe)) <= set(earlier)
    stages = [name.strip() for name in recipe.stages.split(",") if name.strip()]
    assert stages == [name for name in steps if name in stages]
    assert set(stages) <= set(earlier if recipe.name in steps else steps)
