"""From texts to token ids, with the service's tokenizer, and from ids to a padded batch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.errors import InferenceError, PackError, TrainingError
from worker.model.text.normaliser import RAW, Normaliser
from worker.model.tokenizer import Tokenizer

Ids = NDArray[np.int32]
"""Token ids of one text, including [CLS] and [SEP]."""

_CHUNK = 2_048  # texts a call: the tokenizer's own answers are large beside the ids


def encode(tokenizer: Path, texts: Sequence[str], max_tokens: int, handling: Normaliser = RAW) -> list[Ids]:
    """Return every text's ids, cut to `max_tokens` including [CLS] and [SEP].

    Raises:
        TrainingError: the tokenizer cannot be read, or fails on a text.
    """
    reader = _reader(tokenizer, max_tokens, handling)
    ids: list[Ids] = []
    try:
        for start in range(0, len(texts), _CHUNK):
            rows = reader(texts[start : start + _CHUNK])
            ids.extend(np.asarray(row.ids, dtype=np.int32) for row in rows)
    except InferenceError as error:
        raise TrainingError(f"{tokenizer}: {error}") from error
    return ids


def encode_marked(
    tokenizer: Path,
    texts: Sequence[str],
    marks: Sequence[Sequence[int]],
    max_tokens: int,
    handling: Normaliser = RAW,
) -> tuple[list[Ids], list[NDArray[np.float32]]]:
    """Return every text's ids, and for each token 1 if any of its characters is marked, else 0.

    `marks` holds the marked characters of each text by their place in it (code points). Raises as `encode`.
    """
    reader = _reader(tokenizer, max_tokens, handling)
    ids: list[Ids] = []
    wanted: list[NDArray[np.float32]] = []
    for text, marked in zip(texts, map(frozenset, marks), strict=True):
        try:
            found = reader.places(text)
        except InferenceError as error:
            raise TrainingError(f"{tokenizer}: {error}") from error
        flags = [any(place in marked for place in range(start, end)) for start, end in found.ranges]
        ids.append(np.asarray(found.ids, dtype=np.int32))
        wanted.append(np.asarray(flags, dtype=np.float32))
    return ids, wanted


def _reader(tokenizer: Path, max_tokens: int, handling: Normaliser) -> Tokenizer:
    try:
        return Tokenizer(tokenizer, max_tokens, handling)
    except PackError as error:
        raise TrainingError(str(error)) from error


def pad(rows: Sequence[Ids], pad_id: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return ids padded to the longest, and their mask or None if nothing is padded: (rows, longest)."""
    longest = max(map(len, rows))
    ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return ids, None if mask.all() else mask
