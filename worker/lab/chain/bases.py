"""Tiny encoders with random weights in place of the base weights, with the real ones' vocabulary."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models

from worker.lab.bases import BERT_LAYER, EMBEDDINGS, MPNET_LAYER, base_folder
from worker.lab.recipe import BASE
from worker.lab.teacher_files import bert_tokenizer

_WIDE, _INNER, _HEADS, _POSITIONS, _BUCKETS = 16, 32, 2, 512, 32
_MPNET_FIRST, _MPNET_LAST = ("<s>", "<pad>", "</s>", "<unk>"), "<mask>"
_SIZES = {"intermediate.dense": (_INNER, _WIDE), "output.dense": (_WIDE, _INNER)}
"""The shapes of the two kernels that are not square."""

_SPREAD = 0.1


def write_bases(folder: Path) -> None:
    """Write a trunk of six layers, a BERT and an MPNet of twelve, as deep as the real ones, to `folder`."""
    words = _words()
    bert = bert_tokenizer(words)
    _write_bert(folder / BASE, bert, layers=6, seed=1)
    _write_bert(folder / "bert-base-uncased", bert, layers=12, seed=2)
    _write_mpnet(folder / "all-mpnet-base-v2", words, layers=12, seed=3)


def _words() -> list[str]:
    """Return the vocabulary of the trunk's package, in order."""
    found: dict[str, int] = Tokenizer.from_file(str(base_folder(BASE) / "tokenizer.json")).get_vocab()
    return sorted(found, key=found.__getitem__)


def _write_bert(folder: Path, tokenizer: Tokenizer, layers: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = tokenizer.get_vocab_size()
    tensors = dict(_tensors(rng, layers, list(BERT_LAYER), count, _POSITIONS))
    tensors["embeddings.token_type_embeddings.weight"] = _drawn(rng, 2, _WIDE)
    _write(folder, tensors, model_type="bert", num_hidden_layers=layers)
    tokenizer.save(str(folder / "tokenizer.json"))


def _write_mpnet(folder: Path, words: Sequence[str], layers: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    every = [*_MPNET_FIRST, *words, _MPNET_LAST]
    positions = _POSITIONS + 2  # the first token is at 2
    tensors = dict(_tensors(rng, layers, list(MPNET_LAYER), len(every), positions))
    tensors["encoder.relative_attention_bias.weight"] = _drawn(rng, _BUCKETS, _HEADS)
    _write(folder, tensors, model_type="mpnet", num_hidden_layers=layers, pad_token_id=1)
    tokenizer = bert_tokenizer(list(words))
    places = {word: number for number, word in enumerate(every)}
    tokenizer.model = models.WordPiece(places, unk_token="[UNK]")  # noqa: S106 - no password
    tokenizer.save(str(folder / "tokenizer.json"))


def _write(folder: Path, tensors: dict[str, NDArray[np.float32]], **config: object) -> None:
    """Write config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    shared = {
        "hidden_act": "gelu",
        "hidden_size": _WIDE,
        "intermediate_size": _INNER,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": len(tensors["embeddings.position_embeddings.weight"]),
        "num_attention_heads": _HEADS,
        "relative_attention_num_buckets": _BUCKETS,
        "vocab_size": len(tensors[EMBEDDINGS[0]]),
    }
    (folder / "config.json").write_text(json.dumps(shared | config) + "\n", encoding="utf-8")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _tensors(
    rng: np.random.Generator, layers: int, names: Sequence[str], words: int, positions: int
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the tensors that both kinds have."""
    table, *norm = EMBEDDINGS
    yield table, _drawn(rng, words, _WIDE)
    yield "embeddings.position_embeddings.weight", _drawn(rng, positions, _WIDE)
    yield from _norm(rng, norm[0].removesuffix(".weight"))
    for layer in range(layers):
        for name in names:
            full = f"encoder.layer.{layer}.{name}"
            if name.endswith("LayerNorm"):
                yield from _norm(rng, full)
                continue
            size = _SIZES.get(name, (_WIDE, _WIDE))
            yield f"{full}.weight", _drawn(rng, *size)
            yield f"{full}.bias", _drawn(rng, size[0])


def _norm(rng: np.random.Generator, name: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    yield f"{name}.weight", 1 + _drawn(rng, _WIDE)
    yield f"{name}.bias", _drawn(rng, _WIDE)


def _drawn(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.normal(0.0, _SPREAD, shape).astype(np.float32)
