"""Turns texts into token ids, using only the `tokenizers` library: the same in training and in service."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tokenizers import Encoding
from tokenizers import Tokenizer as RustTokenizer

from worker.errors import InferenceError, PackError, one_line
from worker.model.forks import no_fork
from worker.model.spans import whole_words
from worker.model.text.normaliser import RAW, Normaliser
from worker.model.tokenizer_file import check_tokenizer
from worker.types import Range

CHARACTERS_A_TOKEN = 64
"""A text is cut to this many characters for each token the model reads, before it is tokenised.

Ordinary words take 1 to 10. The cut is there so that a megabyte of text costs no more than a long review
does; where it takes effect, the result says `truncated`, since its tail was not read.
"""

_AT_FIRST = 8
"""This many prepared characters for each token the model reads are tokenised at first, and more only if these
are not enough."""

_MARGIN = 16
"""How many words must follow what is read before the rest of a text cannot change it: the end of what was
tokenised may lie within a word, a sign or an added token."""


class Tokens(NamedTuple):
    """One text as the model reads it: token numbers with [CLS] and [SEP]; `truncated` if cut short.

    `text` is the text itself: if a head marks tokens, their places in it are needed.
    """

    ids: list[int]
    truncated: bool
    text: str = ""


class Places(NamedTuple):
    """Where the tokens of a text are, one entry per token: its own range, and the number of its word.

    [CLS] and [SEP] have an empty range and no word.
    """

    ids: list[int]
    ranges: list[Range]
    words: list[int | None]


class Tokenizer:
    """A tokenizer that prepares texts as `handling` does. Two with the same `key` give the same tokens.

    Several threads may use it: the library refuses them only when one changes its settings, which never
    change after `__init__`.
    """

    def __init__(
        self, path: Path, max_tokens: int, handling: Normaliser = RAW, content: bytes | None = None
    ) -> None:
        """Read `tokenizer.json` at `path`; no text becomes more than `max_tokens` tokens.

        With `content`, what was read from the file already, `path` is only named in errors.

        Raises:
            PackError: the file cannot be read, or does not describe a tokenizer that is safe to use.
        """
        content = _content(path) if content is None else content
        self._rust, self.largest_id = read_tokenizer(path, content)
        text = handling.name, handling.version, handling.table
        self.key = (hashlib.sha256(content).digest(), max_tokens, *text)
        self._rust.enable_truncation(max_tokens)
        # "[SEP]" typed by a user is five characters of text, not the end of the message.
        self._rust.encode_special_tokens = True
        probe = self._rust.encode(_PROBE).ids
        if not 0 < len(probe) <= max_tokens:
            raise PackError(f"{path}: {len(probe)} tokens for a short text, where {max_tokens} are the most")
        self._max_characters = max_tokens * CHARACTERS_A_TOKEN
        self._at_first = max_tokens * _AT_FIRST
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
        """Tokenise texts; the result has their length and order. Never fails on odd Unicode.

        Raises:
            InferenceError: the tokenizer failed on one of the texts.
        """
        if not texts:
            return []
        limit = self._max_characters
        cut = [text if len(text) <= limit else text[:limit] for text in texts]
        try:
            try:
                encodings = self._encoded(cut)
            except TypeError:
                # A lone surrogate is no Unicode character, and the library refuses the whole batch for it.
                encodings = self._encoded([_without_surrogates(text) for text in cut])
        except BaseException as error:
            _raise_failure(error)
            raise
        return [
            Tokens(encoding.ids, len(text) > limit or bool(encoding.overflowing), text)
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def _encoded(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokenise texts, each only a little further than the model reads."""
        begun = [self._handling.begin(text, self._at_first) for text in texts]
        with no_fork():
            short = iter(self._rust.encode_batch_fast([beginning for beginning, whole in begun if whole]))
        return [
            next(short) if whole else self._long(text, beginning)[0]
            for text, (beginning, whole) in zip(texts, begun, strict=True)
        ]

    def _long(self, text: str, beginning: str) -> tuple[Encoding, str]:
        """Tokenise enough of a long text that the rest cannot change what the model reads: most often its
        `beginning`. Returns the tokens, and the part of the prepared text that they are made of."""
        enough, whole = self._at_first, False
        encoding = self._rust.encode(beginning)
        while not whole and not _is_filled(encoding):
            enough *= 4
            beginning, whole = self._handling.begin(text, enough)
            encoding = self._rust.encode(beginning)
        return encoding, beginning

    def places(self, text: str) -> Places:
        """Tokenise a text and return where each token is in it, in code points.

        Raises:
            InferenceError: the tokenizer failed on this text.
        """
        clean, places = _with_places(text[: self._max_characters])
        try:
            beginning, whole = self._handling.begin(clean, self._at_first)
            if whole:
                encoding = self._rust.encode(beginning)
            else:
                encoding, beginning = self._long(clean, beginning)
        except BaseException as error:
            _raise_failure(error)
            raise
        _, spans = self._handling.with_offsets(clean, len(beginning))
        ranges = [
            (places[spans[start][0]], places[spans[end - 1][1]]) if start < end else (0, 0)
            for start, end in encoding.offsets
        ]
        return Places(encoding.ids, ranges, encoding.word_ids)

    def ranges(self, tokens: Tokens) -> list[Range]:
        """Return the range in `tokens.text` of each token's word, in code points; empty for [CLS] and [SEP].

        A word is what the tokenizer cuts tokens from; see `spans.whole_words`. The text is tokenised again
        for this: places cost time, and few texts need them.

        Raises:
            InferenceError: the tokens are not those of the text.
        """
        found = self.places(tokens.text)
        read = len(tokens.ids) - 1  # the last is [SEP], wherever the text was cut
        if found.ids[:read] != tokens.ids[:read]:
            raise InferenceError("the tokens are not those of the text that comes with them")
        return [*whole_words(tokens.text, found.ranges[:read], found.words[:read]), (0, 0)]


def _is_filled(encoding: Encoding) -> bool:
    """Whether enough words follow those that are read that more of the text would change nothing."""
    if not encoding.overflowing:
        return False
    read, last = (
        max((word for word in part.word_ids if word is not None), default=0)
        for part in (encoding, encoding.overflowing[-1])
    )
    return bool(last - read >= _MARGIN)


def read_tokenizer(path: Path, content: bytes | None = None) -> tuple[RustTokenizer, int]:
    """Check and read the `tokenizer.json` at `path`; return it, and the largest token number that it gives.

    Padding and truncation set in the file are removed. `content` is the file's content if it was read
    already; `path` is then only named in errors.

    Raises:
        PackError: the file cannot be read, or does not describe a tokenizer that is safe to use.
    """
    content = _content(path) if content is None else content
    largest = check_tokenizer(content, path)
    try:
        with _panics_untold():
            tokenizer = RustTokenizer.from_buffer(content)
            tokenizer.no_padding()
            tokenizer.no_truncation()
            tokenizer.encode(_PROBE)
    except BaseException as error:
        _raise_unreadable(error, path)
        raise
    return tokenizer, largest


@contextmanager
def _panics_untold() -> Iterator[None]:
    """Keep Rust's own report of a panic off standard error: what is raised says it, in our one line.

    Rust writes it to descriptor 2 and not through Python. Whatever else was written meanwhile is passed on.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # closed: there is nowhere to write to
        yield
        return
    with tempfile.TemporaryFile() as told:
        os.dup2(told.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            told.seek(0)
            report = told.read()
            if report and b"panicked at" not in report:
                os.write(2, report)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PackError(f"{path} cannot be read: {error.strerror or error}") from error


def _raise_unreadable(error: BaseException, path: Path) -> None:
    """Raise PackError for what the library raises: a plain Exception, or a panic, a BaseException."""
    if isinstance(error, Exception) or is_panic(error):
        raise PackError(f"{path} is not a readable tokenizer: {one_line(error)}") from error


_PROBE = "a \N{LATIN SMALL LETTER E WITH ACUTE} \N{PERSON WITH FOLDED HANDS} \N{CJK UNIFIED IDEOGRAPH-540D}"
"""Tokenised once on loading: plain, accented, and characters that a vocabulary may lack."""

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


def is_panic(error: BaseException) -> bool:
    """Whether the library's Rust code panicked; such an error is not an Exception, and cannot be imported."""
    return type(error).__name__ == "PanicException"


def _raise_failure(error: BaseException) -> None:
    """Raise InferenceError for a failure of the library, without its message, which may quote the text."""
    if isinstance(error, Exception) or is_panic(error):
        raise InferenceError(f"the tokenizer failed: {type(error).__name__}") from None
