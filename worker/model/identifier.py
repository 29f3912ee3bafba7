"""The language of texts, by py3langid's model.

py3langid is langid.py (Lui and Baldwin 2012, "langid.py: An Off-the-shelf Language Identification Tool",
ACL), retrained: naive Bayes over byte n-grams. Its model is part of the package, so nothing is fetched.
docs/explanation/language-identifier.md says why it was chosen, and where the numbers below come from.

Only its model is used. Its own code takes texts one by one; what is here takes a window of them side by side
and gives the same probabilities.
"""

import io
import lzma
import re
import unicodedata
from array import array
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from worker.errors import LanguageError
from worker.model.text.markup import read_markup
from worker.model.text.shapes import plain_letters
from worker.settings.languages import canonical

CHARACTERS = 240
"""How much of a text is examined. More does not improve the result."""

FOREIGN, SHORT_FOREIGN, SHORT_BYTES = 100, 10_000, 12
"""How many times as likely as all languages that are read another one must be, for a text to be foreign; more
for texts under so many bytes of UTF-8, which say enough only where their script does."""

_NO_LANGUAGE = "zxx"
"""What the identifier calls text without words (ISO 639-2's own code)."""

_NO_WORDS = re.compile(r"https?://\S+|www\.\S+|[@#]\w+")
"""Links, mentions and hashtags belong to no language; in a short post they would decide the answer."""

_REPEATED = re.compile(r"(\w{1,3}?)\1{2,}")
"""Laughter and long letters (`hahaha`, `sooo`) are in every language; repeated, they would weigh too much."""

_SIDE_BY_SIDE = 1_024
"""No more than so many at a time: memory grows with their number times the longest."""

_FEW = 16
"""So many texts are walked side by side; fewer are quicker one by one."""

_UNREADABLE = (OSError, EOFError, ValueError, KeyError, ImportError, BadZipFile, lzma.LZMAError)
"""What a damaged model, or one of another version, may raise."""

_Floats = NDArray[np.float32]


class Guess(NamedTuple):
    """What the identifier says of a text.

    Fields:
        language: its ISO 639 code; None if it is not sure enough.
        foreign: it is sure that the text is in none of the languages that are read, whichever it is in.
    """

    language: str | None
    foreign: bool = False


_NOTHING = Guess(None)


class Identifier:
    """Names the languages of texts. All methods may be called from several threads.

    Args:
        candidates: languages to choose among; if empty, all that the model knows.
        min_confidence: probability from 0 to 1 below which no language is named.

    Raises:
        LanguageError: py3langid or its model is missing, or the model does not know a candidate.
    """

    def __init__(self, candidates: Sequence[str] = (), min_confidence: float = 0.5) -> None:
        self._model = _Model.load()
        self._min_confidence = min_confidence
        # The model uses three-letter codes for a few languages that have a two-letter one, and has two
        # columns for a language that is written in two scripts.
        self._names = [canonical(label) for label in self._model.labels]
        known = sorted({name for name in self._names if name != _NO_LANGUAGE})
        if unknown := [code for code in candidates if code not in known]:
            raise LanguageError(
                f"language.candidates: the identifier does not know {', '.join(unknown)}; "
                f"it knows {', '.join(known)}"
            )
        # "No language" stays a choice, or text without words would be given one of the languages.
        chosen = {*candidates, _NO_LANGUAGE} if candidates else {*self._names}
        self._left_out = np.array([name not in chosen for name in self._names])
        self._first = np.array([self._names.index(name) for name in self._names])

    def __call__(self, texts: Sequence[str], reads: Collection[str] | None = None) -> list[Guess]:
        """Guess the languages of texts. Guess i belongs to text i. Never raises.

        Args:
            texts: the texts.
            reads: the languages that are read. Another one is then named only if the text is foreign. If this
                is None, or holds a language that the model does not know, no text is foreign. If it is empty,
                every text with words is.
        """
        found: list[Guess] = []
        for start in range(0, len(texts), _SIDE_BY_SIDE):
            found += self._window(texts[start : start + _SIDE_BY_SIDE], reads)
        return found

    def _window(self, texts: Sequence[str], reads: Collection[str] | None) -> list[Guess]:
        words = [_words(text) for text in texts]
        places = [place for place, each in enumerate(words) if each]
        guesses = [_NOTHING] * len(texts)
        if not places:
            return guesses
        own = [name in (reads or ()) for name in self._names]
        judged = reads is not None and all(code in self._names for code in reads)
        data = [_as_bytes(words[place]) for place in places]
        shares = self._shares(data)
        best = shares.argmax(axis=1)
        confident = shares[np.arange(len(best)), best]
        read = shares @ np.array(own, np.float32)
        for place, column, share, of_read, each in zip(
            places, best.tolist(), confident.tolist(), read.tolist(), data, strict=True
        ):
            name = self._names[column]
            if name == _NO_LANGUAGE:
                continue
            bar = SHORT_FOREIGN if len(each) < SHORT_BYTES else FOREIGN
            foreign = judged and not own[column] and share >= bar * of_read
            named = share >= self._min_confidence and (foreign or own[column] or not judged)
            guesses[place] = Guess(name if named else None, foreign)
        return guesses

    def _shares(self, data: Sequence[bytes]) -> _Floats:
        """Return the probability of each of the model's columns for each text, a row a text.

        A language with two columns has both probabilities in its first one.
        """
        scores = self._model.scores(data)
        scores[:, self._left_out] = -np.inf
        # The square root of the length keeps long texts from being too sure: py3langid's own calibration.
        scores /= np.sqrt([[len(each)] for each in data], dtype=np.float32)
        np.exp(scores - scores.max(axis=1, keepdims=True), out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        for column, first in enumerate(self._first):
            if column != first:
                scores[:, first] += scores[:, column]
                scores[:, column] = 0
        return scores


def _words(text: str) -> str:
    """Return the part of a text that says its language, each word once; nothing if it has no letter."""
    plain = _REPEATED.sub(r"\1\1", _NO_WORDS.sub(" ", _seen(text)))
    once: dict[str, str] = {}
    for word in plain.split():
        once.setdefault(word.casefold(), word)
    words = " ".join(once.values())[:CHARACTERS]
    return words if any(letter.isalpha() for letter in words) else ""


def _seen(text: str) -> str:
    """Return the beginning of what a reader sees of a text: as the packs read it, in plain letters."""
    seen = text[: 4 * CHARACTERS]
    if any(sign in seen for sign in "&<\\"):
        read = read_markup(text[: 16 * CHARACTERS])
        seen = read.text[: 4 * CHARACTERS] if read is not None else seen
    return plain_letters(seen)


def _as_bytes(text: str) -> bytes:
    if text.isupper():
        text = text.lower()
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")


def _plain(values: NDArray[Any], kind: str) -> "array[int]":
    """Return whole numbers as an array of this type code, which a loop reads faster. Raises ValueError."""
    found: array[int] = array(kind)
    if values.dtype != np.dtype(found.typecode):
        raise ValueError(f"it has numbers of type {values.dtype}")
    found.frombytes(values.tobytes())
    return found


class _Model:
    """py3langid's automaton, which finds the n-grams in a text, and its weights for each of them."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.labels: list[str] = arrays["classes"].tolist()
        self._next = _plain(arrays["nextmove"], "I")
        self._row = _plain(arrays["nextmove_row"], "H")
        self._found = _plain(arrays["out_feat"], "i")
        # Half precision: the weights of a text are widened when it comes.
        self._weights = arrays["ptc"].view(np.uint16)
        self._prior: _Floats = arrays["pc"]
        self._wide = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)

    @classmethod
    @lru_cache(maxsize=1)
    def load(cls) -> Self:
        """Load the model once for this process.

        Raises:
            LanguageError: it is not there, or not as this version knows it.
        """
        try:
            from py3langid.langid import MODEL_DIR, MODEL_FILE  # noqa: PLC0415 - slow to load

            # py3langid unpacks it into a temporary file: in a container that is read only there is none.
            # Reading it piece by piece takes 80 MB less for a moment, and three times as long.
            with lzma.open(MODEL_DIR / MODEL_FILE) as packed:
                content = io.BytesIO(packed.read())
            with np.load(content, allow_pickle=False) as arrays:
                return cls(arrays)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "py3langid":
                raise
            problem = "py3langid is not installed: pip install 'py3langid>=0.4,<0.5'"
        except _UNREADABLE as error:
            problem = f"py3langid's model cannot be read ({error}): install it again"
        raise LanguageError(f"language.detect: {problem}; or set language.detect to false")

    def scores(self, texts: Sequence[bytes]) -> _Floats:
        """Return the log-likelihood of each column for each text, up to a constant a text. A row a text."""
        owners, features = self._features(texts)
        keys, counts = np.unique(owners * len(self._weights) + features, return_counts=True)
        owners, features = np.divmod(keys, len(self._weights))
        strengths = np.log1p(counts.astype(np.float32))
        starts = np.searchsorted(owners, np.arange(len(texts) + 1)).tolist()
        scores = np.zeros((len(texts), len(self.labels)), np.float32)
        for row, (start, end) in enumerate(pairwise(starts)):
            if start < end:  # no n-gram that the model knows: every language is as likely as any other
                weights = self._wide.take(self._weights.take(features[start:end], axis=0))
                scores[row] = strengths[start:end] @ weights + self._prior
        return scores

    def _features(self, texts: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find the n-grams in texts: for each that occurs the number of the text, and its own number."""
        if len(texts) < _FEW:
            found = [self._walk(text) for text in texts]
            owners = np.repeat(np.arange(len(texts)), [len(each) for each in found])
            return owners, np.array([feature for each in found for feature in each], np.int64)
        # All texts take one step at a time, the longest first, so that those with a byte left stay together.
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        lengths = np.array([len(texts[place]) for place in order])
        letters = np.zeros((lengths[0], len(texts)), np.uint8)
        for column, place in enumerate(order):
            letters[: lengths[column], column] = np.frombuffer(texts[place], np.uint8)
        moves, rows = np.asarray(self._next), np.asarray(self._row).astype(np.int64) << 8
        outputs = np.asarray(self._found)
        seen = np.full(letters.shape, -1, np.int64)
        states = np.zeros(len(texts), np.int64)
        going = np.searchsorted(-lengths, -np.arange(lengths[0]), side="left").tolist()
        for step, count in enumerate(going):
            states = moves[rows[states[:count]] + letters[step, :count]]
            seen[step, :count] = outputs[states]
        steps, columns = np.nonzero(seen >= 0)
        return np.array(order)[columns], seen[steps, columns]

    def _walk(self, text: bytes) -> list[int]:
        moves, row, outputs = self._next, self._row, self._found
        state, seen = 0, []
        for letter in text:
            state = moves[(row[state] << 8) + letter]
            if outputs[state] >= 0:
                seen.append(outputs[state])
        return seen
