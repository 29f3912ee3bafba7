"""One or more packs that label the same texts, with the results of all under names of their own."""

import contextlib
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from worker.errors import PackError, printable
from worker.heads import Head, Marks, claim_name
from worker.model.classifier import Classifier, Listener, Silent, by_windows
from worker.model.cpu import available_memory
from worker.model.pack import GRAPH, Pack, bundled_pack, load_pack, model_folder
from worker.model.tokenizer import Tokens
from worker.settings.groups import DEFAULT_LONG_TEXT, BatchSettings
from worker.types import Failure, LongText, Prediction

NONE_SHARED = "the packs side by side share no language"
_MEMORY_A_GRAPH = 3
"""Memory that a loaded graph takes, in sizes of its file, with room for what passes need."""


class PackSet:
    """Labels texts with one or more packs. `load` makes one.

    With one pack the results are those of its `Classifier`. With several, each prediction holds the results
    of all packs: see `named_heads` for the names. Packs with the same tokenizer share one tokenisation. A
    text that one of them cannot label gives a `Failure`.
    """

    def __init__(self, classifiers: Sequence[Classifier], listener: Listener | None = None) -> None:
        self.packs: tuple[Pack, ...] = tuple(classifier.pack for classifier in classifiers)
        self.heads, self._names = named_heads(self.packs)
        self._pack_names = pack_names(self.packs)
        self._listener: Listener = listener or Silent()
        sharing: dict[object, list[int]] = {}
        for place, classifier in enumerate(classifiers):
            sharing.setdefault(classifier.tokenizer_key, []).append(place)
        self._sharing = list(sharing.values())
        self._classifiers = [
            classifier.with_tokenizer_of(classifiers[sharing[classifier.tokenizer_key][0]])
            for classifier in classifiers
        ]

    @classmethod
    def load(
        cls,
        paths: Sequence[Path | str] = (),
        *,
        threads: int = 0,
        batch: BatchSettings | None = None,
        marks: Marks = "flagged",
        listener: Listener | None = None,
        long_text: LongText = DEFAULT_LONG_TEXT,
        warn: Callable[[str], None] = warnings.warn,
    ) -> Self:
        """Verify and load packs.

        Args:
            paths: their folders, or names of packs that ship; the bundled one when there are none.
            threads: parallel forward passes; 0 means as many as the machine or its cgroup allows.
            batch: how to cut micro-batches; the defaults serve a CPU.
            marks: in which texts token heads mark words.
            listener: called with what each window cost.
            long_text: what is read of texts that are longer than a pack reads at once.
            warn: called with a line if the packs may take more memory than there is, or share no language.

        Raises:
            PackError: a folder is not a pack, a byte of it has changed, its parts do not fit together, or a
                pack is given twice.
        """
        folders = [model_folder(Path(path)) for path in paths] or [bundled_pack()]
        if (line := memory_warning(folders)) is not None:
            warn(line)
        classifiers: list[Classifier] = []
        for folder in folders:
            classifier = Classifier.load(
                folder, threads=threads, batch=batch, marks=marks, listener=listener, long_text=long_text
            )
            _refuse_twice([*(other.pack for other in classifiers), classifier.pack])
            classifiers.append(classifier)
        loaded = cls(classifiers, listener)
        if loaded.languages is not None and not loaded.languages:
            warn(
                f"{NONE_SHARED}, so every text in a known language is marked as not supported; "
                "language.route sends each language to its own pack"
            )
        return loaded

    @property
    def model(self) -> str:
        """`name@revision` of each pack, joined by `+`."""
        return model_name(self.packs)

    @property
    def languages(self) -> frozenset[str] | None:
        """The languages that all of the packs read; None if none of them says what it reads."""
        said = [pack.languages for pack in self.packs if pack.languages is not None]
        return frozenset.intersection(*said) if said else None

    def classify(self, texts: Iterable[object]) -> list[Prediction | Failure]:
        """Label texts as `Classifier.classify` does. Result i belongs to text i.

        Raises:
            TypeError: one text instead of several, or a table with more than one column.
        """
        return by_windows(texts, self._window)

    def _window(self, texts: Sequence[object]) -> list[Prediction | Failure]:
        answers: list[list[Prediction | Failure]] = [[] for _ in self._classifiers]
        for places in self._sharing:
            tokens = self._classifiers[places[0]].tokens(texts)
            for place in places:
                answers[place] = self._labelled(place, tokens)
        if len(answers) == 1:
            return answers[0]
        return [self._joined(of_text) for of_text in zip(*answers, strict=True)]

    def _labelled(self, place: int, tokens: Sequence[Tokens | Failure]) -> list[Prediction | Failure]:
        started = time.perf_counter()
        answers = self._classifiers[place].labelled(tokens)
        self._listener.pack(self._pack_names[place], time.perf_counter() - started)
        return answers

    def _joined(self, answers: Sequence[Prediction | Failure]) -> Prediction | Failure:
        """Put the answers of all packs for one text together."""
        predictions = [answer for answer in answers if isinstance(answer, Prediction)]
        if len(predictions) < len(answers):
            return next(answer for answer in answers if isinstance(answer, Failure))
        named = list(zip(self._names, predictions, strict=True))
        return Prediction(
            {names[head]: result for names, answer in named for head, result in answer.heads.items()},
            max(answer.token_count for answer in predictions),
            any(answer.truncated for answer in predictions),
            {names[head]: result for names, answer in named for head, result in answer.spans.items()},
        )


def load_packs(paths: Sequence[Path | str]) -> tuple[Pack, ...]:
    """Verify the packs that `PackSet.load` would load, without loading their graphs.

    Raises:
        PackError: see `PackSet.load`.
    """
    packs = [load_pack(Path(path)) for path in paths] or [load_pack(bundled_pack())]
    _refuse_twice(packs)
    return tuple(packs)


def named_heads(packs: Sequence[Pack]) -> tuple[tuple[Head, ...], list[dict[str, str]]]:
    """Return all heads of all packs under names that differ, and for each pack its heads' new names.

    A name that only one pack has stays as it is. One that several have gets the name of its pack in front:
    `compact_sentiment`.
    """
    shared = Counter(head.name for pack in packs for head in pack.outputs)
    taken = {name for name, count in shared.items() if count == 1}
    heads: list[Head] = []
    names: list[dict[str, str]] = []
    for prefix, pack in zip(pack_names(packs), packs, strict=True):
        own = {
            head.name: head.name if shared[head.name] == 1 else claim_name(f"{prefix}_{head.name}", taken)
            for head in pack.outputs
        }
        names.append(own)
        heads += (_renamed(head, own) for head in pack.outputs)
    return tuple(heads), names


def pack_names(packs: Sequence[Pack]) -> list[str]:
    """Return a name for each pack that can begin a column: its own, numbered if another pack has it too."""
    taken: set[str] = set()
    plain = (re.sub(r"\W+", "_", pack.name).strip("_") or "pack" for pack in packs)
    return [claim_name(name, taken) for name in plain]


def model_name(packs: Sequence[Pack]) -> str:
    """Return `name@revision` of each pack, joined by `+`."""
    return "+".join(f"{pack.name}@{pack.revision}" for pack in packs)


def memory_warning(folders: Sequence[Path], available: int | None = None) -> str | None:
    """Return a line about packs that together may take more memory than this process has; None if they fit.

    `available` is in bytes; by default what the machine or the cgroup allows.
    """
    size = 0
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):  # loading it says what is wrong
            size += (folder / GRAPH).stat().st_size
    need, available = _MEMORY_A_GRAPH * size, available_memory() if available is None else available
    if need <= available:
        return None
    names = ", ".join(printable(folder.name) for folder in folders)
    return (
        f"the model{'s' if len(folders) > 1 else ''} {names} may need {need / 2**30:.1f} GiB of memory, "
        f"and this process may use {available / 2**30:.1f} GiB"
    )


def _refuse_twice(packs: Sequence[Pack]) -> None:
    revisions = [pack.revision for pack in packs]
    for place, pack in enumerate(packs):
        if pack.revision in revisions[:place]:
            first = packs[revisions.index(pack.revision)].path
            also = "" if first == pack.path else f", and as {first}"
            raise PackError(f"the pack {pack.path} is given twice{also}")


def _renamed(head: Head, names: dict[str, str]) -> Head:
    gate = head.gate and replace(head.gate, head=names[head.gate.head])
    return replace(head, name=names[head.name], gate=gate)
