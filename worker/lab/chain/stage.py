"""Makes one stage in this process, so that its memory is free when the process ends.

The runner starts it as `python -m worker.lab.chain.stage NAME` with the folders.
"""

import shutil
from pathlib import Path

import click

from worker.errors import MoodstreamError, TrainingError
from worker.lab import Progress
from worker.lab.build import Places, make_pack
from worker.lab.chain.history import fetch_stage
from worker.lab.chain.places import Layout
from worker.lab.chain.record import read_record, write_record
from worker.lab.chain.stages import Distillation, Stage, chosen
from worker.lab.distill import run
from worker.lab.options import DistillOptions
from worker.lab.recipe import Recipe, recipe_text
from worker.lab.trainer import STATE
from worker.model.pack import Pack

_ONLY_TO_RESUME = (STATE, "draft", "taught")


def make_stage(stage: Stage, layout: Layout, digest: str, *, resume: bool, say: Progress) -> Pack:
    """Train or distil a stage and write its record; return its pack.

    Only a pack that ships is measured. What only a resumed run needs is removed at the end.

    Raises LabError or PackError, each with one readable line.
    """
    folder, recipe = layout.folder(stage), layout.placed(stage.recipe())
    resume = resume and (read_record(folder) or {}).get("digest") == digest
    write_record(folder, digest)
    if stage.distillation is None:
        places = Places(layout.data, folder, layout.pack(stage), measure=stage.ships)
        pack = make_pack(recipe, places, resume=resume, say=say)
    else:
        options = _options(stage, recipe, layout.distillation(stage.distillation), layout, resume=resume)
        pack = run(options, say)
    write_record(folder, digest, pack.revision)
    for name in _ONLY_TO_RESUME:
        shutil.rmtree(folder / name, ignore_errors=True)
        if (folder / name).is_file():
            (folder / name).unlink()
    return pack


def _options(
    stage: Stage, recipe: Recipe, how: Distillation, layout: Layout, *, resume: bool
) -> DistillOptions:
    """Return the options of a distillation, with the recipe written to the stage's folder."""
    folder = layout.folder(stage)
    labels = folder / "recipe.toml"
    try:
        labels.write_text(recipe_text(recipe), encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"cannot write {labels}: {error.strerror or error}") from error
    return DistillOptions(
        out=layout.pack(stage),
        work=folder,
        name=stage.name,
        data=str(layout.data),
        labels=labels,
        teachers=(Path(how.teacher),),
        student=how.student,
        layers=how.layers,
        minutes=how.limit,
        quantised=how.quantised,
        first_weight=0.0,
        processes=how.processes,
        threads=how.threads,
        measure=stage.ships,
        resume=resume,
    )


_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("name")
@click.option("--data", required=True, type=_PATH)
@click.option("--work", required=True, type=_PATH)
@click.option("--packs", required=True, type=_PATH)
@click.option("--bases", required=True, type=_PATH)
@click.option("--digest", required=True)
@click.option("--resume", is_flag=True)
@click.option("--fetch", is_flag=True)
def main(
    *, name: str, data: Path, work: Path, packs: Path, bases: Path, digest: str, resume: bool, fetch: bool
) -> None:
    """Make one stage: what the runner of the chain starts."""
    (stage,) = chosen([name])

    def say(line: str) -> None:
        for part in line.splitlines():
            click.echo(f"{name}: {part}", err=True)

    layout = Layout(data, work, packs, bases)
    try:
        if fetch:
            fetch_stage(stage, layout, digest, say=say)
        else:
            make_stage(stage, layout, digest, resume=resume, say=say)
    except MoodstreamError as error:
        say(str(error))
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
