"""Texts in, labels out, without Kafka: `schedule` and `classify` put together."""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from worker.model.batching import plan
from worker.model.model import Model
from worker.model.pack import Pack
from worker.model.tokenizer import Tokens
from worker.settings.groups import BatchSettings
from worker.types import Failure, Prediction

_WINDOW = 1_024
"""Texts sorted together. Padding falls to about 3 % at 256 and hardly further; memory grows with it."""


class Listener(Protocol):
    """Who wants to know what a call cost. Times in seconds. Called from several threads."""

    def stage(self, name: str, seconds: float) -> None:
        """Take the duration of one stage of one window: `tokenise`."""
        ...

    def micro_batch(self, rows: int, tokens: int, padded_tokens: int, seconds: float) -> None:
        """Take the size of one forward pass and its duration."""
        ...


class Silent:
    """A listener that nobody needs."""

    def stage(self, name: str, seconds: float) -> None:
        """Drop it."""

    def micro_batch(self, rows: int, tokens: int, padded_tokens: int, seconds: float) -> None:
        """Drop it."""


class Classifier:
    """Labels texts with one model pack, in micro-batches of like length.

    The same text gets the same scores whatever stands beside it. Micro-batches run side by side, one on each
    of the model's threads: passes are too short to be shared out within. One caller at a time.

    Args:
        model: a loaded pack.
        batch: how to cut micro-batches; the defaults serve a CPU.
        listener: told what each window cost.
    """

    def __init__(
        self, model: Model, batch: BatchSettings | None = None, listener: Listener | None = None
    ) -> None:
        self._model = model
        self._batch = batch or BatchSettings()
        self._listener: Listener = listener or Silent()
        self._pool = (
            ThreadPoolExecutor(model.threads, thread_name_prefix="classify") if model.threads > 1 else None
        )

    @classmethod
    def load(cls, path: Path | str | None = None, *, threads: int = 0) -> "Classifier":
        """Load a pack: the bundled one, or the folder at `path`.

        Args:
            path: folder of a pack.
            threads: forward passes side by side; 0 takes what the machine or its cgroup grants.

        Raises:
            PackError: the folder is no pack, or a byte of it has changed.
        """
        return cls(Model.load(Path(path) if path is not None else None, threads=threads))

    @property
    def pack(self) -> Pack:
        """The pack in use."""
        return self._model.pack

    def classify(self, texts: Sequence[str]) -> list[Prediction | Failure]:
        """Label texts. Result i belongs to text i; a text that cannot be labelled gives a `Failure`."""
        results: list[Prediction | Failure] = []
        for start in range(0, len(texts), _WINDOW):
            results += self._window(texts[start : start + _WINDOW])
        return results

    def _window(self, texts: Sequence[str]) -> list[Prediction | Failure]:
        started = time.perf_counter()
        tokens = self._model.tokenize(texts)
        self._listener.stage("tokenise", time.perf_counter() - started)
        batches = plan(
            [len(row.ids) for row in tokens],
            max_padded_tokens=self._batch.max_padded_tokens,
            max_padding_share=self._batch.max_padding_share,
        )
        results: list[Prediction | Failure | None] = [None] * len(texts)
        batches.reverse()  # the longest first, so that the threads end together
        answers = self._side_by_side([tokens[index] for index in batch] for batch in batches)
        for batch, answered in zip(batches, answers, strict=True):
            for index, answer in zip(batch, answered, strict=True):
                results[index] = answer
        return [result for result in results if result is not None]

    def _side_by_side(self, batches: Iterable[list[Tokens]]) -> Iterable[Sequence[Prediction | Failure]]:
        if self._pool is None:
            return map(self._micro_batch, batches)
        return self._pool.map(self._micro_batch, batches)

    def _micro_batch(self, rows: list[Tokens]) -> Sequence[Prediction | Failure]:
        started = time.perf_counter()
        try:
            predictions = self._model.predict(rows)
        except Exception as error:  # noqa: BLE001 - whatever one text does to the model, it costs that text alone
            if len(rows) > 1:
                return [answer for row in rows for answer in self._micro_batch([row])]
            return [_failure(error)]
        lengths = [len(row.ids) for row in rows]
        seconds = time.perf_counter() - started
        self._listener.micro_batch(len(rows), sum(lengths), len(rows) * max(lengths), seconds)
        return predictions


def _failure(error: Exception) -> Failure:
    kind = type(error)
    first_line = str(error).partition("\n")[0]
    return Failure(
        stage="classify",
        reason="inference_failed",
        message=f"the model could not label this text: {kind.__name__}: {first_line}",
        exception=f"{kind.__module__}.{kind.__qualname__}",
    )
