"""Texts to learn from: lines of files, and the labelled rows of a recipe's data sets; texts as tokens."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from worker.errors import TextError, TrainingError
from worker.lab.checkpoint import Checkpoint
from worker.lab.data import sets as data
from worker.lab.data.labels import HeadSpec, head_named
from worker.lab.data.tokens import Ids
from worker.lab.evaluate.heads import HeadInfo
from worker.lab.recipe import Recipe, Task
from worker.model.text.normaliser import RAW, Normaliser, normaliser
from worker.types import Range

_CHUNK = 2_048


class Row(NamedTuple):
    """One text as a model reads it: token ids, and each token's characters in the text as it came."""

    ids: Ids
    ranges: list[Range]


class TextReader:
    """A checkpoint's text handling and tokenizer."""

    def __init__(self, checkpoint: Checkpoint, longest: int = 0) -> None:
        """Read texts up to `longest` tokens, or (0) as far as the model does.

        Raises TrainingError where the configuration names an unknown text handling.
        """
        self._tokenizer = Tokenizer.from_str(checkpoint.tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self._longest = longest or checkpoint.sizes.max_position_embeddings
        self.handling = _handling(checkpoint)

    def __call__(self, texts: Sequence[str], max_tokens: int) -> list[Row]:
        """Return every text's tokens, cut to `max_tokens` (marks included); a mark has an empty range."""
        self._tokenizer.no_truncation()
        self._tokenizer.enable_truncation(min(max_tokens, self._longest))
        rows = []
        for start in range(0, len(texts), _CHUNK):
            prepared = [self.handling.with_offsets(text) for text in texts[start : start + _CHUNK]]
            encodings = self._tokenizer.encode_batch([text for text, _ in prepared])
            for (_, places), encoding in zip(prepared, encodings, strict=True):
                ranges = [
                    (places[first][0], places[last - 1][1]) if first < last else (0, 0)
                    for first, last in encoding.offsets
                ]
                rows.append(Row(np.asarray(encoding.ids, dtype=np.int32), ranges))
        return rows

    def marked(self, row: Row, places: Iterable[int]) -> NDArray[np.float32]:
        """Return 1 for each token that has one of these characters of the text, else 0: (tokens,)."""
        wanted = frozenset(places)
        return np.array(
            [any(place in wanted for place in range(start, end)) for start, end in row.ranges], np.float32
        )


def _handling(checkpoint: Checkpoint) -> Normaliser:
    named = checkpoint.config.get("text")
    try:
        return normaliser(named["name"], named["version"]) if named else RAW
    except (TextError, KeyError, TypeError) as error:
        raise TrainingError(f"{checkpoint.title}: {error}") from error


@dataclass(slots=True)
class Part:
    """Texts of one source, and how they are learnt from."""

    name: str
    texts: list[str]
    max_tokens: int = 128
    epochs: float = 1.0
    temperature: float = 2.0
    """By which teachers' and student's scores are softened."""
    task: Task | None = None
    """The recipe's task, for labelled rows."""
    head: str = ""
    """The head that the labels belong to."""
    own_teachers: tuple[str, ...] = ()
    """Folders of the task's own teachers: they alone speak of the head that the task trains."""
    own_head: str = ""
    """That head."""
    binary: bool = False
    labels: list[tuple[int, ...]] = field(default_factory=list)
    """Label numbers; for a token head the places of the marked characters."""


def read_texts(
    files: Sequence[Path], text_field: str, *, max_tokens: int, epochs: float, temperature: float
) -> list[Part]:
    """Read files of texts (lines, CSV, JSON lines, Parquet), a part each; blank and bad rows are left out.

    Raises InputError for a file that cannot be read, TrainingError for one without a text.
    """
    parts = []
    for file in files:
        texts = list(texts_of(file, text_field))
        if not texts:
            raise TrainingError(f"{file}: no texts in it")
        parts.append(Part(str(file), texts, max_tokens, epochs, temperature))
    return parts


def texts_of(file: Path, text_field: str) -> Iterable[str]:
    """Yield the texts of a file. Raises InputError."""
    import json

    from worker.tables.open import open_input
    from worker.tables.rows import (
        JSON,
        Row,
    )

    opened = open_input(str(file), text_field)
    try:
        for item in opened.items:
            if isinstance(item, Row):
                value = (
                    json.loads(item.value)
                    if item.content_type == JSON
                    else item.value.decode("utf-8", "replace")
                )
                text = value.get(text_field) if isinstance(value, dict) else value
                if isinstance(text, str) and text.strip():
                    yield text.strip()
    finally:
        opened.close()


def thin(part: Part, seed: int) -> Part:
    """Draw the rows of a part that is passed over less than once: nobody is asked about the others."""
    if part.epochs >= 1:
        return part
    rng = random.Random(f"{seed}/{part.name}")  # noqa: S311 - which rows are learnt from is no secret
    rows = sorted(rng.sample(range(len(part.texts)), max(1, round(part.epochs * len(part.texts)))))
    labels = [part.labels[row] for row in rows] if part.labels else []
    return replace(part, texts=[part.texts[row] for row in rows], labels=labels, epochs=1.0)


def read_recipe(recipe: Recipe, root: Path, heads: Mapping[str, HeadInfo]) -> list[Part]:
    """Read the train splits of a recipe's tasks. Labels and own teachers of heads that the student lacks are
    left out.

    Raises TrainingError for a missing data set, a label that the student's head does not know, or a table.
    """
    parts = []
    for task in recipe.tasks:
        if task.file:
            raise TrainingError(
                f"{task.file}: distill takes labels of the known data sets only; give its texts with --texts"
            )
        split = data.load(task.data, "train", root, task.rows)
        part = Part(task.title, split.texts, task.max_tokens, task.epochs, task.softening, task)
        head = head_named(task.head or split.head)
        if task.taught_by and head.name in heads:
            part.own_teachers, part.own_head = task.taught_by, head.name
        if head.name == split.head and head.name in heads and (head.by_token or all(split.labels)):
            part.head, part.binary, part.labels = head.name, split.binary, split.labels
            if not head.by_token:
                part.labels = _renumbered(head, heads[head.name], split.labels, task.data)
        parts.append(part)
    return parts


def _renumbered(
    known: HeadSpec, own: HeadInfo, labels: list[tuple[int, ...]], title: str
) -> list[tuple[int, ...]]:
    """Return label numbers of a known head as the student's head counts its labels."""
    if known.labels == own.labels:
        return labels
    if missing := [label for label in known.labels if label not in own.labels]:
        raise TrainingError(f"{title}: the student's head {own.name} has no label {missing[0]!r}")
    new = [own.labels.index(label) for label in known.labels]
    return [tuple(sorted(new[number] for number in row)) for row in labels]
