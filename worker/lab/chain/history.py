"""Stages whose packs shipped once: taken from the repository's history instead of being trained again."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from worker.errors import TrainingError
from worker.lab import Progress
from worker.lab.chain.places import CHECKPOINT, PACKS, Layout
from worker.lab.chain.record import write_record
from worker.lab.chain.stages import STAGES, Shipped, Stage, inputs
from worker.lab.checkpoint import read_pack, write_folder
from worker.model.pack import Pack, load_pack

_ROOT = Path(__file__).resolve().parents[3]


def from_history() -> list[Stage]:
    """Return the stages of what ships, in order, back to the first pack of each line that shipped once."""
    before: dict[str, list[str]] = {}
    for number, stage in enumerate(STAGES):
        before[stage.name] = inputs(stage, stage.recipe(), STAGES[:number])
    wanted: set[str] = set()
    for stage in reversed(STAGES):
        if stage.ships:
            wanted.add(stage.name)
        if stage.name in wanted and stage.shipped is None:
            wanted.update(before[stage.name])
    return [stage for stage in STAGES if stage.name in wanted]


def fetch_stage(stage: Stage, layout: Layout, digest: str, *, say: Progress, root: Path = _ROOT) -> Pack:
    """Write the pack of a stage that shipped once, its rounded weights as a checkpoint, and its record.

    `root` is the repository. Raises TrainingError: the history is not here, or has another pack there.
    """
    shipped = stage.shipped
    if shipped is None:
        raise TrainingError(f"stage {stage.name} never shipped: it has to be trained")
    folder, place = layout.folder(stage), layout.pack(stage)
    say(f"taken from commit {shipped.commit[:7]}: {shipped.name}@{shipped.revision}")
    write_record(folder, digest)
    shutil.rmtree(place, ignore_errors=True)
    _extract(_git(shipped, root, "archive"), place)
    pack = load_pack(place)
    if pack.revision != shipped.revision:
        raise TrainingError(f"stage {stage.name}: commit {shipped.commit[:7]} has the pack {pack.revision}")
    write_folder(read_pack(place), folder / CHECKPOINT)
    write_record(folder, digest, pack.revision)
    return pack


def missing_from_history(stage: Stage, root: Path = _ROOT) -> str:
    """Return a line that says why the pack of a stage that shipped once cannot be had; "" if it can."""
    if stage.shipped is None:
        return ""
    try:
        _git(stage.shipped, root, "cat-file", "-e")
    except TrainingError as error:
        return f"{error} (for {stage.name})"
    return ""


def _git(shipped: Shipped, root: Path, *command: str) -> bytes:
    """Return what a command of git writes about a pack's folder at a commit. Raises TrainingError."""
    place = f"{shipped.commit}:{PACKS}/{shipped.name}"
    try:
        whole = ["git", "-C", str(root), *command, place]
        done = subprocess.run(whole, capture_output=True, check=False)  # noqa: S603 - our own commits
    except OSError as error:
        why = error.strerror or str(error)
    else:
        if not done.returncode:
            return done.stdout
        why = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
    raise TrainingError(
        f"the pack {shipped.name}@{shipped.revision} is in the history of this repository, and git cannot "
        f"read it ({why}): use a clone with its whole history, or train every stage with --from-base"
    )


def _extract(content: bytes, folder: Path) -> None:
    """Write the files of a tar file. Raises TrainingError."""
    try:
        folder.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(folder, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise TrainingError(f"cannot write {folder}: {error}") from error
