"""What a stage has left: whether it is done, broken off, or was made by another recipe or from other data.

The record in a stage's folder holds a digest of what the stage was made from, and the revision of its pack
once it is done.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from pathlib import Path

from worker.errors import PackError, TrainingError
from worker.lab.chain.places import CHECKPOINT, Layout, described
from worker.lab.chain.stages import STAGES, Stage, inputs, made_by, reads
from worker.lab.data.sets import SOURCES
from worker.lab.recipe import Recipe
from worker.model.pack import load_pack

RECORD = "stage.json"


class Status(Enum):
    """How far a stage is."""

    DONE = auto()
    BEGUN = auto()
    """It goes on from its last state."""
    NEW = auto()
    OTHER = auto()
    """Its folder was made from something else: see `Found.why`."""


@dataclass(frozen=True, slots=True)
class Found:
    """One stage of a chain and what is there of it."""

    stage: Stage
    recipe: Recipe
    """As it stands in its file, with the repository's folders."""
    digest: str
    inputs: tuple[str, ...]
    """The names of the stages that it reads, also of those that are not chosen."""
    base: str
    """What its line of stages starts from: base weights, as a recipe names them."""
    status: Status
    why: str = ""
    fetched: bool = False
    """Its pack is taken from the history, if it is not there, instead of trained: see `history`."""


def survey(chosen: Sequence[Stage], layout: Layout, *, fetch: bool = False) -> list[Found]:
    """Return what is there of the chosen stages, in order; `fetch` as in `run_chain`. Raises RecipeError."""
    found: dict[str, Found] = {}
    digests: dict[str, str] = {}
    bases: dict[str, str] = {}
    earlier: list[Stage] = []
    for stage in STAGES:  # all, so that a digest does not depend on the choice
        recipe = stage.recipe()
        before = inputs(stage, recipe, earlier)
        digests[stage.name] = _digest(stage, recipe, layout, [digests[name] for name in before])
        first = reads(stage, recipe)[0]
        bases[stage.name] = bases.get(made_by(first), first)
        earlier.append(stage)
        if stage not in chosen:
            continue
        status, why = _status(stage, layout, digests[stage.name])
        undone = [name for name in before if name in found and found[name].status is not Status.DONE]
        if undone and status in (Status.DONE, Status.BEGUN):
            status, why = Status.OTHER, f"is older than {undone[0]}, which it reads and which is to be made"
        digest = digests[stage.name]
        fetched = fetch and stage.shipped is not None
        reading = () if fetched else tuple(before)
        base = bases[stage.name]
        found[stage.name] = Found(stage, recipe, digest, reading, base, status, why, fetched)
    return list(found.values())


def _status(stage: Stage, layout: Layout, digest: str) -> tuple[Status, str]:
    folder = layout.folder(stage)
    record = read_record(folder)
    if record is None:
        left = folder.is_dir() and any(folder.iterdir())
        return (Status.OTHER, f"has no {RECORD}: something else made it") if left else (Status.NEW, "")
    if record.get("digest") != digest:
        return Status.OTHER, "was made by other recipes or from other data"
    if not record.get("pack"):
        return Status.BEGUN, ""
    try:
        whole = load_pack(layout.pack(stage)).revision == record["pack"]
    except PackError:
        whole = False
    if whole and (folder / CHECKPOINT / "model.safetensors").is_file():
        return Status.DONE, ""
    return Status.BEGUN, "its pack or checkpoint is gone or damaged"


def read_record(folder: Path) -> Mapping[str, str] | None:
    """Return the record of a stage's folder; None if there is none, empty if it is damaged."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(folder: Path, digest: str, revision: str = "") -> None:
    """Write a stage's record; `revision` is its pack's, once it is done. Raises TrainingError."""
    temporary = folder / f"{RECORD}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"digest": digest, "pack": revision}) + "\n", encoding="utf-8")
        temporary.replace(folder / RECORD)
    except OSError as error:
        raise TrainingError(f"cannot write {folder / RECORD}: {error.strerror or error}") from error


def _digest(stage: Stage, recipe: Recipe, layout: Layout, before: Sequence[str]) -> str:
    """Return the digest of a recipe, its options, the stages that it reads, and its data.

    Of the public files it has the sizes; of our own, in which single labels are corrected, the content.
    """
    names = [each.data for task in recipe.tasks for each in task.by_set if each.data in SOURCES]
    public = [layout.data / file for name in names for file in _public_files(name)]
    ours = [path for name in names for path in SOURCES[name].own_files(layout.data)]
    files: list[tuple[str, int | str | None]] = [
        (path.name, path.stat().st_size if path.is_file() else None) for path in public
    ]
    files += [(path.name, _content(path) if path.is_file() else None) for path in ours]
    parts = (described(stage, recipe, layout), tuple(before), tuple(files))
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def data_files(name: str, root: Path) -> Iterator[Path]:
    """Yield the files of a known data set, also those of our own; none for an unknown one."""
    if name in SOURCES:
        yield from (root / file for file in _public_files(name))
        yield from SOURCES[name].own_files(root)


def _public_files(name: str) -> list[str]:
    return list(dict.fromkeys((*SOURCES[name].train, *SOURCES[name].dev)))


def _content(path: Path) -> str:
    known = path.stat()
    return _digest_of_file(path, known.st_mtime_ns, known.st_size)


@cache
def _digest_of_file(path: Path, _changed: int, _size: int) -> str:
    """Return a file's digest; its time and size are part of what the cache knows it by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
