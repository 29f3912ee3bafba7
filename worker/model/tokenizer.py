"""Turns texts into token ids, using only the `tokenizers` library: the same in training and in service."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from tokenizers import Encoding
from tokenizers import Tokenizer as RustTokenizer

from worker.errors import InferenceError, PackError, one_line
from worker.model.forks import no_fork
from worker.model.spans import whole_words
from worker.model.text.normaliser import RAW, Normaliser
from worker.model.tokenizer_file import check_tokenizer
from worker.model.tokens import MOST_WINDOWS, Part, Tokens, Window, part_of, spread, tokens_in
from worker.types import LongText, Range

__all__ = ["CHARACTERS_A_TOKEN", "Places", "Tokenizer", "Tokens", "is_panic", "read_tokenizer"]

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
        self,
        path: Path,
        max_tokens: int,
        handling: Normaliser = RAW,
        content: bytes | None = None,
        *,
        long_text: LongText = "truncate",
    ) -> None:
        """Read `tokenizer.json` at `path`; no row becomes more than `max_tokens` tokens.

        `long_text` says what is read of a text that gives more.

        With `content`, what was read from the file already, `path` is only named in errors.

        Raises:
            PackError: the file cannot be read, or does not describe a tokenizer that is safe to use.
        """
        content = _content(path) if content is None else content
        self._rust, self.largest_id = read_tokenizer(path, content)
        text = handling.name, handling.version, handling.table
        self.key = (hashlib.sha256(content).digest(), max_tokens, *text, long_text)
        self._rust.enable_truncation(max_tokens)
        # "[SEP]" typed by a user is five characters of text, not the end of the message.
        self._rust.encode_special_tokens = True
        probe = self._rust.encode(_PROBE).ids
        if not 0 < len(probe) <= max_tokens:
            raise PackError(f"{path}: {len(probe)} tokens for a short text, where {max_tokens} are the most")
        self._longest = max_tokens
        self._max_characters = max_tokens * CHARACTERS_A_TOKEN
        self._at_first = max_tokens * _AT_FIRST
        self._handling = handling
        self._long_text: LongText = long_text

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
        cut = [self._cut(text, self._max_characters) for text in texts]
        try:
            try:
                encodings = self._encoded(cut)
            except TypeError:
                # A lone surrogate is no Unicode character, and the library refuses the whole batch for it.
                encodings = self._encoded([_without_surrogates(text) for text in cut])
        except BaseException as error:
            _raise_failure(error)
            raise
        rows = [
            Tokens(encoding.ids, len(part) < len(text) or bool(encoding.overflowing), text)
            for text, part, encoding in zip(texts, cut, encodings, strict=True)
        ]
        if self._long_text == "truncate":
            return rows
        return [self._in_windows(row) if row.truncated else row for row in rows]

    def _cut(self, text: str, most: int) -> str:
        """Return the beginning of a text that may be read, if that may be `most` characters."""
        return text if len(text) <= most else text[: self._handling.reach(text, most)]

    def _in_windows(self, row: Tokens) -> Tokens:
        """Cut windows from a text that is too long for one row."""
        try:
            windows, truncated = (
                self._ends(row.text) if self._long_text == "head_tail" else self._all(row.text)
            )
        except BaseException as error:
            _raise_failure(error)
            raise
        if len(windows) < 2:  # there is more text, but nothing in it
            return (windows or (row,))[0]._replace(truncated=truncated)
        return row._replace(windows=windows, truncated=truncated, read=tokens_in(windows))

    def _all(self, text: str) -> tuple[tuple[Tokens, ...], bool]:
        """Return windows over all of a text, up to a limit, and whether it is longer than that."""
        beginning = self._cut(text, MOST_WINDOWS * self._max_characters)
        part = self._part(beginning, MOST_WINDOWS)
        read = min(len(part.ids), MOST_WINDOWS * part.room)
        windows = tuple(part.window(text, place) for place in spread(read, part.room))
        return windows, read < len(part.ids) or len(beginning) < len(text)

    def _ends(self, text: str) -> tuple[tuple[Tokens, ...], bool]:
        """Return the windows at the beginning and at the end, and whether anything lies between them.

        A text that fits into two rows is read in halves: its ends would overlap and cost more.
        """
        beginning = self._cut(text, self._max_characters)
        begun = self._part(beginning, 2)
        total, room = len(begun.ids), begun.room
        if begun.whole and len(beginning) == len(text):
            fits = total <= 2 * room
            places = spread(total, room) if fits else [(0, room), (total - room, total)]
            return tuple(begun.window(text, place) for place in places), not fits
        after = len(beginning) if begun.whole else 0
        end = self._end(text, after)
        found = (begun, (0, min(total, room))), (end, (max(0, len(end.ids) - room), len(end.ids)))
        windows = tuple(part.window(text, place) for part, place in found if place[0] < place[1])
        from_there = begun.whole and end.start <= self._handling.onward(text, after)
        return windows, not (from_there and max(total, len(end.ids)) <= room)

    def _end(self, text: str, after: int) -> Part:
        """Tokenise enough of the end of a text, but nothing before `after`, to fill a window.

        Where it begins, a word may be cut: some words must lie between that and the window.
        """
        size = self._at_first
        while True:
            start = self._handling.onward(text, max(after, len(text) - size))
            part = self._part(text[start:], 0, start)
            tail = len(part.ids) - part.room
            filled = tail > 0 and _last(part.words[: tail + 1]) - _last(part.words[:1]) >= _MARGIN
            if filled or len(text) - size <= after or size == self._max_characters:
                return part
            size = min(4 * size, self._max_characters)

    def _part(self, text: str, rows: int, start: int = 0) -> Part:
        """Tokenise enough of a text to fill so many rows, or all of it for 0. `start` is where it begins."""
        clean = _without_surrogates(text)
        if rows:
            encoding, beginning, whole = self._begun(clean, rows)
        else:
            beginning, whole = self._handling.apply(clean), True
            encoding = self._rust.encode(beginning)
        prepared = len(beginning)
        return part_of(encoding, self._longest, start=start, rows=rows, prepared=prepared, whole=whole)

    def _encoded(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokenise texts, each only a little further than the model reads."""
        begun = [self._handling.begin(text, self._at_first) for text in texts]
        with no_fork():
            short = iter(self._rust.encode_batch_fast([beginning for beginning, whole in begun if whole]))
        return [
            next(short) if whole else self._long(text, beginning)[0]
            for text, (beginning, whole) in zip(texts, begun, strict=True)
        ]

    def _begun(self, text: str, rows: int = 1) -> tuple[Encoding, str, bool]:
        """Tokenise enough of a text that the rest cannot change its first rows.

        Returns the tokens, the part of the prepared text that they are made of, and whether that is all.
        """
        beginning, whole = self._handling.begin(text, rows * self._at_first)
        if whole:
            return self._rust.encode(beginning), beginning, True
        return self._long(text, beginning, rows)

    def _long(self, text: str, beginning: str, rows: int = 1) -> tuple[Encoding, str, bool]:
        """Do the same for a text of which the `beginning` is known: most often it is enough."""
        enough, whole = rows * self._at_first, False
        encoding = self._rust.encode(beginning)
        while not whole and not _is_filled(encoding, rows):
            enough *= 4
            beginning, whole = self._handling.begin(text, enough)
            encoding = self._rust.encode(beginning)
        return encoding, beginning, whole

    def places(self, text: str) -> Places:
        """Tokenise a text and return where each token is in it, in code points.

        Raises:
            InferenceError: the tokenizer failed on this text.
        """
        clean, places = _with_places(self._cut(text, self._max_characters))
        try:
            encoding, beginning, _ = self._begun(clean)
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
        if tokens.window is not None:
            return self._window_ranges(tokens, tokens.window)
        found = self.places(tokens.text)
        read = len(tokens.ids) - 1  # the last is [SEP], wherever the text was cut
        if found.ids[:read] != tokens.ids[:read]:
            raise InferenceError("the tokens are not those of the text that comes with them")
        return [*whole_words(tokens.text, found.ranges[:read], found.words[:read]), (0, 0)]

    def _window_ranges(self, tokens: Tokens, window: Window) -> list[Range]:
        """Do the same for a row that was cut from a part of the text."""
        size = self._max_characters * max(1, window.rows if self._long_text == "windows" else 1)
        text = self._cut(tokens.text, size) if window.rows else tokens.text[window.start :]
        try:
            part = self._part(text, window.rows, window.start)
        except BaseException as error:
            _raise_failure(error)
            raise
        if part.row(window.place) != tokens.ids:
            raise InferenceError("the tokens are not those of the text that comes with them")
        clean, places = _with_places(text)
        _, spans = self._handling.with_offsets(clean, part.prepared)
        ranges = [
            (places[spans[start][0]], places[spans[end - 1][1]]) if start < end else (0, 0)
            for start, end in part.spans
        ]
        words = whole_words(text, ranges, part.words)[slice(*window.place)]
        first, last = part.ends
        return [
            *((0, 0) for _ in first),
            *((start + window.start, end + window.start) for start, end in words),
            *((0, 0) for _ in last),
        ]


def _is_filled(encoding: Encoding, rows: int) -> bool:
    """Whether enough words follow the first rows that more of the text would change nothing in them."""
    if len(encoding.overflowing) < rows:
        return False
    read = ([encoding, *encoding.overflowing][rows - 1]).word_ids
    return _last(encoding.overflowing[-1].word_ids) - _last(read) >= _MARGIN


def _last(words: Sequence[int | None]) -> int:
    """Return the number of the last of some words."""
    return max((word for word in words if word is not None), default=0)


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
    told = _scratch()
    if told is None:  # then the report is told, and all else goes on
        os.close(stderr)
        yield
        return
    with told:
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


def _scratch() -> IO[bytes] | None:
    """Return an empty file of no name, in memory where the system has such; None if there can be none.

    A container that is read only may have no folder for temporary files.
    """
    try:
        if hasattr(os, "memfd_create"):
            return os.fdopen(os.memfd_create("moodstream"), "w+b")
        return tempfile.TemporaryFile()
    except OSError:
        return None


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
