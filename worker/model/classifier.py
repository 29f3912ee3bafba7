"""Texts in, labels out, without Kafka: tokenised, cut into micro-batches, and labelled side by side."""

import os
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import compress
from pathlib import Path
from typing import Any, Protocol, Self, get_args

import numpy as np
from numpy.typing import NDArray

from worker.errors import InferenceError, PackError, TextEmpty, TextNotString
from worker.heads import ROWS, Head, Marks, shown
from worker.model.cpu import available_threads
from worker.model.heads import called, probabilities, text_results
from worker.model.pack import CONFIG, GRAPH, TOKENIZER, Pack, bundled_pack, open_pack
from worker.model.session import Session
from worker.model.spans import joined, marked_tokens
from worker.model.tokenizer import Tokenizer
from worker.model.tokens import Tokens
from worker.model.windows import mean_prediction
from worker.settings.groups import DEFAULT_LONG_TEXT, BatchSettings
from worker.types import Failure, LongText, Prediction, SpanResult

WINDOW = 1_024
"""Texts sorted together. Padding falls to about 3 % at 256 and hardly further; memory grows with it."""

_UNREAD = SpanResult()

_SPECIAL_TOKENS = 2
"""[CLS] and [SEP], which every row has."""


class Listener(Protocol):
    """Receives what a call cost. Times in seconds. Called from several threads."""

    def stage(self, name: str, seconds: float) -> None:
        """Take the duration of one stage of one window: `tokenise`."""
        ...

    def micro_batch(self, rows: int, tokens: int, padded_tokens: int, seconds: float) -> None:
        """Take the size of one forward pass and its duration."""
        ...

    def pack(self, name: str, seconds: float) -> None:
        """Take how long one pack took for one window, all its passes together."""
        ...


class Silent:
    """A listener that ignores everything."""

    def stage(self, name: str, seconds: float) -> None:
        """Drop it."""

    def micro_batch(self, rows: int, tokens: int, padded_tokens: int, seconds: float) -> None:
        """Drop it."""

    def pack(self, name: str, seconds: float) -> None:
        """Drop it."""


def _check_labels(pack: Pack, session: Session) -> None:
    """Refuse labels that are not those of the graph. Raises PackError."""
    for head, values in zip(pack.heads, session.tried or (), strict=False):
        if values.ndim != 2 or values.shape[1] != len(head.labels):
            found = f"an output of shape {values.shape}" if values.ndim != 2 else f"{values.shape[1]} scores"
            labels = f"head {head.name} has {len(head.labels)} labels"
            raise PackError(f"{pack.path / CONFIG}: {labels}, and {GRAPH} gives it {found}")


class Classifier:
    """Labels texts with one model pack, in micro-batches of similar length. `load` makes one.

    The same text gets the same scores whatever else is in its batch. Micro-batches run in parallel, one on
    each thread: a single pass is too short to split. All methods may be called from several threads.

    A classifier also works in a forked child. Its pickle holds the path and revision of its pack, which is
    loaded again when unpickled; the listener is not pickled.
    """

    def __init__(
        self,
        pack: Pack,
        tokenizer: Tokenizer,
        session: Session,
        *,
        threads: int = 1,
        batch: BatchSettings | None = None,
        marks: Marks = "flagged",
        listener: Listener | None = None,
        long_text: LongText = DEFAULT_LONG_TEXT,
    ) -> None:
        self.pack = pack
        self.threads = threads
        self.marks = marks
        self._tokenizer = tokenizer
        self._session = session
        self._batch = batch or BatchSettings()
        self._listener: Listener = listener or Silent()
        self._long_text = long_text
        self._pool: tuple[int, ThreadPoolExecutor] | None = None  # with the process that it belongs to

    @classmethod
    def load(
        cls,
        path: Path | str | None = None,
        *,
        threads: int = 0,
        batch: BatchSettings | None = None,
        marks: Marks = "flagged",
        listener: Listener | None = None,
        long_text: LongText = DEFAULT_LONG_TEXT,
    ) -> Self:
        """Verify and load a pack: the bundled one, or the folder at `path`.

        Args:
            path: folder of a pack, or the name of one that ships.
            threads: parallel forward passes; 0 means as many as the machine or its cgroup allows.
            batch: how to cut micro-batches; the defaults serve a CPU.
            marks: in which texts token heads mark words.
            listener: called with what each window cost.
            long_text: what is read of texts that are longer than `pack.max_tokens`.

        Raises:
            PackError: the folder is not a pack, a byte of it has changed, or its parts do not fit together.
            ValueError: an unknown `long_text` or a negative number of threads.
        """
        if threads < 0:
            raise ValueError(f"threads must be 0 or more, not {threads}")
        if long_text not in get_args(LongText):
            raise ValueError(f"long_text is one of {', '.join(get_args(LongText))}, not {shown(long_text)}")
        pack, contents = open_pack(Path(path) if path is not None else bundled_pack(), (TOKENIZER, GRAPH))
        file = pack.path / TOKENIZER
        content = contents.pop(TOKENIZER)
        tokenizer = Tokenizer(file, pack.max_tokens, pack.text, content, long_text=long_text)
        tokens = max(tokenizer.vocab_size, tokenizer.largest_id + 1)
        if tokens > pack.vocab_size:
            raise PackError(f"{file} has {tokens} tokens, the model knows {pack.vocab_size}")
        marking = [name for head in pack.token_heads for name in (head.name + ROWS, head.name)]
        outputs = [head.name for head in pack.heads]
        session = Session(pack.path / GRAPH, outputs, marking, contents.pop(GRAPH), longest=pack.max_tokens)
        _check_labels(pack, session)
        return cls(
            pack,
            tokenizer,
            session,
            threads=threads or available_threads(),
            batch=batch,
            marks=marks,
            listener=listener,
            long_text=long_text,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        pack = (str(self.pack.path.resolve()), self.pack.revision)
        return _load_again, (*pack, self.threads, self._batch, (self.marks, self._long_text))

    def classify(self, texts: Iterable[object]) -> list[Prediction | Failure]:
        """Label texts. Result i belongs to text i; what cannot be labelled gives a `Failure`.

        Args:
            texts: a list or any other iterable of texts, such as a column of a data frame. A value that is
                not a text, such as None or NaN, gives a `Failure` with the reason `text_not_string`, and a
                text of which the tokenizer leaves nothing one with `text_empty`.

        Raises:
            TypeError: one text instead of several, or a table with more than one column.
        """
        return by_windows(texts, self._window)

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise texts, in rows of at most `pack.max_tokens`; the result has their length and order.

        Raises:
            InferenceError: the tokenizer failed on one of them.
        """
        return self._tokenizer(texts)

    def predict(self, batch: Sequence[Tokens]) -> list[Prediction]:
        """Run one forward pass over exactly these rows, padded to the longest. Other windows are left out.

        Returns one prediction per row, in order. A row's scores do not depend on the other rows.

        Raises:
            InferenceError: the pass failed, or a result is not a finite number; the batch has no result then.
        """
        if not batch:
            return []
        if not all(row.ids for row in batch):
            raise InferenceError("a row of the batch has no tokens")
        outputs = self._session.run([row.ids for row in batch])
        marking = outputs[len(self.pack.heads) :]
        columns = [text_results(head, values) for head, values in zip(self.pack.heads, outputs, strict=False)]
        names = [head.name for head in self.pack.heads]
        logits_of = dict(zip(names, outputs, strict=False))
        spans: list[dict[str, SpanResult]] = [{} for _ in batch]
        for head, rows, logits in zip(self.pack.token_heads, marking[::2], marking[1::2], strict=True):
            asked = self._asked(head, logits_of)
            for found, result in zip(spans, self._spans(head, batch, rows, logits, asked), strict=True):
                found[head.name] = result
        return [
            Prediction(dict(zip(names, results, strict=True)), len(row.ids), row.truncated, found)
            for row, found, *results in zip(batch, spans, *columns, strict=True)
        ]

    def _asked(self, head: Head, logits: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_] | None:
        """Return in which texts of a batch a token head may mark words; None where its gate alone decides.

        `logits` are those of the heads that judge whole texts, by name.
        """
        if self.marks == "gate" or head.gate is None:
            return None
        gate = head.gate
        judge = next(text for text in self.pack.heads if text.name == gate.head)
        return called(judge, gate.label, probabilities(judge, logits[judge.name]))

    def _spans(
        self,
        head: Head,
        batch: Sequence[Tokens],
        rows: NDArray[Any],
        logits: NDArray[Any],
        asked: NDArray[np.bool_] | None,
    ) -> list[SpanResult]:
        """Return what one token head marks in each text; places are looked up only if it marks any."""
        results = [_UNREAD] * len(batch)
        for row, marks in marked_tokens(head, rows, logits, [len(tokens.ids) for tokens in batch]).items():
            if asked is not None and not asked[row]:
                continue
            ranges = self._tokenizer.ranges(batch[row]) if marks.any() else ()
            results[row] = SpanResult(joined(batch[row].text, compress(ranges, marks)), read=True)
        return results

    @property
    def tokenizer_key(self) -> Hashable:
        """Two classifiers with the same key give every text the same tokens."""
        return self._tokenizer.key

    def with_tokenizer_of(self, other: "Classifier") -> Self:
        """Use the tokenizer of a classifier with the same `tokenizer_key`, so that memory holds it once."""
        self._tokenizer = other._tokenizer
        return self

    def _window(self, texts: Sequence[object]) -> list[Prediction | Failure]:
        return self.labelled(self.tokens(texts))

    def tokens(self, texts: Sequence[object]) -> list[Tokens | Failure]:
        """Tokenise one window of texts; what is not a text, or cannot be tokenised, gives a `Failure`."""
        started = time.perf_counter()
        tokens = self._tokens(texts)
        self._listener.stage("tokenise", time.perf_counter() - started)
        return tokens

    def labelled(self, tokens: Sequence[Tokens | Failure]) -> list[Prediction | Failure]:
        """Label one window of texts from `tokens`. Result i belongs to text i; failures stay as they are."""
        results: list[Prediction | Failure | None] = [
            row if isinstance(row, Failure) else None for row in tokens
        ]
        texts = [(index, row) for index, row in enumerate(tokens) if isinstance(row, Tokens)]
        # A text in windows is as many rows, and its answer comes from all of theirs.
        rows = [window for _, row in texts for window in row.windows or (row,)]
        batches = plan(
            [len(row.ids) for row in rows],
            max_padded_tokens=self._batch.max_padded_tokens,
            max_padding_share=self._batch.max_padding_share,
        )
        batches.reverse()  # the longest first, so that the threads end together
        answers = self._side_by_side([rows[index] for index in batch] for batch in batches)
        found: dict[int, Prediction | Failure] = {}
        for batch, answered in zip(batches, answers, strict=True):
            found.update(zip(batch, answered, strict=True))
        done = 0
        for index, row in texts:
            count = max(1, len(row.windows))
            results[index] = self._together(row, [found[place] for place in range(done, done + count)])
            done += count
        return [result for result in results if result is not None]

    def _together(self, row: Tokens, answers: Sequence[Prediction | Failure]) -> Prediction | Failure:
        """Return the answer for a text from those for its rows."""
        if not row.windows:
            return answers[0]
        predictions = [answer for answer in answers if isinstance(answer, Prediction)]
        if len(predictions) < len(answers):
            return next(answer for answer in answers if isinstance(answer, Failure))
        return mean_prediction(row, self.pack.heads, self.pack.token_heads, predictions, self.marks)

    def _tokens(self, texts: Sequence[object]) -> list[Tokens | Failure]:
        """Tokenise the texts; anything else, and any text that the tokenizer fails on, gives a `Failure`."""
        # Subclasses of str, such as numpy's, become plain ones.
        plain = [str.__str__(text) for text in texts if isinstance(text, str)]
        try:
            found: list[Tokens | Failure] = [
                row if row.windows or len(row.ids) > _SPECIAL_TOKENS else _nothing_left()
                for row in self.tokenize(plain)
            ]
        except InferenceError as error:
            if len(texts) > 1:
                return [row for text in texts for row in self._tokens([text])]
            found = [_failure(error)]
        if len(plain) == len(texts):
            return found
        rows = iter(found)
        return [next(rows) if isinstance(text, str) else _no_text(text) for text in texts]

    def _side_by_side(self, batches: Iterable[list[Tokens]]) -> Iterable[Sequence[Prediction | Failure]]:
        if self.threads == 1:
            return map(self._micro_batch, batches)
        pool = self._pool
        if pool is None or pool[0] != os.getpid():
            # A forked child does not inherit threads: there, the parent's pool would never answer.
            pool = os.getpid(), ThreadPoolExecutor(self.threads, thread_name_prefix="classify")
            self._pool = pool
        return pool[1].map(self._micro_batch, batches)

    def _micro_batch(self, rows: list[Tokens]) -> Sequence[Prediction | Failure]:
        started = time.perf_counter()
        try:
            predictions = self.predict(rows)
        except Exception as error:  # noqa: BLE001 - an error for one text must cost only that text
            if len(rows) > 1:
                return [answer for row in rows for answer in self._micro_batch([row])]
            return [_failure(error)]
        lengths = [len(row.ids) for row in rows]
        seconds = time.perf_counter() - started
        self._listener.micro_batch(len(rows), sum(lengths), len(rows) * max(lengths), seconds)
        return predictions


def plan(lengths: Sequence[int], *, max_padded_tokens: int, max_padding_share: float) -> list[list[int]]:
    """Cut a window into micro-batches of texts of similar length.

    Texts are sorted by length and taken in that order. A micro-batch ends when one more text would exceed
    `max_padded_tokens` (rows times the longest row) or bring its share of padding above `max_padding_share`.
    A text longer than the budget gets a batch of its own: none is left out.

    Args:
        lengths: tokens of each text.
        max_padded_tokens: budget of one micro-batch, padding counted.
        max_padding_share: largest part of a micro-batch that may be padding, 0 to 1.

    Returns:
        Indices into `lengths`, each exactly once, longest micro-batches last.
    """
    batches: list[list[int]] = []
    batch: list[int] = []
    real = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[index]
        padded = (len(batch) + 1) * length
        if batch and (padded > max_padded_tokens or padded - real - length > padded * max_padding_share):
            batches.append(batch)
            batch, real = [], 0
        batch.append(index)
        real += length
    if batch:
        batches.append(batch)
    return batches


def _load_again(
    path: str, revision: str, threads: int, batch: BatchSettings, how: tuple[Marks, LongText]
) -> Classifier:
    """Load a classifier that was pickled. Raises PackError if its pack has changed since."""
    marks, long_text = how
    classifier = Classifier.load(path, threads=threads, batch=batch, marks=marks, long_text=long_text)
    if classifier.pack.revision != revision:
        raise PackError(
            f"{path} held revision {revision} when it was pickled, and now {classifier.pack.revision}"
        )
    return classifier


def by_windows(
    texts: Iterable[object], label: Callable[[Sequence[object]], list[Prediction | Failure]]
) -> list[Prediction | Failure]:
    """Label texts `WINDOW` at a time. Result i belongs to text i.

    Raises:
        TypeError: see `as_list`.
    """
    rows = as_list(texts)
    results: list[Prediction | Failure] = []
    for start in range(0, len(rows), WINDOW):
        results += label(rows[start : start + WINDOW])
    return results


def as_list(texts: Iterable[object]) -> Sequence[object]:
    """Return the texts as a sequence. Raises TypeError for anything else."""
    if isinstance(texts, list):
        return texts
    if isinstance(texts, str | bytes | bytearray):
        raise TypeError("classify takes several texts: pass a list, classify([text])")
    shape = getattr(texts, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 1:
        raise TypeError("classify takes one column of texts: pass it alone, such as classify(frame['text'])")
    if hasattr(texts, "to_pylist"):  # of pyarrow, whose columns give values of their own types
        texts = texts.to_pylist()
    if isinstance(texts, dict) or not isinstance(texts, Iterable):
        raise TypeError(
            f"classify takes an iterable of texts, such as a list, and not {type(texts).__name__}"
        )
    return list(texts)


def _no_text(value: object) -> Failure:
    return Failure(
        stage="classify",
        reason=TextNotString.reason,
        message=f"this is not a text: {type(value).__name__}",
        exception=f"{TextNotString.__module__}.{TextNotString.__qualname__}",
    )


def _nothing_left() -> Failure:
    return Failure.of(
        "classify",
        TextEmpty.reason,
        TextEmpty("nothing is left of the text: it holds only markup or signs that the model does not read"),
    )


def _failure(error: Exception) -> Failure:
    kind = type(error)
    first_line = str(error).partition("\n")[0]
    return Failure(
        stage="classify",
        reason="inference_failed",
        message=f"the model could not label this text: {kind.__name__}: {first_line}",
        exception=f"{kind.__module__}.{kind.__qualname__}",
    )
