"""The tokenizer of a checkpoint as one `tokenizer.json`.

The tokenizer's files beside a model, as transformers looks for them.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.errors import CheckpointError, ExportError
from worker.model.pack import TOKENIZER

VOCABULARY = "vocab.txt"
SETTINGS = "tokenizer_config.json"
_OTHERS = ("sentencepiece.bpe.model", "spiece.model", "vocab.json", "merges.txt")
"""Vocabularies of other kinds, which a DistilBERT has only with a `tokenizer.json` beside them."""


@dataclass(frozen=True, slots=True)
class WordPieceRules:
    """What `tokenizer_config.json` says of a WordPiece vocabulary, with BERT's defaults.

    `strip_accents` None takes accents off exactly where case is folded, as BERT does.
    """

    lower_case: bool
    strip_accents: bool | None
    chinese_characters: bool
    special: Mapping[str, str]
    """The tokens by their part: `pad`, `unk`, `cls`, `sep`, `mask`."""


def write_tokenizer(checkpoint: Path, target: Path) -> None:
    """Copy the checkpoint's `tokenizer.json` to `target`, or build it from `vocab.txt`.

    Raises:
        CheckpointError: the folder has neither, the vocabulary lacks a special token, or texts would not
            get the first and last token that the model was trained with.
    """
    source, vocabulary = checkpoint / TOKENIZER, checkpoint / VOCABULARY
    if source.is_file():
        shutil.copyfile(source, target)
        _check_ends(source)
    elif vocabulary.is_file():
        tokens = _read_vocabulary(vocabulary)
        _build(tokens, _read_rules(checkpoint / SETTINGS, tokens), vocabulary, target)
    else:
        other = next((name for name in _OTHERS if (checkpoint / name).is_file()), None)
        found = (
            f"; {other} alone cannot be read, save the checkpoint with its fast tokenizer" if other else ""
        )
        raise CheckpointError(f"{checkpoint} has no tokenizer: neither {TOKENIZER} nor {VOCABULARY}{found}")


def _read_vocabulary(path: Path) -> dict[str, int]:
    """One token a line, whose number is its place; an empty last line is none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return {
        token.rstrip("\r"): number for number, token in enumerate(lines) if token or number < len(lines) - 1
    }


def _read_rules(path: Path, vocabulary: Mapping[str, int]) -> WordPieceRules:
    settings = _read_settings(path)
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


_PARTS = ("pad", "unk", "cls", "sep", "mask")


def _read_settings(path: Path) -> Mapping[str, Any]:
    try:
        settings = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return settings


def _token(value: object, default: str) -> str:
    """A special token, which is written as a text or as a table with `content`."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) and content else default


def _is_cased(vocabulary: Mapping[str, int], special: Iterable[str]) -> bool:
    """Whether the vocabulary has words with capitals, which folding case would put out of reach.

    One in a hundred settles it: a stray one may stand in a vocabulary without case too. Tokens in brackets,
    such as `[unused7]`, are no words.
    """
    known = set(special)
    words = [
        token for token in vocabulary if token not in known and not (token[:1] == "[" and token[-1:] == "]")
    ]
    return sum(token != token.lower() for token in words) * 100 > len(words)


def _build(vocab: dict[str, int], rules: WordPieceRules, path: Path, target: Path) -> None:
    """Write BERT's WordPiece tokenizer, as DistilBERT uses it, over a vocabulary."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

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
    tokenizer.save(str(target))


def _check_ends(path: Path) -> None:
    """Refuse a tokenizer that adds nothing around a text: the heads read the first token, [CLS]."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        # The library raises plain Exception for whatever it dislikes.
        raise CheckpointError(
            f"{path} is no tokenizer that can be read: {' '.join(str(error).split())}"
        ) from error
    tokenizer.no_padding()  # a packaged file may pad to a fixed length, which would hide the marks
    tokenizer.no_truncation()
    bare, whole = (tokenizer.encode("a", add_special_tokens=added).ids for added in (False, True))
    if len(whole) < len(bare) + 2 or whole[1 : 1 + len(bare)] != bare:
        raise CheckpointError(f"{path} does not put a first and a last token ([CLS], [SEP]) around a text")


_ROLES = ("pad", "unk", "cls", "sep", "mask")


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
    for name, value in (("tokenizer_config.json", settings), ("special_tokens_map.json", special)):
        (folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def special_tokens(tokenizer: Path) -> dict[str, str]:
    """Return the special tokens by role (`cls_token`, …), as the tokenizer itself uses them.

    The first and last token come from what it puts around a text, the unknown one from its model; padding and
    mask from their usual names, where the vocabulary has them.
    """
    from tokenizers import Tokenizer

    try:
        known: dict[str, Any] = json.loads(tokenizer.read_bytes())
        reader = Tokenizer.from_file(str(tokenizer))
    except Exception as error:  # the library raises plain Exception for whatever it dislikes
        raise ExportError(
            f"{tokenizer} is no tokenizer that can be read: {' '.join(str(error).split())}"
        ) from error
    reader.no_padding()
    reader.no_truncation()
    ends = reader.encode("a").tokens
    found: dict[str, str | None] = {"cls": ends[0], "sep": ends[-1]}
    found["unk"] = (known.get("model") or {}).get("unk_token")
    for role in ("pad", "mask"):
        usual = (f"[{role.upper()}]", f"<{role}>")
        found[role] = next((token for token in usual if reader.token_to_id(token) is not None), None)
    return {f"{role}_token": token for role in _ROLES if (token := found[role])}
