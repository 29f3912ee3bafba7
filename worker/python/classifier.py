"""The public `Classifier`: texts in, labels out, from any process and any kind of column."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self, get_args

from worker.errors import PackError, TextEmpty
from worker.heads import Marks
from worker.messages.body import visible
from worker.messages.encode import OutputEncoder
from worker.model.classifier import as_list
from worker.model.identifier import Guess, Identifier
from worker.model.pack import Pack
from worker.model.several import PackSet
from worker.python.frames import FAILURE_MESSAGE, FAILURE_REASON, as_frame, frame_columns
from worker.settings.groups import DEFAULT_LONG_TEXT, BatchSettings
from worker.settings.languages import UNKNOWN
from worker.types import PUBLIC, Failure, LongText, Prediction

_Path = Path | str
_Packs = tuple[tuple[str, str], ...]
"""Path and revision of each pack."""

_How = tuple[Marks, bool, LongText]
"""`marks`, `detect_language` and `long_text`."""

_Batch = tuple[tuple[str, Any], ...] | None
"""Settings of a batch as a value that can be compared; None for the defaults."""


def _check_type(name: str, value: object, kind: Any, wanted: str) -> None:
    """Raise TypeError for a value of another type; True and False are no numbers here."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{name} must be {wanted}, not {value!r}")


class Classifier:
    """Labels texts with a model pack: the bundled one, or the one at `path`, or several at once.

    Several packs label every text side by side. Each prediction holds the heads of all; where two packs have
    a head of the same name, it gets the name of its pack in front, as in `compact_sentiment`.

    The same text gets the same scores whatever else it is labelled with. All methods may be called from
    several threads. A classifier goes on working in a forked child. Its pickle holds the paths and revisions
    of its packs; a process loads them once, however often it unpickles them.

    Args:
        path: folder of a pack, or the name of one that ships, or a list of these; the default one when None.
        threads: parallel forward passes; 0 means as many as the machine or its cgroup allows.
        batch: how texts are grouped into micro-batches; the defaults serve a CPU.
        marks: `flagged` marks toxic words only in texts that are called toxic; `gate` in all that reach the
            lower score that the pack names.
        detect_language: find out each text's language, and say in `supported` whether all packs read it. When
            false, `lang` is None and `supported` true.
        long_text: what is read of a text that is longer than a pack reads at once: `truncate` its beginning,
            `head_tail` its beginning and its end, `windows` all of it, in up to 8 parts.

    Raises:
        TypeError: an argument is of another type.
        ValueError: `marks` or `long_text` is none of these, `threads` is negative, or a path is empty.
        LanguageError: languages are to be detected, and the package that does it is missing.
        PackError: a folder is not a pack, a byte of it has changed, its parts do not fit together, or a pack
            is given twice.
    """

    __module__ = PUBLIC

    def __init__(
        self,
        path: _Path | Sequence[_Path] | None = None,
        *,
        threads: int = 0,
        batch: BatchSettings | None = None,
        marks: Marks = "flagged",
        detect_language: bool = True,
        long_text: LongText = DEFAULT_LONG_TEXT,
    ) -> None:
        if marks not in get_args(Marks):
            raise ValueError(f"marks must be 'flagged' or 'gate', not {marks!r}")
        _check_type("threads", threads, int, "a whole number")
        _check_type("batch", batch, BatchSettings | None, "BatchSettings or None")
        _check_type("detect_language", detect_language, bool, "True or False")
        if not isinstance(path, Sequence | None) or isinstance(path, bytes):
            _check_type("path", path, Path, "a folder, the name of a pack, or a list of these")
        for each in () if isinstance(path, str | Path | None) else path:
            _check_type("path", each, str | Path, "a list of folders or names of packs")
        # Before the packs, so that a missing package shows at once.
        self._identify = Identifier() if detect_language else None
        paths = () if path is None else (path,) if isinstance(path, str | Path) else path
        if "" in paths:
            raise ValueError("path is empty; leave it out for the bundled pack")
        self._model = PackSet.load(paths, threads=threads, batch=batch, marks=marks, long_text=long_text)
        self._given = (threads, batch, (marks, detect_language, long_text))
        self._kinds = frame_columns(self._model.heads)
        self._encoder = OutputEncoder(
            self._model.heads, model=self._model.model, topic="", include_text=False
        )

    @classmethod
    def load(
        cls,
        path: _Path | Sequence[_Path] | None = None,
        *,
        threads: int = 0,
        batch: BatchSettings | None = None,
        marks: Marks = "flagged",
        detect_language: bool = True,
        long_text: LongText = DEFAULT_LONG_TEXT,
    ) -> Self:
        """Do what the constructor does."""
        return cls(
            path,
            threads=threads,
            batch=batch,
            marks=marks,
            detect_language=detect_language,
            long_text=long_text,
        )

    @property
    def packs(self) -> tuple[Pack, ...]:
        """The packs that are loaded, in the order in which they were given."""
        return self._model.packs

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of `predict_frame`."""
        return tuple(self._kinds)

    def classify(self, texts: Iterable[object]) -> list[Prediction | Failure]:
        """Label texts. Result i belongs to text i.

        Args:
            texts: a list or any other iterable, such as a pandas or polars series, an Arrow array, a NumPy
                array or a generator. What is not a text (None, NaN, a number) gives a `Failure` with the
                reason `text_not_string`, and a text with nothing visible in it, or nothing but HTML tags, one
                with `text_empty`.

        Raises:
            TypeError: one text instead of several, or a table with more than one column.
        """
        rows = as_list(texts)
        labelled = iter(self._labelled([text for text in rows if not _is_blank(text)]))
        return [_blank() if _is_blank(text) else next(labelled) for text in rows]

    def _labelled(self, rows: list[object]) -> list[Prediction | Failure]:
        results = self._model.classify(rows)
        if self._identify is None:
            return results
        texts = [text for text, result in zip(rows, results, strict=True) if isinstance(result, Prediction)]
        guesses = iter(self._identify([str(text) for text in texts], self._model.languages))
        return [_marked(each, next(guesses)) if isinstance(each, Prediction) else each for each in results]

    async def classify_async(self, texts: Iterable[object]) -> list[Prediction | Failure]:
        """Do the same in another thread, so that an event loop goes on meanwhile."""
        return await asyncio.to_thread(self.classify, texts)

    def to_dicts(self, texts: Iterable[object]) -> list[dict[str, Any]]:
        """Label texts, and return each result as flat values under the names that an output message has.

        A text that could not be labelled has `failure_reason` and `failure_message` instead.

        Raises:
            TypeError: see `classify`.
        """
        return [self._flat(result) for result in self.classify(texts)]

    def predict_frame(self, texts: Iterable[object]) -> Any:
        """Label texts, and return a table with one row a text and the columns of `to_dicts`.

        A polars series gives a polars data frame, an Arrow array a table, and anything else a pandas data
        frame, which has the index of the series that was passed. What a failed text has no value for is null.

        Raises:
            TypeError: see `classify`.
            PackagesMissing: pandas is needed and not installed.
        """
        return as_frame(self._kinds, self.to_dicts(texts), texts)

    def _flat(self, result: Prediction | Failure) -> dict[str, Any]:
        if isinstance(result, Failure):
            return {FAILURE_REASON: result.reason, FAILURE_MESSAGE: result.message}
        return self._encoder.fields(result, "")

    def __reduce__(self) -> tuple[Any, ...]:
        threads, batch, how = self._given
        settings = None if batch is None else tuple(batch.model_dump().items())
        packs = tuple((str(pack.path.resolve()), pack.revision) for pack in self.packs)
        return Classifier._unpickled, (packs, threads, settings, how)

    @classmethod
    def _unpickled(cls, packs: _Packs, threads: int, batch: _Batch, how: _How) -> "Classifier":
        """Return the classifier that a pickle stands for. Raises PackError if a pack has changed since."""
        return _loaded(packs, threads, batch, how)


@lru_cache(maxsize=8)
def _loaded(packs: _Packs, threads: int, batch: _Batch, how: _How) -> Classifier:
    settings = None if batch is None else BatchSettings.model_validate(dict(batch))
    marks, detect_language, long_text = how
    classifier = Classifier(
        [path for path, _ in packs],
        threads=threads,
        batch=settings,
        marks=marks,
        detect_language=detect_language,
        long_text=long_text,
    )
    for (path, revision), pack in zip(packs, classifier.packs, strict=True):
        if pack.revision != revision:
            raise PackError(f"{path} held revision {revision} when it was pickled, and now {pack.revision}")
    return classifier


def _marked(result: Prediction, guess: Guess) -> Prediction:
    return replace(result, lang=guess.language or UNKNOWN, supported=not guess.foreign)


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not visible(value)


def _blank() -> Failure:
    return Failure.of("classify", TextEmpty.reason, TextEmpty("the text is blank: nothing in it is visible"))
