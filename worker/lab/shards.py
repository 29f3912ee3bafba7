"""Answers on disk: one `.npz` a shard, written whole or not at all."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from worker.errors import TrainingError
from worker.lab.evaluate.score import TokenScores
from worker.lab.teachers import Answers


def write_shard(path: Path, answers: Answers) -> None:
    """Write answers beside their final place, then put them there. Raises TrainingError."""
    arrays: dict[str, Any] = {f"scores/{name}": scores for name, scores in answers.scores.items()}
    for name, told in answers.tokens.items():
        rows = sorted(told)
        arrays[f"tokens/{name}/rows"] = np.array(rows, np.int64)
        arrays[f"tokens/{name}/lengths"] = np.array([len(told[row].scores) for row in rows], np.int64)
        arrays[f"tokens/{name}/scores"] = np.concatenate(
            [np.zeros(0), *(told[row].scores for row in rows)]
        ).astype(np.float32)
        arrays[f"tokens/{name}/ranges"] = np.array(
            [pair for row in rows for pair in told[row].ranges], np.int64
        ).reshape(-1, 2)
    if answers.first is not None:
        arrays["first"] = answers.first
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez(file, **arrays)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise TrainingError(f"cannot write {path}: {error.strerror}") from error


def read_shard(path: Path) -> Answers | None:
    """Return the answers at `path`; None where there are none, or what is there cannot be read."""
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    answers = Answers({}, {}, arrays.get("first"))
    for key, values in arrays.items():
        kind, _, name = key.partition("/")
        if kind == "scores":
            answers.scores[name] = values
        elif key.endswith("/rows"):
            answers.tokens[name.removesuffix("/rows")] = _tokens(arrays, key.removesuffix("rows"))
    return answers


def _tokens(arrays: dict[str, Any], prefix: str) -> dict[int, TokenScores]:
    """Cut the flat arrays of one token head into texts."""
    ends = np.cumsum(arrays[prefix + "lengths"])
    scores = np.split(arrays[prefix + "scores"], ends[:-1]) if len(ends) else []
    ranges = [tuple(pair) for pair in arrays[prefix + "ranges"].tolist()]
    starts = [0, *ends[:-1].tolist()]
    return {
        int(row): TokenScores(scores[number], ranges[starts[number] : int(ends[number])])
        for number, row in enumerate(arrays[prefix + "rows"])
    }
