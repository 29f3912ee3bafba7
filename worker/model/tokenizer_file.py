"""What a `tokenizer.json` may contain: known parts, of sizes that keep time and memory bounded.

A pack may come from anywhere, and the `tokenizers` library does whatever the file says: a replacement that
turns one letter into a thousand, three times in a row, takes all memory; a pattern that backtracks, or a
WordPiece model that looks for words of any length, never ends; some parts panic. The tokenizers of published
DistilBERT checkpoints are accepted: BERT's WordPiece and its relatives, byte-level BPE, and SentencePiece.
"""

from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from worker.errors import PackError, one_line
from worker.heads import is_whole, shown

LARGEST_BYTES = 128 * 1024 * 1024
_LONGEST_WORD = 1_000
"""WordPiece looks words up in all their parts: its time grows with the third power of this."""

_MOST_PARTS = 32
_SHORT = 16

_MODELS = frozenset({"WordPiece", "BPE", "Unigram", "WordLevel"})
_NORMALIZERS = frozenset(
    {
        *("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Strip", "StripAccents"),
        *("Sequence", "Prepend", "Replace", "Precompiled", "ByteLevel"),
    }
)
_PRE_TOKENIZERS = frozenset(
    {
        *("BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Punctuation", "Digits", "UnicodeScripts"),
        *("ByteLevel", "Metaspace", "CharDelimiterSplit", "Sequence", "Split"),
    }
)
_POST_PROCESSORS = frozenset(
    {"TemplateProcessing", "BertProcessing", "RobertaProcessing", "ByteLevel", "Sequence"}
)
_CHILDREN = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "post_processor": "processors"}
_PATTERNS = frozenset(
    {
        *(" {2,}", "\\s+", " ", "\\d", "\\d+", "[\\r\\n]", "\\s?[\\r\\n]+"),
        # GPT-2's, which byte-level BPE is published with
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    }
)
"""The patterns that are known to end quickly."""


def check_tokenizer(content: bytes, path: Path) -> int:
    """Check what is in a `tokenizer.json`, and return the largest token number that it can give.

    Raises:
        PackError: it is not a JSON object, or has a part that is unknown, too large, or would not end.
    """
    if len(content) > LARGEST_BYTES:
        raise PackError(f"{path} is too large for a tokenizer: {len(content)} bytes")
    try:
        described = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise PackError(f"{path} is not a readable tokenizer: {one_line(error)}") from error
    if not isinstance(described, dict):
        raise PackError(f"{path} is not a readable tokenizer: it must hold a JSON object")
    kinds = {
        "normalizer": _NORMALIZERS,
        "pre_tokenizer": _PRE_TOKENIZERS,
        "post_processor": _POST_PROCESSORS,
    }
    largest = _largest_of_model(described.get("model"), path)
    for place, known in kinds.items():
        parts = list(_parts(described.get(place), _CHILDREN[place], path))
        if len(parts) > _MOST_PARTS:
            raise PackError(f"{path}: `{place}` has {len(parts)} parts; {_MOST_PARTS} are the most")
        for part in parts:
            if not _is_one_of(part.get("type"), known):
                raise PackError(f"{path}: the {place} {shown(part.get('type'))} is not supported")
            _check_part(part, f"{path}: {part['type']}")
            largest = max(largest, *_ends(part, f"{path}: {part['type']}"), 0)
    added = described.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        raise PackError(f"{path}: `added_tokens` must be a list of tables")
    numbers = [int(token["id"]) for token in added if is_whole(token.get("id"))]
    return max([largest, *numbers])


def _parts(part: object, children: str, path: Path, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield a part and those within it."""
    if part is None:
        return
    if not isinstance(part, dict) or depth > 4:
        raise PackError(f"{path} is not a readable tokenizer: its parts must be tables, few levels deep")
    yield part
    within = part.get(children) or []
    if not isinstance(within, list):
        raise PackError(f"{path} is not a readable tokenizer: `{children}` must be a list")
    for child in within:
        yield from _parts(child, children, path, depth + 1)


def _largest_of_model(model: object, path: Path) -> int:
    """Check the model and return its largest token number."""
    if not isinstance(model, dict):
        raise PackError(f"{path} is not a readable tokenizer: it has no `model`")
    kind = model.get("type")
    if not _is_one_of(kind, _MODELS):
        raise PackError(f"{path}: the model {shown(kind)} is not supported")
    vocabulary = model.get("vocab")
    if kind == "Unigram":
        if not isinstance(vocabulary, list) or not is_whole(model.get("unk_id")):
            raise PackError(f"{path}: Unigram needs `vocab`, a list, and `unk_id`")
        return len(vocabulary) - 1
    if not isinstance(vocabulary, dict) or not all(map(is_whole, vocabulary.values())):
        raise PackError(f"{path}: {kind} needs `vocab`, a table of token numbers")
    if kind == "WordPiece":
        longest = model.get("max_input_chars_per_word", 100)
        if not is_whole(longest) or not 0 < longest <= _LONGEST_WORD:
            raise PackError(f"{path}: `max_input_chars_per_word` must lie between 1 and {_LONGEST_WORD}")
    if kind in {"WordPiece", "WordLevel"} and not _is_one_of(model.get("unk_token"), vocabulary):
        raise PackError(f"{path}: the vocabulary lacks the unknown token {shown(model.get('unk_token'))}")
    return int(max(vocabulary.values(), default=0))


def _is_one_of(value: object, known: Container[str]) -> bool:
    """Whether a value from the file, which may have any type, is one of these strings."""
    return isinstance(value, str) and value in known


def _check_part(part: Mapping[str, Any], where: str) -> None:
    """Refuse parts that make a text longer without bound, that backtrack, or that panic."""
    kind = part["type"]
    if kind == "Prepend" and len(str(part.get("prepend", ""))) > _SHORT:
        raise PackError(f"{where}: `prepend` is too long")
    if kind in {"Replace", "Split"}:
        pattern = part.get("pattern")
        plain = pattern.get("String") if isinstance(pattern, dict) else None
        known = pattern.get("Regex") if isinstance(pattern, dict) else None
        if not _is_one_of(known, _PATTERNS) and not (isinstance(plain, str) and plain):
            raise PackError(
                f"{where}: the pattern {shown(known if plain is None else plain)} is not supported"
            )
        least = len(plain) if isinstance(plain, str) else 1
        if kind == "Replace" and len(str(part.get("content", ""))) > least:
            raise PackError(f"{where} may not make a text longer")


def _ends(part: Mapping[str, Any], where: str) -> list[int]:
    """Check what a post-processor puts around a text, and return the numbers of its tokens."""
    kind = part["type"]
    if kind in {"BertProcessing", "RobertaProcessing"}:
        pairs = [part.get(name) for name in ("cls", "sep")]
        if not all(isinstance(pair, list) and len(pair) == 2 and is_whole(pair[1]) for pair in pairs):
            raise PackError(f"{where} needs `cls` and `sep`, each a token and its number")
        return [int(pair[1]) for pair in pairs if pair]
    if kind != "TemplateProcessing":
        return []
    single, pair, special = (part.get(name) for name in ("single", "pair", "special_tokens"))
    if not isinstance(single, list) or not isinstance(pair, list) or not isinstance(special, dict):
        raise PackError(f"{where} needs `single`, `pair` and `special_tokens`")
    if len(single) > _SHORT or len(pair) > _SHORT:
        raise PackError(f"{where} puts too many tokens around a text")
    pieces = [piece.get("SpecialToken") for piece in (*single, *pair) if isinstance(piece, dict)]
    wanted = [piece.get("id") for piece in pieces if isinstance(piece, dict)]
    numbers: list[int] = []
    for token in wanted:
        entry = special.get(token) if isinstance(token, str) else None
        ids = entry.get("ids") if isinstance(entry, dict) else None
        if not isinstance(ids, list) or len(ids) > _SHORT or not all(map(is_whole, ids)):
            raise PackError(f"{where} lacks the special token {shown(token)}")
        numbers += ids
    return numbers
