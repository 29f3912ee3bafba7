"""The models of docs/explanation/models.md: known shapes with untrained weights, and packs of ours.

Speed follows from the shapes, so untrained weights serve where the trained ones cannot be had here; their
labels mean nothing. BERT is a DistilBERT of twelve layers to the converter, once its token types are folded
into its positions (worker/lab/base.py), so each shape can be an int8 graph of ours.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worker.heads import read_heads
from worker.lab.checkpoint import Checkpoint, encoder_shapes, head_shapes, write_folder
from worker.lab.convert.architecture import Architecture, read_architecture
from worker.lab.convert.writer import convert_checkpoint
from worker.model.pack import CONFIG, GRAPH

BERT_EXTRAS = 2
"""Token types, which BERT has and the folded form has not."""

HEADS: dict[str, Any] = {
    "sentiment": {
        "problem_type": "single_label_classification",
        "id2label": {"0": "negative", "1": "neutral", "2": "positive"},
    },
    "emotion": {
        "problem_type": "multi_label_classification",
        "id2label": {str(number): f"emotion{number}" for number in range(28)},
    },
}


@dataclass(frozen=True, slots=True)
class Cited:
    """A figure that others published, in per cent, and where."""

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class Shape:
    """A model whose weights are not at hand."""

    name: str
    sizes: dict[str, int]
    bert: bool
    """BERT proper: token types and a pooler besides."""
    sst2: Cited
    glue: Cited


_SANH = "Sanh et al. 2019 (arXiv:1910.01108), table 1, dev"
_JIAO = "Jiao et al. 2020 (arXiv:1909.10351), table 1, test"

SHAPES = (
    Shape(
        "BERT-base",
        {"dim": 768, "hidden_dim": 3072, "n_layers": 12, "n_heads": 12},
        True,
        Cited(92.7, _SANH),
        Cited(79.5, _SANH),
    ),
    Shape(
        "DistilBERT-base",
        {"dim": 768, "hidden_dim": 3072, "n_layers": 6, "n_heads": 12},
        False,
        Cited(91.3, _SANH),
        Cited(77.0, _SANH),
    ),
    Shape(
        "TinyBERT 4x312",
        {"dim": 312, "hidden_dim": 1200, "n_layers": 4, "n_heads": 12},
        True,
        Cited(92.6, _JIAO),
        Cited(77.0, _JIAO),
    ),
)


def config_of(shape: Shape) -> dict[str, Any]:
    """Return a shape as a checkpoint's configuration, with the two heads that every pack here has."""
    return {
        "model_type": "distilbert",
        "activation": "gelu",
        "vocab_size": 30_522,
        "max_position_embeddings": 512,
        **shape.sizes,
        "heads": HEADS,
    }


def untrained_pack(shape: Shape, tokenizer: Path, room: Path) -> Path:
    """Draw weights as BERT begins, and convert them to an int8 pack in `room`; return its folder."""
    config = config_of(shape)
    empty = Checkpoint(shape.name, config, {}, tokenizer.read_text(encoding="utf-8"))
    shapes = encoder_shapes(empty.sizes)
    for head in empty.heads.values():
        shapes |= {f"heads.{head.name}.{name}": size for name, size in head_shapes(head, empty.sizes).items()}
    rng = np.random.default_rng(1)
    tensors = {}
    for name, size in shapes.items():
        if len(size) == 1:
            start = 1.0 if "orm.weight" in name else 0.0
            tensors[name] = np.full(size, start, np.float32)
        else:
            tensors[name] = rng.normal(0.0, 0.02, size).astype(np.float32)
    folder = room / shape.name.replace(" ", "-")
    write_folder(Checkpoint(shape.name, config, tensors, empty.tokenizer), folder)
    pack = room / f"{folder.name}-pack"
    convert_checkpoint(folder, pack, name=shape.name, replace=True)
    return pack


@dataclass(frozen=True, slots=True)
class Size:
    """How large a model is: parameters of the encoder alone and of all, bytes as int8 and as float32."""

    encoder: int
    parameters: int
    int8_bytes: int
    float_bytes: int


def size_of(pack: Path, shape: Shape | None = None) -> Size:
    """Count a pack's parameters; a BERT proper has its token types and pooler counted too."""
    path = pack / CONFIG
    config = json.loads(path.read_bytes())
    sizes = read_architecture(config, path)
    encoder = _count(encoder_shapes(sizes))
    if shape is not None and shape.bert:
        encoder += BERT_EXTRAS * sizes.dim + sizes.dim * (sizes.dim + 1)
    heads = sum(_count(head_shapes(head, sizes)) for head in read_heads(config, path))
    total = encoder + heads
    return Size(encoder, total, (pack / GRAPH).stat().st_size, 4 * total)


def _count(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(int(np.prod(size)) for size in shapes.values())


def plain(sizes: Architecture, *, bert: bool) -> Callable[[Sequence[Sequence[int]]], None] | None:
    """Return transformers' model of this shape, float32, untrained: called with token ids, a message a pass.

    None where transformers has no such shape: pruned attention heads.
    """
    import torch  # noqa: PLC0415 - a large import that --help can do without
    import transformers  # noqa: PLC0415 - see above

    if sizes.attention_dim != sizes.dim:
        return None
    torch.manual_seed(0)
    model: Any
    if bert:
        model = transformers.BertForSequenceClassification(
            transformers.BertConfig(
                hidden_size=sizes.dim,
                num_hidden_layers=sizes.n_layers,
                num_attention_heads=sizes.n_heads,
                intermediate_size=sizes.hidden_dim,
                id2label=dict(enumerate("abc")),
            )
        )
    else:
        model = transformers.DistilBertForSequenceClassification(
            transformers.DistilBertConfig(
                vocab_size=sizes.vocab_size,
                max_position_embeddings=sizes.max_position_embeddings,
                dim=sizes.dim,
                n_layers=sizes.n_layers,
                n_heads=sizes.n_heads,
                hidden_dim=sizes.hidden_dim,
                id2label=dict(enumerate("abc")),
            )
        )
    model.eval()

    def label(rows: Sequence[Sequence[int]]) -> None:
        with torch.inference_mode():
            for ids in rows:
                model(input_ids=torch.tensor([list(ids)]))

    return label
