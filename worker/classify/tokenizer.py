"""Texts to token numbers, with the `tokenizers` library alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer as RustTokenizer

from worker.classify.errors import PackError

CHARACTERS_A_TOKEN = 64
"""A text is cut to so many characters for each token the model reads, before it is tokenised.

Ordinary words take 1 to 10. The cut is there so that a megabyte of text costs no more than a long review
does; where it takes effect, the result says `truncated`, since its tail was not read.
"""


class Tokens(NamedTuple):
    """One text as the model reads it: token numbers with [CLS] and [SEP]; `truncated` if cut short."""

    ids: list[int]
    truncated: bool


class Tokenizer:
    """The tokenizer of a pack. To be used from one thread at a time: the library does not share it."""

    def __init__(self, path: Path, max_tokens: int) -> None:
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
        limit = self._max_characters
        cut = [text if len(text) <= limit else text[:limit] for text in texts]
        try:
            encodings = self._rust.encode_batch_fast(cut)
        except TypeError:
            # A lone surrogate is no Unicode character, and the library refuses the whole batch for it.
            encodings = self._rust.encode_batch_fast([_without_surrogates(text) for text in cut])
        return [
            Tokens(encoding.ids, len(text) > limit or bool(encoding.overflowing))
            for text, encoding in zip(texts, encodings, strict=True)
        ]


def _without_surrogates(text: str) -> str:
    """Join surrogate pairs into the characters they stand for; what stays alone becomes U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
