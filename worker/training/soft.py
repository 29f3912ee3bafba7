"""What a teacher says of a task's texts, worked out once and kept beside the run's state."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from worker.training.errors import TrainingError
from worker.training.labels import HeadSpec


def taught(
    teacher: Path, head: HeadSpec, texts: Sequence[str], max_tokens: int, keep: Path
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], list[int]]:
    """Return the teacher's probabilities (texts, its labels), and which of our labels each of its is.

    `teacher` is the folder of a pack; `keep` a folder for the result, found again by pack and texts.
    Raises TrainingError where the pack has no such head, or knows a label that ours does not.
    """
    from worker.classifier import Classifier  # noqa: PLC0415 - likewise
    from worker.classify import Model, PackError  # noqa: PLC0415 - onnxruntime starts only where it is used

    try:
        model = Model.load(teacher)
    except PackError as error:
        raise TrainingError(f"teacher: {error}") from error
    found = next((entry for entry in model.pack.heads if entry.name == head.name), None)
    if found is None:
        raise TrainingError(f"teacher {teacher} has no head {head.name!r}")
    if unknown := [label for label in found.labels if label not in head.labels]:
        raise TrainingError(
            f"teacher {teacher}: head {head.name!r} has the label {unknown[0]!r}, ours has not"
        )
    columns = [head.labels.index(label) for label in found.labels]
    digest = hashlib.sha256("\0".join([model.pack.revision, head.name, str(max_tokens), *texts]).encode())
    path = keep / f"taught-{digest.hexdigest()[:16]}.npy"
    if path.is_file():
        return np.load(path), columns
    scores = np.zeros((len(texts), len(columns)), np.float32)
    for row, result in enumerate(Classifier(model).classify(list(texts))):
        given = getattr(result, "heads", None)
        if given is None:
            raise TrainingError(f"teacher {teacher} failed on a text: {result}")
        scores[row] = [given[head.name].scores[label] for label in found.labels]
    keep.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    np.save(partial, scores)
    partial.replace(path)
    return scores, columns
