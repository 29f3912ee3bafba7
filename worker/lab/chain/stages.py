"""The stages of the bundled packs, in order: one line for each.

A stage is a recipe in `worker/lab/recipes` of the same name. It is trained, or distilled from another stage.
What it reads besides follows from its recipe: see `reads`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.errors import TrainingError
from worker.lab.recipe import Recipe, load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"

LEFT = re.compile(r"build/train/([^/]+)/(?:pack|checkpoint)")
SHIPPED = re.compile(r"worker/packs/([^/]+)")
"""How a recipe names what a stage left, and a pack that ships."""


@dataclass(frozen=True, slots=True)
class Distillation:
    """How a stage is distilled: the options of `moodstream distill` that differ between stages.

    `teacher` and `student` are folders as a recipe names them; the teacher answers for every head but the
    task's own. `limit` is in minutes; the rates reach 0 by then.
    """

    teacher: str
    student: str
    limit: float | None = None
    layers: str | None = None
    quantised: bool = False
    processes: int = 2
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Shipped:
    """Where a pack that shipped once is in the history of the repository."""

    commit: str
    name: str
    """Its folder's name in `worker/packs`."""
    revision: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage. `minutes` is what it took, or None if nobody wrote that down."""

    name: str
    minutes: float | None = None
    distillation: Distillation | None = None
    ships: bool = False
    """Its pack goes to `worker/packs`, and is measured for its card."""
    shipped: Shipped | None = None
    """Where its pack is in the history, if it shipped once."""

    def recipe(self) -> Recipe:
        """Read its recipe. Raises RecipeError."""
        return load_recipe(RECIPES / f"{self.name}.toml")


def _distilled(
    name: str,
    teacher: str,
    student: str,
    *,
    limit: float | None = None,
    minutes: float | None = None,
    layers: str | None = None,
    int8: bool = False,
    processes: int = 2,
    ships: bool = False,
    shipped: Shipped | None = None,
) -> Stage:
    """Return a stage distilled from one stage's checkpoint into another's; a path is taken as it is.

    A run with a limit took that long.
    """
    folders = [one if "/" in one else f"build/train/{one}/checkpoint" for one in (teacher, student)]
    how = Distillation(folders[0], folders[1], limit, layers, int8, processes)
    return Stage(name, minutes or limit, how, ships, shipped)


_WITH_14 = "1a06cd2224661ba5565e67133922217521866ea8"
_WITH_16 = "62e4de306dd963501af2f6cfeb74eabc85e56098"
_WITH_18 = "66dbb2a401e973128bf02cf76718c0a0706fa636"
_WITH_19 = "5dc8f2758de86c6484b3ebae62eca2d3badd6114"
"""The last commits in which `compact-14`, `compact-16`, `compact-18` and `compact-19` ship."""
_WITH_CARDS = "ef9d28d1c953b44d37bd1bdfc16523e21a295294"
"""The last commit in which `compact-21` and `compact-fast-8` ship, the second with its corrected card."""
_WITH_22 = "cb96720d73ab1af8398d5bb001da251d159c3fef"
"""The last commit in which `compact-22` and `compact-fast-9` ship."""

# The minutes are those that docs/explanation/how-the-packs-were-made.md gives for each run, and the limit of
# the run where it gives none.
STAGES = (
    Stage("teacher-sst2", 15),
    Stage("teacher-emotion", 60),
    Stage("compact-1", 22),
    Stage("teacher-tweets", 12),
    Stage("compact-2", 46),
    Stage("compact-3", 22),
    Stage("compact-4", 9),
    Stage("compact-5", 5),
    Stage("teacher-goemotions-1", 9),
    Stage("teacher-goemotions-2", 9),
    Stage("teacher-goemotions-3", 9),
    Stage("teacher-spans-1", 6),
    Stage("teacher-spans-2", 6),
    Stage("teacher-spans-3", 6),
    Stage("teacher-spans-bert", 8),
    Stage("compact-6", 20),
    Stage("compact-7", 14),
    _distilled("compact-8", "compact-7", "compact-7", limit=48),
    _distilled("compact-9", "compact-7", "compact-8", limit=10, int8=True),
    _distilled("compact-10", "compact-7", "compact-9", limit=9, int8=True),
    Stage("compact-11", 6.8),
    _distilled("compact-fast-1", "compact-7", "compact-10", limit=12, layers="3"),
    _distilled("compact-fast-2", "compact-7", "compact-fast-1", limit=11),
    Stage("compact-fast-3"),
    Stage("compact-12", 7.5),
    Stage("compact-fast-4", 5),
    _distilled("compact-13", "build/train/compact-12/pack", "build/train/compact-12/pack", minutes=45),
    _distilled(
        "compact-fast-5", "build/train/compact-13/pack", "build/train/compact-fast-4/pack", minutes=14.1
    ),
    Stage("compact-14", 28.4, shipped=Shipped(_WITH_14, "compact", "cc5b6e36e225")),
    Stage("teacher-social", 13),
    Stage("teacher-social-2", 29),
    Stage("teacher-social-3", 26.2),
    _distilled("compact-15", "teacher-social-3", "build/train/compact-14/pack", limit=17),
    Stage("compact-16", 7.2, shipped=Shipped(_WITH_16, "compact", "ab06d43cac80")),
    Stage("compact-fast-6", 18.5, shipped=Shipped(_WITH_16, "compact-fast", "e2a63782e009")),
    _distilled(
        "compact-17",
        "build/train/compact-16/pack",
        "build/train/compact-16/pack",
        minutes=58.2,
        processes=1,
    ),
    _distilled(
        "compact-fast-7",
        "build/train/compact-16/pack",
        "build/train/compact-fast-6/pack",
        minutes=31.6,
        processes=1,
    ),
    _distilled(
        "compact-18",
        "build/train/compact-17/pack",
        "compact-17",
        limit=17,
        processes=1,
        shipped=Shipped(_WITH_18, "compact", "add76fc7104d"),
    ),
    _distilled(
        "compact-19",
        "build/train/compact-18/pack",
        "build/train/compact-18/pack",
        limit=60,
        int8=True,
        shipped=Shipped(_WITH_19, "compact", "75117c1fc7dc"),
    ),
    _distilled(
        "compact-20",
        "build/train/compact-19/pack",
        "build/train/compact-19/pack",
        limit=38,
        int8=True,
    ),
    _distilled(
        "compact-21",
        "build/train/compact-20/pack",
        "build/train/compact-20/pack",
        limit=64,
        int8=True,
        shipped=Shipped(_WITH_CARDS, "compact", "427cb1aa35b4"),
    ),
    _distilled(
        "compact-22",
        "build/train/compact-21/pack",
        "build/train/compact-21/pack",
        limit=45,
        minutes=40.7,
        int8=True,
        shipped=Shipped(_WITH_22, "compact", "0199483d9898"),
    ),
    _distilled(
        "compact-fast-8",
        "build/train/compact-16/pack",
        "compact-fast-7",
        minutes=21.9,
        processes=1,
        shipped=Shipped(_WITH_CARDS, "compact-fast", "f5a0aade8635"),
    ),
    _distilled(
        "compact-fast-9",
        "build/train/compact-21/pack",
        "build/train/compact-fast-8/pack",
        limit=45,
        minutes=31.8,
        int8=True,
        shipped=Shipped(_WITH_22, "compact-fast", "41629f930c96"),
    ),
    _distilled(
        "compact-fast",
        "build/train/compact-22/pack",
        "build/train/compact-fast-9/pack",
        limit=30,
        minutes=25.4,
        int8=True,
        ships=True,
    ),
    _distilled(
        "compact",
        "build/train/compact-22/pack",
        "build/train/compact-22/pack",
        limit=40,
        minutes=40.1,
        int8=True,
        ships=True,
    ),
)


def chosen(names: Sequence[str] = ()) -> list[Stage]:
    """Return the stages with these names in their order, or all of STAGES. Raises TrainingError."""
    known = {stage.name: stage for stage in STAGES}
    for name in names:
        if name not in known:
            raise TrainingError(f"unknown stage {name!r}: there is {', '.join(known)}")
    return [stage for stage in STAGES if not names or stage.name in names]


def reads(stage: Stage, recipe: Recipe) -> list[str]:
    """Return every folder or package that a stage starts or learns from, as its recipe names it."""
    if (from_others := stage.distillation) is not None:
        found = [from_others.student, from_others.teacher]
    else:
        found = [recipe.base, *(depths.branch.start for depths in recipe.depths if depths.branch is not None)]
    found += [mean.checkpoint for mean in recipe.means]
    found += [teacher for task in recipe.tasks for teacher in task.all_teachers]
    return [name for name in dict.fromkeys(found) if name]


def made_by(folder: str) -> str:
    """Return the name of the stage that makes a folder, or an empty string for base weights."""
    match = LEFT.fullmatch(folder) or SHIPPED.fullmatch(folder)
    return match[1] if match else ""


def inputs(stage: Stage, recipe: Recipe, earlier: Iterable[Stage]) -> list[str]:
    """Return the names of the earlier stages whose results a stage reads."""
    left = {other.name for other in earlier}
    shipped = {other.name for other in earlier if other.ships}
    found = []
    for folder in reads(stage, recipe):
        for pattern, known in ((LEFT, left), (SHIPPED, shipped)):
            if (match := pattern.fullmatch(folder)) and match[1] in known:
                found.append(match[1])
    return list(dict.fromkeys(found))
