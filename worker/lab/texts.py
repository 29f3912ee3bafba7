"""Training texts: lines of files and labelled rows of a recipe's data sets; and their tokens."""

import contextlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.errors import InferenceError, PackError, TrainingError
from worker.heads import Head
from worker.lab.checkpoint import Checkpoint
from worker.lab.data import sets as data
from worker.lab.data.labels import head_named
from worker.lab.data.tokens import Ids
from worker.lab.recipe import Recipe, Task
from worker.messages.fields import Fields
from worker.model.pack import TOKENIZER
from worker.model.spans import whole_words
from worker.model.tokenizer import Tokenizer
from worker.stream.labeller import texts_of as file_texts
from worker.stream.labeller import wanted_columns
from worker.tables.open import open_input
from worker.types import Range

_CHUNK = 2_048


class Row:
    """One text as a model reads it: its token ids, and each token's range in the original text."""

    __slots__ = ("_text", "_tokenizer", "ids")

    def __init__(self, ids: Ids, text: str, tokenizer: Tokenizer) -> None:
        self.ids, self._text, self._tokenizer = ids, text, tokenizer

    @property
    def ranges(self) -> list[Range]:
        """Each token's range of characters, empty for [CLS] and [SEP]; computed on every call."""
        return self._tokenizer.places(self._text).ranges

    @property
    def word_ranges(self) -> list[Range]:
        """The range of each token's word, as `worker.model.spans.whole_words` finds it."""
        found = self._tokenizer.places(self._text)
        return whole_words(self._text, found.ranges, found.words)


class TextReader:
    """A checkpoint's text handling and tokenizer, run as in the service."""

    def __init__(self, checkpoint: Checkpoint, longest: int = 0) -> None:
        """Read texts up to `longest` tokens, or up to the model's limit if it is 0.

        Raises TrainingError if the configuration names an unknown text handling.
        """
        self._content = checkpoint.tokenizer.encode()
        self._path = Path(checkpoint.title) / TOKENIZER
        self._longest = longest or checkpoint.sizes.max_position_embeddings
        try:
            self._handling = checkpoint.handling()
        except PackError as error:
            raise TrainingError(str(error)) from error

    def __call__(self, texts: Sequence[str], max_tokens: int) -> list[Row]:
        """Return every text's tokens, cut to `max_tokens` including [CLS] and [SEP].

        Raises TrainingError if the tokenizer cannot be used or fails on a text.
        """
        rows: list[Row] = []
        try:
            longest = min(max_tokens, self._longest)
            tokenizer = Tokenizer(self._path, longest, self._handling, self._content)
            for start in range(0, len(texts), _CHUNK):
                part = texts[start : start + _CHUNK]
                rows.extend(
                    Row(np.asarray(tokens.ids, dtype=np.int32), text, tokenizer)
                    for text, tokens in zip(part, tokenizer(part), strict=True)
                )
        except (PackError, InferenceError) as error:
            raise TrainingError(str(error)) from error
        return rows


def marks(row: Row, places: Iterable[int]) -> NDArray[np.float32]:
    """Return 1 for each token that contains one of these characters of the text, else 0: (tokens,)."""
    wanted = frozenset(places)
    return np.array(
        [any(place in wanted for place in range(start, end)) for start, end in row.ranges], np.float32
    )


@dataclass(slots=True)
class Part:
    """Texts of one source, and how to learn from them."""

    name: str
    texts: list[str]
    max_tokens: int = 128
    epochs: float = 1.0
    temperature: float = 2.0
    """The temperature that softens the teachers' and the student's scores."""
    task: Task | None = None
    """The recipe's task, for labelled rows."""
    head: str = ""
    """The head that the labels belong to."""
    own_teachers: tuple[str, ...] = ()
    """Folders of the task's own teachers, the only teachers of the head that the task trains."""
    own_head: str = ""
    """The head that the task's own teachers teach."""
    binary: bool = False
    labels: list[tuple[int, ...]] = field(default_factory=list)
    """Label indices; for a token head, the positions of the marked characters."""
    alike: int = 1
    """The number of consecutive texts that get the same answer, the mean of the teachers' answers."""
    leads: bool = False
    """The answer to such a group is that to its first text, instead of the mean."""
    also: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    """Label indices for other heads, by head; none for a text without a label for it."""


def read_texts(
    files: Sequence[Path], text_field: str, *, max_tokens: int, epochs: float, temperature: float
) -> list[Part]:
    """Read text files (lines, CSV, JSON lines, Parquet) as one part each, leaving out blank and bad rows.

    Raises InputError for a file that cannot be read, TrainingError for one without texts.
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
    fields = Fields.at(text_field)
    with contextlib.closing(open_input(str(file), wanted_columns(fields.places))) as source:
        for text in file_texts(source, fields, on_bad=lambda _place, _reason: None):
            yield text.strip()


def thin(part: Part, seed: int) -> Part:
    """Draw the rows of a part with less than one pass, so that teachers are not asked about the others."""
    if part.epochs >= 1:
        return part
    rng = random.Random(f"{seed}/{part.name}")  # noqa: S311 - which rows are learnt from is no secret
    groups = len(part.texts) // part.alike
    drawn = sorted(rng.sample(range(groups), max(1, round(part.epochs * groups))))
    rows = [group * part.alike + place for group in drawn for place in range(part.alike)]
    labels = [part.labels[row] for row in rows] if part.labels else []
    also = {head: [given[row] for row in rows] for head, given in part.also.items()}
    return replace(part, texts=[part.texts[row] for row in rows], labels=labels, also=also, epochs=1.0)


def read_recipe(recipe: Recipe, root: Path, heads: Mapping[str, Head]) -> list[Part]:
    """Read the train splits of a recipe's tasks, without labels and teachers for heads the student lacks.

    Raises TrainingError for a missing data set, a label that the student's head lacks, or a table.
    """
    parts = []
    for task in recipe.tasks:
        if task.file:
            raise TrainingError(
                f"{task.file}: distill takes labels of the known data sets only; give its texts with --texts"
            )
        split = data.load(task.data, "train", root, task.rows)
        part = Part(task.title, split.texts, task.max_tokens, task.epochs, task.softening, task)
        part.alike, part.leads = split.group_size, split.first_leads
        head = head_named(task.head or split.head)
        if task.all_teachers and head.name in heads:
            part.own_teachers, part.own_head = task.all_teachers, head.name
        if head.name == split.head and head.name in heads and (head.by_token or all(split.labels)):
            part.head, part.binary, part.labels = head.name, split.binary, split.labels
            if not head.by_token:
                part.labels = _renumbered(head, heads[head.name], split.labels, task.data)
        for name, labels in data.load_also(task.data, task.also, split.texts, root).items():
            if name in heads:
                part.also[name] = _renumbered(head_named(name), heads[name], labels, task.data)
        if task.alone and not part.head and not part.own_head:
            raise TrainingError(f"{task.title} stands alone, but has nothing for a head of the student")
        parts.append(part)
    return parts


def _renumbered(known: Head, own: Head, labels: list[tuple[int, ...]], title: str) -> list[tuple[int, ...]]:
    """Translate the label indices of a known head into those of the student's head."""
    if known.labels == own.labels:
        return labels
    if missing := [label for label in known.labels if label not in own.labels]:
        raise TrainingError(f"{title}: the student's head {own.name} has no label {missing[0]!r}")
    new = [own.labels.index(label) for label in known.labels]
    return [tuple(sorted(new[number] for number in row)) for row in labels]
