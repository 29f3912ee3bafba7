"""Texts to token ids, and ids to a padded batch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

Ids = NDArray[np.int32]
"""Token ids of one text, marks included."""

_CHUNK = 2_048  # texts a call: the tokenizer's own answers are large beside the ids


def encode(tokenizer: Path, texts: Sequence[str], max_tokens: int) -> list[Ids]:
    """Return every text's ids, cut to `max_tokens` (the marks at both ends stay)."""
    reader = Tokenizer.from_file(str(tokenizer))
    reader.no_padding()
    reader.enable_truncation(max_tokens)
    ids: list[Ids] = []
    for start in range(0, len(texts), _CHUNK):
        part = reader.encode_batch_fast(list(texts[start : start + _CHUNK]))
        ids.extend(np.asarray(encoding.ids, dtype=np.int32) for encoding in part)
    return ids


def pad(rows: Sequence[Ids], pad_id: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return ids padded to the longest, and their mask or None where nothing is padded: (rows, longest)."""
    longest = max(map(len, rows))
    ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return ids, None if mask.all() else mask
