"""Tokenizers between transformers' folders and packs.

A pack gets one `tokenizer.json`, made from the checkpoint's files; an exported model gets the files that
transformers expects.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from worker.errors import CheckpointError, ExportError, PackError
from worker.heads import is_whole, shown
from worker.model.pack import TOKENIZER
from worker.model.tokenizer import read_tokenizer

VOCABULARY = "vocab.txt"
SETTINGS = "tokenizer_config.json"
ADDED = "added_tokens.json"
_OTHERS = ("sentencepiece.bpe.model", "spiece.model", "vocab.json", "merges.txt")
"""Vocabularies of other kinds, which are only supported with a `tokenizer.json` beside them."""

_PARTS = ("pad", "unk", "cls", "sep", "mask")


@dataclass(frozen=True, slots=True)
class WordPieceRules:
    """The settings of a WordPiece vocabulary in `tokenizer_config.json`, with BERT's defaults.

    `strip_accents` None removes accents exactly if case is folded, as in BERT.
    """

    lower_case: bool
    strip_accents: bool | None
    chinese_characters: bool
    special: Mapping[str, str]
    """The special tokens by role: `pad`, `unk`, `cls`, `sep`, `mask`."""


def write_tokenizer(checkpoint: Path, target: Path) -> None:
    """Write the checkpoint's `tokenizer.json` to `target`, built from `vocab.txt` if it is missing.

    Tokens that were added to the vocabulary later (`added_tokens.json`, and `added_tokens_decoder` of
    `tokenizer_config.json`) are included under their ids.

    Raises:
        CheckpointError: the folder has neither, the vocabulary lacks a special token, an added token has an
            impossible id, or texts would not get the first and last token that the model was trained with.
    """
    source, vocabulary = checkpoint / TOKENIZER, checkpoint / VOCABULARY
    settings = _read_object(checkpoint / SETTINGS)
    if source.is_file():
        content = source.read_bytes()
        tokenizer = _readable(source, content)
        changed = _add_tokens(tokenizer, checkpoint, settings)
        if changed:
            tokenizer.save(str(target))
        else:
            target.write_bytes(content)
        _check_ends(tokenizer, source)
    elif vocabulary.is_file():
        tokens = _read_vocabulary(vocabulary)
        tokenizer = _built(tokens, _rules(settings, tokens), vocabulary)
        _add_tokens(tokenizer, checkpoint, settings)
        tokenizer.save(str(target))
    else:
        other = next((name for name in _OTHERS if (checkpoint / name).is_file()), None)
        found = (
            f"; {other} alone cannot be read, save the checkpoint with its fast tokenizer" if other else ""
        )
        raise CheckpointError(f"{checkpoint} has no tokenizer: neither {TOKENIZER} nor {VOCABULARY}{found}")


def _readable(path: Path, content: bytes | None = None) -> Tokenizer:
    try:
        return read_tokenizer(path, content)[0]
    except PackError as error:
        raise CheckpointError(str(error)) from error


def _add_tokens(tokenizer: Tokenizer, checkpoint: Path, settings: Mapping[str, Any]) -> bool:
    """Add the tokens that the checkpoint names and the tokenizer lacks; return whether there were any."""
    added = _added(checkpoint, settings)
    missing = [number for number in sorted(added) if tokenizer.token_to_id(added[number].content) is None]
    for number in missing:
        (tokenizer.add_special_tokens if added[number].special else tokenizer.add_tokens)([added[number]])
    for number, token in sorted(added.items()):
        given = tokenizer.token_to_id(token.content)
        if given != number:
            raise CheckpointError(
                f"{checkpoint}: the added token {shown(token.content)} has the number {number}, "
                f"and in the vocabulary it gets {given}"
            )
    return bool(missing)


def _added(checkpoint: Path, settings: Mapping[str, Any]) -> dict[int, AddedToken]:
    """Return the tokens that were added to a vocabulary, by their numbers."""
    found: dict[int, AddedToken] = {}
    for token, number in _read_object(checkpoint / ADDED).items():
        if not is_whole(number) or number < 0 or not token:
            raise CheckpointError(f"{checkpoint / ADDED} must give each token its number")
        found[number] = AddedToken(token)
    decoder = settings.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict):
        raise CheckpointError(f"{checkpoint / SETTINGS}: `added_tokens_decoder` must be a table")
    for key, entry in decoder.items():
        content = entry.get("content") if isinstance(entry, dict) else None
        if not key.isdecimal() or len(key) > _DIGITS or not isinstance(content, str) or not content:
            raise CheckpointError(
                f"{checkpoint / SETTINGS}: `added_tokens_decoder` must map numbers to tokens"
            )
        flags = {name: entry[name] for name in _FLAGS if isinstance(entry.get(name), bool)}
        found[int(key)] = AddedToken(content, **flags)
    return found


_DIGITS = 9
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def _read_vocabulary(path: Path) -> dict[str, int]:
    """Read one token per line, whose id is the line's index; an empty last line is ignored."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return {
        token.rstrip("\r"): number for number, token in enumerate(lines) if token or number < len(lines) - 1
    }


def _rules(settings: Mapping[str, Any], vocabulary: Mapping[str, int]) -> WordPieceRules:
    special = {part: _token(settings.get(f"{part}_token"), f"[{part.upper()}]") for part in _PARTS}
    lower_case = settings.get("do_lower_case")
    if lower_case is None:
        lower_case = not _is_cased(vocabulary, special.values())
    accents = settings.get("strip_accents")
    return WordPieceRules(
        lower_case=bool(lower_case),
        strip_accents=None if accents is None else bool(accents),
        chinese_characters=bool(settings.get("tokenize_chinese_chars", True)),
        special=special,
    )


def _read_object(path: Path) -> Mapping[str, Any]:
    """Read a JSON object; a missing file counts as an empty one."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return value


def _token(value: object, default: str) -> str:
    """Return a special token, which is stored as text or as a table with `content`."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) and content else default


def _is_cased(vocabulary: Mapping[str, int], special: Iterable[str]) -> bool:
    """Whether the vocabulary has words with capitals, which could not be reached with case folded.

    One word in a hundred is required, since an uncased vocabulary may have a few, too. Tokens in brackets,
    such as `[unused7]`, do not count as words.
    """
    known = set(special)
    words = [
        token for token in vocabulary if token not in known and not (token[:1] == "[" and token[-1:] == "]")
    ]
    return sum(token != token.lower() for token in words) * 100 > len(words)


def _built(vocab: dict[str, int], rules: WordPieceRules, path: Path) -> Tokenizer:
    """Return BERT's WordPiece tokenizer, as DistilBERT uses it, over a vocabulary."""
    unknown, first, last = (rules.special[part] for part in ("unk", "cls", "sep"))
    if missing := [token for token in (unknown, first, last) if token not in vocab]:
        raise CheckpointError(f"{path} has no {missing[0]}")
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=unknown, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=rules.lower_case,
        strip_accents=rules.strip_accents,
        handle_chinese_chars=rules.chinese_characters,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([token for token in rules.special.values() if token in vocab])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(token, vocab[token]) for token in (first, last)]
    )
    return tokenizer


def _check_ends(tokenizer: Tokenizer, path: Path) -> None:
    """Refuse a tokenizer that adds nothing around a text: the heads read the first token, [CLS]."""
    bare, whole = (tokenizer.encode("a", add_special_tokens=added).ids for added in (False, True))
    if len(whole) < len(bare) + 2 or whole[1 : 1 + len(bare)] != bare:
        raise CheckpointError(f"{path} does not put a first and a last token ([CLS], [SEP]) around a text")


def write_tokenizer_files(model: Path, folder: Path, max_tokens: int) -> None:
    """Write `tokenizer.json` of the model in a folder, `tokenizer_config.json` and `special_tokens_map.json`.

    Raises:
        CheckpointError, ExportError: the model has no tokenizer, or one that cannot be read.
    """
    write_tokenizer(model, folder / TOKENIZER)
    special = special_tokens(folder / TOKENIZER)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        # DistilBERT takes no token types, which this class would give it.
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": max_tokens,
        "clean_up_tokenization_spaces": False,
        # "[SEP]" typed by a user is text, as it is in a pack.
        "split_special_tokens": True,
        **special,
    }
    for name, value in ((SETTINGS, settings), ("special_tokens_map.json", special)):
        (folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def special_tokens(tokenizer: Path) -> dict[str, str]:
    """Return the special tokens by role (`cls_token`, …), as the tokenizer itself uses them.

    The first and last token are those that it adds to a text, the unknown one comes from its model; padding
    and mask are found by their usual names, if the vocabulary has them.
    """
    try:
        reader = read_tokenizer(tokenizer)[0]
    except PackError as error:
        raise ExportError(str(error)) from error
    known: dict[str, Any] = json.loads(tokenizer.read_bytes())
    ends = reader.encode("a").tokens
    found: dict[str, str | None] = {"cls": ends[0], "sep": ends[-1]}
    found["unk"] = (known.get("model") or {}).get("unk_token")
    for role in ("pad", "mask"):
        usual = (f"[{role.upper()}]", f"<{role}>")
        found[role] = next((token for token in usual if reader.token_to_id(token) is not None), None)
    return {f"{role}_token": token for role in _PARTS if (token := found[role])}
