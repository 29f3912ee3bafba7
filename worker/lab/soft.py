"""What teachers say of a task's texts, worked out once and kept beside the run's state."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from worker.errors import TrainingError
from worker.lab.data.labels import HeadSpec

if TYPE_CHECKING:
    from worker.lab.evaluate.score import Scorer

Floats = NDArray[np.float32]

_DEPENDS_ON = ("manifest.json", "model.safetensors", "config.json", "tokenizer.json")
"""A pack's manifest has the digests of its other files."""


def taught(
    teachers: Sequence[str], head: HeadSpec, texts: Sequence[str], max_tokens: int, keep: Path
) -> tuple[Floats, list[int]]:
    """Return the teachers' mean probabilities (texts, their labels), and which of ours each of theirs is.

    `teachers` are folders of packs or checkpoints; `keep` a folder for the answers, found again by teacher
    and texts. Raises TrainingError where a teacher has no such head, knows a label that ours does not, or
    other labels than the first one.
    """
    every, columns = [], None
    for teacher in teachers:
        scorer = _teacher(teacher, head.name)
        labels = scorer.heads[head.name].labels
        if unknown := [label for label in labels if label not in head.labels]:
            raise TrainingError(
                f"teacher {teacher}: head {head.name!r} has the label {unknown[0]!r}, ours has not"
            )
        theirs = [head.labels.index(label) for label in labels]
        if columns not in (None, theirs):
            raise TrainingError(f"teacher {teacher}: head {head.name!r} has other labels than {teachers[0]}")
        columns = theirs
        path = keep / f"taught-{_digest(teacher, head, texts, max_tokens)}.npy"

        def ask(scorer: "Scorer" = scorer) -> Floats:
            return scorer(texts, max_tokens, head.name).astype(np.float32)

        every.append(_kept(path, ask))
    return np.mean(every, axis=0, dtype=np.float32), columns or []


def shared(answers: Floats, alike: int, leads: bool = False) -> Floats:
    """Return answers (rows, labels) of which each group of `alike` rows has one: the mean, or the first's."""
    groups = answers.reshape(-1, alike, answers.shape[1])
    one = groups[:, 0] if leads else groups.mean(axis=1, dtype=np.float32)
    return np.repeat(one, alike, axis=0)


def taught_tokens(
    teachers: Sequence[str], head: HeadSpec, texts: Sequence[str], rows: Sequence[Any], keep: Path
) -> list[Floats]:
    """Return the teachers' mean probability of each token of each text, (tokens,) a text; no gate is asked.

    `rows` are the texts' token ids. Raises TrainingError where a teacher has no such head or cuts texts into
    other tokens.
    """
    longest = max(map(len, rows))
    lengths = np.array([len(row) for row in rows])
    every = []
    for teacher in teachers:
        scorer = _teacher(teacher, head.name)
        path = keep / f"taught-{_digest(teacher, head, texts, longest)}.npy"

        def ask(scorer: "Scorer" = scorer, teacher: str = teacher) -> Floats:
            told = scorer.tokens(texts, longest, head.name)
            if any(len(each.scores) != length for each, length in zip(told, lengths, strict=True)):
                raise TrainingError(f"teacher {teacher} cuts texts into other tokens than the base does")
            return np.concatenate([each.scores for each in told]).astype(np.float32)

        every.append(_kept(path, ask))
    mean = np.mean(every, axis=0, dtype=np.float32)
    return list(np.split(mean, np.cumsum(lengths)[:-1]))


def _teacher(folder: str, head: str) -> "Scorer":
    """Load a pack or checkpoint that has this head. Raises TrainingError."""
    from worker.errors import PackError
    from worker.lab.evaluate.score import scorer_of

    try:
        scorer = scorer_of(Path(folder))
    except (PackError, TrainingError) as error:
        raise TrainingError(f"teacher: {error}") from error
    if head not in scorer.heads:
        raise TrainingError(f"teacher {folder} has no head {head!r}")
    return scorer


def _digest(folder: str, head: HeadSpec, texts: Sequence[str], max_tokens: int) -> str:
    """Return what the answers depend on: the teacher's files, the head and the texts."""
    digest = hashlib.sha256(files_digest(Path(folder)))
    digest.update("\0".join([head.name, str(max_tokens), *texts]).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def files_digest(folder: Path) -> bytes:
    """Return the digests of the files that a teacher's answers depend on, one after another."""
    digests = []
    for name in _DEPENDS_ON:
        if (file := folder / name).is_file():
            with file.open("rb") as content:
                digests.append(hashlib.file_digest(content, "sha256").digest())
    return b"".join(digests)


def _kept(path: Path, ask: Callable[[], Floats]) -> Floats:
    """Return what stands in the file, or ask and leave it there, whole or not at all."""
    if path.is_file():
        found: Floats = np.load(path)
        return found
    answers = ask()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    np.save(partial, answers)
    partial.replace(path)
    return answers
