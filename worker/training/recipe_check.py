"""What makes no sense in a recipe, told before anything runs."""

from worker.text import TextError, normaliser
from worker.training.errors import TrainingError
from worker.training.recipe import Depths, Recipe, Task


def check(recipe: Recipe) -> None:
    """Raise TrainingError for values that would train nothing or run for ever."""
    for number, task in enumerate(recipe.tasks):
        _check_task(task, f"tasks[{number}]", recipe.optimiser.max_padded_tokens)
    for number, depths in enumerate(recipe.depths):
        _check_depths(depths, f"depths[{number}]")
    optimiser = recipe.optimiser
    if optimiser.trunk_rate <= 0 or optimiser.head_rate <= 0 or optimiser.clip <= 0:
        raise TrainingError("optimiser: trunk_rate, head_rate and clip must be above 0")
    if not 0 <= optimiser.warm_up < 1 or not 0 <= optimiser.dropout < 1:
        raise TrainingError("optimiser.warm_up and optimiser.dropout must be shares below 1")
    try:
        normaliser(recipe.text, recipe.text_version)
    except TextError as error:
        raise TrainingError(f"text: {error}") from error
    if recipe.run.precision not in ("auto", "fp32", "bf16"):
        raise TrainingError(f"run.precision must be auto, fp32 or bf16, not {recipe.run.precision!r}")
    if recipe.run.device not in ("auto", "cpu", "cuda"):
        raise TrainingError(f"run.device must be auto, cpu or cuda, not {recipe.run.device!r}")
    if recipe.run.processes < 1 or recipe.run.threads < 0:
        raise TrainingError("run: processes must be at least 1, threads not below 0")
    if recipe.run.checkpoint_minutes <= 0 or recipe.run.minutes < 0:
        raise TrainingError("run: checkpoint_minutes must be above 0, minutes not below 0")


def _check_task(task: Task, where: str, max_padded_tokens: int) -> None:
    """Refuse a task that would train nothing."""
    _check_source(task, where)
    if task.epochs < 0 or (task.epochs == 0 and not task.file) or task.weight <= 0:
        raise TrainingError(f"{where}: epochs and weight must be above 0")
    if not 3 <= task.max_tokens <= max_padded_tokens:
        raise TrainingError(f"{where}.max_tokens must lie between 3 and optimiser.max_padded_tokens")
    if task.rows < 0:
        raise TrainingError(f"{where}.rows must not be below 0")
    if task.loss not in ("plain", "asymmetric"):
        raise TrainingError(f"{where}.loss must be plain or asymmetric, not {task.loss!r}")
    if not 0 <= task.balance <= 1 or not 0 <= task.smoothing < 1:
        raise TrainingError(f"{where}: balance and smoothing are shares")
    if not 0 <= task.hard <= 1 or not 0 <= task.masked < 1 or task.softening <= 0:
        raise TrainingError(f"{where}: hard and masked are shares, softening must be above 0")


def _check_depths(depths: Depths, where: str) -> None:
    """Refuse layers of a head's own that nobody would read, and a gate that is no score."""
    if not 0 <= depths.gate <= 1:
        raise TrainingError(f"{where}.gate must be a score between 0 and 1")
    if (branch := depths.branch) is None:
        return
    if branch.after < 0 or branch.layers < 1:
        raise TrainingError(f"{where}.branch: after must not be below 0, layers at least 1")
    if (last := max(depths.layers)) != branch.after + branch.layers:
        raise TrainingError(
            f"{where}: the branch ends at layer {branch.after + branch.layers}, the head reads up to {last}"
        )


_OF_TABLES = ("dev", "text_column", "label_column", "head", "labels", "held_out", "skip_bad")


def _check_source(task: Task, where: str) -> None:
    """Refuse a task with no rows, with two kinds of them, or with options of the other kind."""
    if bool(task.data) == bool(task.file):
        raise TrainingError(f"{where} needs either data, a known data set, or file, a table of your own")
    if task.teacher and task.teachers:
        raise TrainingError(f"{where}: either teacher, or teachers for several")
    if task.data:
        plain = Task(head=task.head if task.taught_by else "")
        for name in _OF_TABLES:
            if getattr(task, name) != getattr(plain, name):
                raise TrainingError(f"{where}.{name} goes with file, a table of your own, not with data")
    if task.labels not in ("auto", "one", "several"):
        raise TrainingError(f"{where}.labels must be auto, one or several, not {task.labels!r}")
    if not 0 < task.held_out < 1:
        raise TrainingError(f"{where}.held_out must be a share between 0 and 1")
