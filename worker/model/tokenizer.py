"""Texts to token numbers, with the `tokenizers` library alone."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer as RustTokenizer

from worker.errors import InferenceError, PackError
from worker.model.spans import whole_words
from worker.model.text.normaliser import RAW, Normaliser
from worker.types import Range

CHARACTERS_A_TOKEN = 64
"""A text is cut to so many characters for each token the model reads, before it is tokenised.

Ordinary words take 1 to 10. The cut is there so that a megabyte of text costs no more than a long review
does; where it takes effect, the result says `truncated`, since its tail was not read.
"""


class Tokens(NamedTuple):
    """One text as the model reads it: token numbers with [CLS] and [SEP]; `truncated` if cut short.

    `text` is the text itself: where a head marks tokens, their places in it are asked for.
    """

    ids: list[int]
    truncated: bool
    text: str = ""


class Tokenizer:
    """The tokenizer of a pack, which prepares texts as `handling` does.

    Several threads may use it: the library refuses them only where one changes its settings, and these stay
    as they are made here.
    """

    def __init__(self, path: Path, max_tokens: int, handling: Normaliser = RAW) -> None:
        """Read `tokenizer.json` at `path`; no text becomes more than `max_tokens` tokens.

        Raises:
            PackError: the file cannot be read, or does not describe a tokenizer.
        """
        try:
            self._rust = RustTokenizer.from_file(str(path))
        except Exception as error:
            # The library raises plain Exception for whatever it dislikes.
            raise PackError(f"{path} is no tokenizer that can be read: {_one_line(error)}") from error
        # A packaged tokenizer.json carries the padding and truncation it was trained with.
        self._rust.no_padding()
        self._rust.no_truncation()
        self._rust.enable_truncation(max_tokens)
        # "[SEP]" typed by a user is five characters of text, not the end of the message.
        self._rust.encode_special_tokens = True
        self._max_characters = max_tokens * CHARACTERS_A_TOKEN
        self._handling = handling

    @property
    def vocab_size(self) -> int:
        """How many token numbers there are, added tokens included."""
        return int(self._rust.get_vocab_size())

    def words(self) -> list[str]:
        """Return the vocabulary's whole words, in its order: no special tokens, no word parts."""
        special = {token.content for token in self._rust.get_added_tokens_decoder().values()}
        vocabulary = sorted(self._rust.get_vocab().items(), key=lambda item: item[1])
        return [word for word, _ in vocabulary if word not in special and not word.startswith("##")]

    def __call__(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise texts; the result has their length and order. Never fails on odd Unicode."""
        if not texts:
            return []
        limit, prepare = self._max_characters, self._handling.apply
        cut = [text if len(text) <= limit else text[:limit] for text in texts]
        try:
            encodings = self._rust.encode_batch_fast([prepare(text) for text in cut])
        except TypeError:
            # A lone surrogate is no Unicode character, and the library refuses the whole batch for it.
            encodings = self._rust.encode_batch_fast([prepare(_without_surrogates(text)) for text in cut])
        return [
            Tokens(encoding.ids, len(text) > limit or bool(encoding.overflowing), text)
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def ranges(self, tokens: Tokens) -> list[Range]:
        """Return the range in `tokens.text` of each token's word, in code points; empty for marks.

        A word is what the tokenizer cuts tokens from; see `spans.whole_words`. The text is tokenised again
        for it: places cost time, and few texts are asked for theirs.

        Raises:
            InferenceError: the tokens are not those of the text.
        """
        text, places = _with_places(tokens.text[: self._max_characters])
        prepared, spans = self._handling.with_offsets(text)
        encoding = self._rust.encode(prepared)
        read = len(tokens.ids) - 1  # the last is [SEP], wherever the text was cut
        if encoding.ids[:read] != tokens.ids[:read]:
            raise InferenceError("the tokens are not those of the text that comes with them")
        ranges = [
            (places[spans[start][0]], places[spans[end - 1][1]]) if start < end else (0, 0)
            for start, end in encoding.offsets[:read]
        ]
        return [*whole_words(tokens.text, ranges, encoding.word_ids[:read]), (0, 0)]


_PAIRS = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def _without_surrogates(text: str) -> str:
    """Join surrogate pairs into the characters they stand for; what stays alone becomes U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _with_places(text: str) -> tuple[str, Sequence[int]]:
    """Return the text without surrogates, and where each of its characters begins, and the end, in `text`."""
    clean = _without_surrogates(text)
    if len(clean) == len(text):
        return clean, range(len(text) + 1)
    seconds = {match.start() + 1 for match in _PAIRS.finditer(text)}
    return clean, [place for place in range(len(text) + 1) if place not in seconds]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
