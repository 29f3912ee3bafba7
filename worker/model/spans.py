"""Turns the logits of token heads into marked tokens, and these into ranges of the text."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.errors import InferenceError
from worker.heads import Head
from worker.model.heads import sigmoid
from worker.types import Range

_JOINER = "\u200d"
_SKIN_TONES = frozenset(map(chr, range(0x1F3FB, 0x1F400)))
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Mn", "Mc", "Me"})
"""Unicode's categories of control and format characters, surrogates and combining marks."""
_NO_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff]")
"""Thai, Lao, Burmese, Khmer and kana: what stands between two spaces there is more than a word."""


def whole_words(text: str, ranges: Sequence[Range], words: Sequence[int | None]) -> list[Range]:
    """Return for each token the range of its word in `text`, so that no word is marked in part.

    `ranges` are the tokens' own, `words` the numbers of the tokenizer's words, None for a special token.
    Tokens of scripts without spaces keep their own range.
    """
    found: dict[int, Range] = {}
    for word, (start, end) in zip(words, ranges, strict=True):
        if word is not None and start < end:
            first, last = found.get(word, (start, end))
            found[word] = (min(first, start), max(last, end))
    spaced = {word for word, (start, end) in found.items() if not _NO_SPACES.search(text, start, end)}
    return [
        found[word] if word in spaced and start < end else (start, end)
        for word, (start, end) in zip(words, ranges, strict=True)
    ]


def joined(text: str, marked: Iterable[Range]) -> tuple[Range, ...]:
    """Join the ranges of marked tokens (in the order of the text) and return what they cover.

    Ranges that touch, overlap, or have nothing visible between them become one. None of them splits a visible
    sign: combining accents, variation selectors, skin tones and whatever a zero-width joiner attaches belong
    to the character before them. Empty ranges are left out.
    """
    found: list[Range] = []
    for start, end in marked:
        if start >= end:
            continue
        start, end = _whole_signs(text, start, end)  # noqa: PLW2901 - the same range, widened
        if found and not _shows(text[found[-1][1] : start]):
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)


def _whole_signs(text: str, start: int, end: int) -> Range:
    while start > 0 and (_belongs_before(text[start]) or text[start - 1] == _JOINER):
        start -= 1
    while end < len(text) and (_belongs_before(text[end]) or text[end - 1] == _JOINER):
        end += 1
    return start, end


def _belongs_before(character: str) -> bool:
    """Whether a character is part of the sign before it."""
    return character == _JOINER or character in _SKIN_TONES or unicodedata.category(character).startswith("M")


def _shows(between: str) -> bool:
    """Whether anything in it is visible: white space, control characters and stray accents are not."""
    return any(not sign.isspace() and unicodedata.category(sign) not in _UNSEEN for sign in between)


def reaching(scores: NDArray[np.float64], threshold: float, relative: float) -> NDArray[np.bool_]:
    """Return which tokens of a text are marked, from their probabilities (tokens,).

    Without `relative`: those of at least `threshold`. With it: if the strongest reaches `threshold`, those
    that reach this share of the strongest. To maximise F1, the best threshold for a text is half of the F1
    that it allows (Lipton et al. 2014, arXiv:1402.1892), so it is lower where the model is less certain.
    """
    strongest = scores.max(initial=0.0)
    least = relative * strongest if relative else threshold
    return np.asarray((scores >= least) & (strongest >= threshold))


def marked_tokens(
    head: Head, rows: NDArray[np.int64], logits: NDArray[np.float32], lengths: Sequence[int]
) -> dict[int, NDArray[np.bool_]]:
    """Return, for each text of the batch that a token head read, whether each of its tokens is marked.

    `rows` (read) are the numbers of these texts in the batch, `logits` (read, longest) their tokens' logits,
    padding included; `lengths` counts the tokens of each text in the batch. The first and the last token are
    not part of the text and never marked.

    Raises:
        InferenceError: the outputs do not belong to such a batch, or a logit is not finite.
    """
    if logits.shape != (len(rows), max(lengths)) or not ((rows >= 0) & (rows < len(lengths))).all():
        raise InferenceError(f"head {head.name}: results of shape {logits.shape} for {len(rows)} texts")
    found = {}
    for row, values in zip(rows.tolist(), logits.astype(np.float64), strict=True):
        own = values[: lengths[row]]
        if not np.isfinite(own).all():
            raise InferenceError(f"head {head.name}: the model gave a logit that is not finite")
        marks = np.zeros(len(own), dtype=np.bool_)
        marks[1:-1] = reaching(sigmoid(own[1:-1] / head.temperature), head.threshold, head.relative)
        found[row] = marks
    return found
