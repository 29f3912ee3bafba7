"""`python -m worker.training RECIPE`: from the base weights to a pack."""

import argparse
import os
import sys
from importlib import util
from pathlib import Path

from worker.exitcodes import OK, USAGE
from worker.training import NEEDS_PACKAGES, Recipe, TrainingError, load_recipe
from worker.training.data import data_root


def main(arguments: list[str]) -> int:
    """Run the whole way; return the exit code. A mistake gives one line and 2."""
    parser = argparse.ArgumentParser(
        prog="python -m worker.training",
        description="Train a model as a recipe says, measure it, and make a pack of it.",
    )
    parser.add_argument("recipe", type=Path, help="TOML file, such as worker/training/recipes/compact.toml")
    parser.add_argument("--data", help="folder with the data sets; else MOODSTREAM_DATA, or ../shared/data")
    parser.add_argument("--out", type=Path, help="folder of the pack; else build/train/NAME/pack")
    parser.add_argument(
        "--work", type=Path, help="folder for state, checkpoint and report; else build/train/NAME"
    )
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted run stands")
    options = parser.parse_args(arguments)
    try:
        recipe = load_recipe(options.recipe)
        _make(recipe, options)
    except TrainingError as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    return OK


def _make(recipe: Recipe, options: argparse.Namespace) -> None:
    """Load torch only now, so that a wrong recipe or folder is told without it."""
    root = data_root(options.data, recipe.data)
    if any(util.find_spec(name) is None for name in ("torch", "safetensors", "onnx")):
        raise TrainingError(NEEDS_PACKAGES)
    # A thread that waits for the other sleeps instead of spinning: on a busy machine a run is many times as
    # fast, and what runs beside it gains too. OpenMP reads this as torch is loaded, so it stands before that.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from worker.classify import PackError  # noqa: PLC0415 - after the check above
    from worker.convert import CheckpointError  # noqa: PLC0415 - likewise
    from worker.training.whole import Places, make_pack  # noqa: PLC0415 - likewise

    work = options.work or Path("build/train") / recipe.name
    places = Places(data=root, work=work, pack=options.out or work / "pack")
    try:
        make_pack(recipe, places, resume=options.resume)
    except (CheckpointError, PackError) as error:
        raise TrainingError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
