"""Fewer words: the rows of the embedding table that given texts never use are left out.

The table is half of a compact model. WordPiece takes the longest piece that it knows, so a text all of whose
pieces are kept is cut as before and scores exactly as before. A word that is gone is spelt with shorter
pieces: all single characters stay, and so does any piece with a character that has no piece of its own.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from worker.errors import TrainingError
from worker.lab.checkpoint import Checkpoint
from worker.lab.texts import TextReader

_WORDS = "distilbert.embeddings.word_embeddings.weight"
_LONGEST = 1 << 20
"""Texts are read whole here: a word behind the model's last token is a word all the same."""


def trim(checkpoint: Checkpoint, texts: Iterable[str], least: int = 1) -> Checkpoint:
    """Return the model with the tokens that occur in `texts` at least `least` times, and the short ones.

    Raises TrainingError where the tokenizer is no WordPiece: other kinds build a word from its parts, and
    leaving one out changes them all.
    """
    kind = json.loads(checkpoint.tokenizer)["model"].get("type")
    if kind != "WordPiece":
        raise TrainingError(f"{checkpoint.title}: only a WordPiece vocabulary can be trimmed, this is {kind}")
    counts = count_tokens(checkpoint, texts)
    kept = [
        number
        for number in kept_tokens(checkpoint, [token for token, times in counts.items() if times >= least])
        if number < checkpoint.sizes.vocab_size
    ]
    tensors = {**checkpoint.tensors, _WORDS: checkpoint.tensors[_WORDS][kept]}
    config = {**checkpoint.config, "vocab_size": len(kept)}
    if isinstance(config.get("pad_token_id"), int) and config["pad_token_id"] in kept:
        config["pad_token_id"] = kept.index(config["pad_token_id"])
    return replace(checkpoint, tensors=tensors, config=config, tokenizer=renumber(checkpoint.tokenizer, kept))


def count_tokens(checkpoint: Checkpoint, texts: Iterable[str]) -> Counter[int]:
    """Return how often each token occurs, whole texts read, after the model's own text handling."""
    reader = TextReader(checkpoint, longest=_LONGEST)
    counts: Counter[int] = Counter()
    for row in reader(list(texts), _LONGEST):
        counts.update(row.ids.tolist())
    return counts


def kept_tokens(checkpoint: Checkpoint, seen: Sequence[int]) -> list[int]:
    """Return the numbers of the tokens to keep, rising: those seen, special ones, and the short ones."""
    content = json.loads(checkpoint.tokenizer)
    vocabulary: dict[str, int] = content["model"]["vocab"]
    mark = content["model"].get("continuing_subword_prefix", "##")
    special = {entry["content"] for entry in content.get("added_tokens", [])}
    special |= {content["model"].get("unk_token", "[UNK]")}
    words = {
        token for token in vocabulary if token not in special and not (token[:1] == "[" and token[-1:] == "]")
    }
    kept = {*seen, *(vocabulary[token] for token in special if token in vocabulary)}
    kept |= {entry["id"] for entry in content.get("added_tokens", [])}
    for token in words:
        spelling = token.removeprefix(mark)
        inside = token != spelling
        alone = len(spelling) <= 1
        spelt = all(
            (mark + sign if inside or place else sign) in vocabulary for place, sign in enumerate(spelling)
        )
        if alone or not spelt:
            kept.add(vocabulary[token])
    return sorted(kept)


def renumber(tokenizer: str, kept: Sequence[int]) -> str:
    """Return tokenizer.json with these tokens (old numbers, rising) and no others, counted from 0."""
    content = json.loads(tokenizer)
    new = {old: number for number, old in enumerate(kept)}
    model = content["model"]
    model["vocab"] = {token: new[number] for token, number in model["vocab"].items() if number in new}
    for entry in content.get("added_tokens", []):
        entry["id"] = new[entry["id"]]
    padding = content.get("padding")
    if padding:
        padding["pad_id"] = new.get(padding["pad_id"], 0)
    if content.get("post_processor"):
        _renumber_processor(content["post_processor"], new)
    text = json.dumps(content, ensure_ascii=False)
    Tokenizer.from_str(text)  # it is sound
    return text


def _renumber_processor(processor: dict[str, Any], new: dict[int, int]) -> None:
    """Give the marks around a text their new numbers, in each form that the library writes them in."""
    for part in processor.get("processors", []):
        _renumber_processor(part, new)
    for part in ("sep", "cls"):
        if isinstance(processor.get(part), list):
            processor[part][1] = new[processor[part][1]]
    tokens = processor.get("special_tokens")
    if isinstance(tokens, dict):
        for entry in tokens.values():
            entry["ids"] = [new[number] for number in entry["ids"]]


def survives(checkpoint: Checkpoint, trimmed: Checkpoint, texts: Sequence[str]) -> float:
    """Return the share of texts that the trimmed model cuts into the same tokens, so scores the same."""
    before, after = (
        _spellings(each, TextReader(each, longest=_LONGEST), texts) for each in (checkpoint, trimmed)
    )
    return float(np.mean([one == two for one, two in zip(before, after, strict=True)])) if texts else 1.0


def _spellings(checkpoint: Checkpoint, reader: TextReader, texts: Sequence[str]) -> list[list[str | None]]:
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer)
    return [[tokenizer.id_to_token(number) for number in row.ids.tolist()] for row in reader(texts, _LONGEST)]
