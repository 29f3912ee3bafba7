"""Where the stages of a chain read and write.

The recipes name the folders of the repository: `build/train/NAME` for what a stage leaves, `worker/packs` for
what ships, `build/NAME` for base weights. A run with other folders gets recipes with other paths.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from worker.lab.chain.stages import Distillation, Stage
from worker.lab.recipe import Recipe, recipe_text

CHECKPOINT, PACK = "checkpoint", "pack"
WORK, PACKS, BASES = Path("build/train"), Path("worker/packs"), Path("build")
"""The folders that the recipes name."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one run. The defaults are the recipes' own, so they change nothing in a recipe."""

    data: Path
    work: Path = WORK
    packs: Path = PACKS
    bases: Path = BASES
    installed: dict[str, Path] = field(default_factory=dict)
    """Folders to read instead of installed packages with base weights."""
    small: bool = False
    """Every stage makes a few steps on a few rows: see `smaller`."""

    def folder(self, stage: Stage) -> Path:
        """The folder with a stage's state, checkpoint, report and record."""
        return self.work / stage.name

    def pack(self, stage: Stage) -> Path:
        """The folder of a stage's pack."""
        return self.packs / stage.name if stage.ships else self.folder(stage) / PACK

    def of(self, name: str) -> str:
        """Return where this run has a folder that a recipe names."""
        for ours, theirs in ((WORK, self.work), (PACKS, self.packs), (BASES, self.bases)):
            if name.startswith(f"{ours}/"):
                return str(theirs / name.removeprefix(f"{ours}/"))
        return str(self.installed.get(name, name))

    def placed(self, recipe: Recipe) -> Recipe:
        """Return a recipe with the folders of this run, small if the run is."""
        found = smaller(recipe) if self.small else recipe
        tasks = tuple(
            task.changed(
                teacher=self.of(task.teacher) if task.teacher else "",
                **({"teachers": tuple(map(self.of, task.teachers))} if task.teachers else {}),
            )
            for task in found.tasks
        )
        means = tuple(mean.changed(checkpoint=self.of(mean.checkpoint)) for mean in found.means)
        depths = tuple(
            each.changed(branch=each.branch.changed(start=self.of(each.branch.start)))
            if each.branch is not None and each.branch.start
            else each
            for each in found.depths
        )
        return found.changed(base=self.of(found.base), tasks=tasks, means=means, depths=depths)

    def distillation(self, how: Distillation) -> Distillation:
        """Return how a stage is distilled with the folders of this run, small if the run is."""
        placed = replace(how, teacher=self.of(how.teacher), student=self.of(how.student))
        return replace(placed, limit=None, processes=1) if self.small else placed

    def processes_and_threads(self, stage: Stage, recipe: Recipe) -> tuple[int, int]:
        """Return how many processes a stage has, and the threads of each; 0 threads leaves them to torch."""
        if stage.distillation is not None:
            how = self.distillation(stage.distillation)
            return how.processes, how.threads
        run = smaller(recipe).run if self.small else recipe.run
        return run.processes, run.threads


def smaller(recipe: Recipe) -> Recipe:
    """Return a recipe that makes one pass over ten rows of each set, in one process and thread."""
    tasks = tuple(
        task.changed(rows=10, epochs=1.0, max_tokens=min(24, task.max_tokens)) for task in recipe.tasks
    )
    run = recipe.run.changed(processes=1, threads=1, minutes=0.0, precision="fp32")
    return recipe.changed(tasks=tasks, run=run)


def described(stage: Stage, recipe: Recipe, layout: Layout) -> str:
    """Return what a stage does as text, whatever the folders: its recipe and its options."""
    return f"{recipe_text(smaller(recipe) if layout.small else recipe)}\n{stage.distillation!r}"
