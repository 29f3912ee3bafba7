"""Choosing which rows of a table are kept, and which of them are held out.

A bounded sample without duplicates is drawn from a table of any length. A row's key hashes the seed and
the letters and digits of its text, and the rows with the smallest keys are kept: a uniform draw without
replacement over the distinct texts (bottom-k, Cohen and Kaplan 2007). Duplicates and the order of the file do
not change it.
"""

import hashlib
import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from worker.errors import TrainingError
from worker.lab.data.readers import text_key

Kept = TypeVar("Kept")
"""What is stored for a text: its token ids, or the text itself."""

FEWEST = 4
"""The fewest rows that a label needs: three for training and one for measuring."""

MOST_HELD = 10_000
"""The most held-out rows: with more, intervals hardly get narrower, and they are stored as text."""

_CHUNK = 2_048


def row_key(seed: int, text: str) -> int:
    """Return a text's key, 0 to 2**64 - 1; duplicates (without case, spaces and punctuation) share it."""
    digest = hashlib.blake2b(text_key(text).encode(), digest_size=8, key=str(seed).encode())
    return int.from_bytes(digest.digest())


@dataclass(slots=True)
class Counts:
    """How many rows were read, kept, and left out for which reason."""

    read: int = 0
    empty_texts: int = 0
    empty_labels: int = 0
    bad: int = 0
    copies: int = 0
    """Rows whose text occurred before with the same labels."""
    contradictions: int = 0
    """Rows whose text occurred before with other labels; the first row is kept."""
    left: int = 0
    """Rows left out because of the bound."""

    @property
    def empty(self) -> int:
        """Rows without a text or without a label."""
        return self.empty_texts + self.empty_labels


@dataclass(slots=True)
class _Entry(Generic[Kept]):
    labels: tuple[str, ...]
    kept: Kept | None = None


@dataclass(slots=True)
class BottomK(Generic[Kept]):
    """Takes rows one by one; holds at most `bound` of them (0: all).

    `keep` converts texts into what is stored for them, some thousands at a time.
    """

    seed: int
    bound: int
    keep: Callable[[Sequence[str]], Sequence[Kept]]
    counts: Counts = field(default_factory=Counts)
    _entries: dict[int, _Entry[Kept]] = field(default_factory=dict)
    _largest: list[int] = field(default_factory=list)
    """The kept keys, negative, as a heap; only where there is a bound."""
    _waiting: list[tuple[int, str]] = field(default_factory=list)

    def add(self, text: str, labels: tuple[str, ...]) -> None:
        """Add a row, unless it is a duplicate or the bound excludes it."""
        key = row_key(self.seed, text)
        known = self._entries.get(key)
        if known is not None:
            if set(known.labels) == set(labels):
                self.counts.copies += 1
            else:
                self.counts.contradictions += 1
            return
        if self.bound and not self._make_room(key):
            self.counts.left += 1
            return
        self._entries[key] = _Entry(labels)
        self._waiting.append((key, text))
        if len(self._waiting) == _CHUNK:
            self._flush()

    def rows(self) -> Iterator[tuple[int, tuple[str, ...], Kept]]:
        """Yield key, labels and stored value in the order of the keys, which is random."""
        self._flush()
        for key in sorted(self._entries):
            entry = self._entries[key]
            if entry.kept is not None:
                yield key, entry.labels, entry.kept

    def __len__(self) -> int:
        return len(self._entries)

    def _make_room(self, key: int) -> bool:
        """Drop the largest key if the sample is full; return False if `key` itself is the largest."""
        if len(self._entries) < self.bound:
            heapq.heappush(self._largest, -key)
            return True
        gone = -heapq.heappushpop(self._largest, -key)
        if gone == key:
            return False
        del self._entries[gone]
        self.counts.left += 1
        return True

    def _flush(self) -> None:
        waiting = [(key, text) for key, text in self._waiting if key in self._entries]
        self._waiting.clear()
        for (key, _), kept in zip(waiting, self.keep([text for _, text in waiting]), strict=True):
            self._entries[key].kept = kept


def clean(text: Any) -> str | None:
    """Return a field as text, or None if it has none. Lone surrogates are replaced."""
    if text is None or (isinstance(text, float) and text != text):  # noqa: PLR0124 - NaN differs from itself
        return None
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    text = str(text).strip()
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text or None


def held_out(labels: Sequence[tuple[int, ...]], share: float) -> list[int]:
    """Return which rows are held out, in ascending order.

    `labels` are those of rows in random order. A row counts under the rarest of its labels (so that rare
    labels are served first, as in Sechidis and others 2011); of each such group about `share` is held out,
    and one row at least where the group has FEWEST or more.
    """
    counts = Counter(label for row in labels for label in row)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for number, row in enumerate(labels):
        groups[min(row, key=lambda label: (counts[label], label), default=-1)].append(number)
    share = min(share, MOST_HELD / max(1, len(labels)))
    held: list[int] = []
    for group in groups.values():
        count = math.floor(share * len(group) + 0.5)
        if count == 0 and len(group) >= FEWEST:
            count = 1
        held.extend(group[: min(count, len(group) - 1)])
    return sorted(held)


def check_labels(where: object, names: Sequence[str], labels: Sequence[tuple[int, ...]], fewest: int) -> None:
    """Refuse labels from which nothing can be learnt.

    Raises:
        TrainingError: one class only, or fewer than `fewest` rows with a label.
    """
    counts = Counter(label for row in labels for label in row)
    if not labels:
        raise TrainingError(f"{where}: no row has both a text and a label")
    if len(names) < 2 and all(labels):
        raise TrainingError(f"{where}: all rows are labelled {names[0]!r}: there is nothing to tell apart")
    rare = [(counts[number], name) for number, name in enumerate(names) if counts[number] < fewest]
    if rare:
        shown = ", ".join(f"{name!r} {count}" for count, name in sorted(rare)[:6])
        more = f" and {len(rare) - 6} more" if len(rare) > 6 else ""
        raise TrainingError(
            f"{where}: too few rows for some labels, {fewest} each are needed ({shown}{more}): "
            f"add rows, or merge or leave out these labels"
        )
