"""Texts to token ids, and ids to a padded batch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from worker.model.text.normaliser import RAW, Normaliser

Ids = NDArray[np.int32]
"""Token ids of one text, marks included."""

_CHUNK = 2_048  # texts a call: the tokenizer's own answers are large beside the ids


def encode(tokenizer: Path, texts: Sequence[str], max_tokens: int, handling: Normaliser = RAW) -> list[Ids]:
    """Return every text's ids, cut to `max_tokens` (the marks at both ends stay)."""
    reader = _reader(tokenizer, max_tokens)
    ids: list[Ids] = []
    for start in range(0, len(texts), _CHUNK):
        part = reader.encode_batch_fast([handling.apply(text) for text in texts[start : start + _CHUNK]])
        ids.extend(np.asarray(encoding.ids, dtype=np.int32) for encoding in part)
    return ids


def encode_marked(
    tokenizer: Path,
    texts: Sequence[str],
    marks: Sequence[Sequence[int]],
    max_tokens: int,
    handling: Normaliser = RAW,
) -> tuple[list[Ids], list[NDArray[np.float32]]]:
    """Return every text's ids, and for each token 1 where any of its characters is marked, else 0.

    `marks` holds the marked characters of each text by their place in it (code points).
    """
    reader = _reader(tokenizer, max_tokens)
    ids: list[Ids] = []
    wanted: list[NDArray[np.float32]] = []
    for text, places in zip(texts, marks, strict=True):
        new, spans = handling.with_offsets(text)
        encoding = reader.encode(new)
        marked = set(places)
        flags = [
            any(place in marked for at in range(start, end) for place in range(*spans[at]))
            for start, end in encoding.offsets
        ]
        ids.append(np.asarray(encoding.ids, dtype=np.int32))
        wanted.append(np.asarray(flags, dtype=np.float32))
    return ids, wanted


def _reader(tokenizer: Path, max_tokens: int) -> Tokenizer:
    reader = Tokenizer.from_file(str(tokenizer))
    reader.no_padding()
    reader.enable_truncation(max_tokens)
    return reader


def pad(rows: Sequence[Ids], pad_id: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return ids padded to the longest, and their mask or None where nothing is padded: (rows, longest)."""
    longest = max(map(len, rows))
    ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return ids, None if mask.all() else mask
