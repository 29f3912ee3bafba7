"""Make models smaller without training: fewer layers, attention heads, feed-forward columns or tokens.

Layers are selected as for DistilBERT (Sanh et al. 2019, arXiv:1910.01108). Heads (Michel et al. 2019,
arXiv:1905.10650) and columns are selected by the importance that `importance` measures, the same number in
every layer. Tokens are rows of the embedding table, which is half of a compact model; those that given texts
never use are removed. WordPiece always takes the longest piece in the vocabulary, so a text whose pieces are
all kept is tokenised as before and gets exactly the same scores. A removed word is spelt with shorter pieces:
all single characters are kept, and so is any piece with a character that is not itself a piece.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from worker.errors import CutError
from worker.heads import Branch
from worker.lab.checkpoint import Checkpoint, Tensors, layer_prefix
from worker.lab.convert.architecture import branch_sizes
from worker.lab.texts import TextReader

Floats = NDArray[np.float64]


def spread(layers: int, keep: int) -> list[int]:
    """Return `keep` of the layers 1 … `layers`, evenly spread and including the first and the last.

    6 of 12 gives 1, 3, 5, 8, 10, 12: the layers that DistilBERT took from BERT. Raises CutError if there are
    fewer layers.
    """
    if not 1 <= keep <= layers:
        raise CutError(f"cannot keep {keep} layers of {layers}")
    if keep == 1:
        return [1]
    return [int(place) + 1 for place in np.round(np.linspace(0, layers - 1, keep))]


def keep_layers(checkpoint: Checkpoint, layers: Sequence[int]) -> Checkpoint:
    """Return the model with only these layers (from 1), in this order, as DistilBERT was initialised.

    A token head reads the hidden states that remain: those after a kept layer, below the new last one. The
    weights for a removed layer are added to those for the nearest remaining one, whose hidden states are the
    most similar. A branch keeps its own layers and starts from the nearest remaining layer. Raises CutError
    for layers that do not exist or are out of order.
    """
    count = checkpoint.sizes.n_layers
    if sorted(set(layers)) != list(layers) or not layers or not 1 <= layers[0] <= layers[-1] <= count:
        raise CutError(f"layers to keep must be in ascending order between 1 and {count}, not {list(layers)}")
    tensors: Tensors = {
        name: array for name, array in checkpoint.tensors.items() if ".transformer.layer." not in name
    }
    for new, old in enumerate(layers):
        source, target = layer_prefix(old - 1), layer_prefix(new)
        tensors |= {
            target + name.removeprefix(source): array
            for name, array in checkpoint.tensors.items()
            if name.startswith(source)
        }
    heads: dict[str, Any] = {}
    for name, entry in checkpoint.config["heads"].items():
        heads[name] = entry
        if entry.get("layers"):
            heads[name], weight = _new_depths(checkpoint, name, layers)
            tensors[f"heads.{name}.pre_classifier.weight"] = weight
    return replace(
        checkpoint,
        tensors=tensors,
        config={**checkpoint.config, "n_layers": len(layers), "heads": heads},
    )


def _new_depths(checkpoint: Checkpoint, name: str, layers: Sequence[int]) -> tuple[dict[str, Any], Any]:
    """Return a token head's table and its first weights for the layers that remain."""
    entry = dict(checkpoint.config["heads"][name])
    below = layers[:-1]  # the new last layer computes only the first token
    if entry.get("branch"):
        return _branch_moved(entry, below), checkpoint.tensors[f"heads.{name}.pre_classifier.weight"]
    if not below:
        raise CutError(f"the head {name} reads tokens below the last layer: keep at least two layers")
    weight = checkpoint.tensors[f"heads.{name}.pre_classifier.weight"]
    nearest = {old: min(below, key=lambda kept: (abs(kept - old), kept)) for old in entry["layers"]}
    chosen = sorted(set(nearest.values()))
    dim = checkpoint.sizes.dim
    new = np.zeros((weight.shape[0], dim * len(chosen)), np.float32)
    for place, old in enumerate(entry["layers"]):
        at = chosen.index(nearest[old]) * dim
        new[:, at : at + dim] += weight[:, place * dim : (place + 1) * dim]
    entry["layers"] = [below.index(kept) + 1 for kept in chosen]
    return entry, new


def _branch_moved(entry: dict[str, Any], below: Sequence[int]) -> dict[str, Any]:
    """Return the table of a token head whose branch starts from a layer that remains `below` the last one."""
    after = entry["branch"]["after"]
    shared = [layer for layer in entry["layers"] if layer <= after]
    new = min((0, *below), key=lambda kept: (abs(kept - after), kept)) if after else 0
    new = [0, *below].index(new)
    if shared not in ([], [after]) or (shared and not new):
        raise CutError("a token head that has a branch and also reads encoder layers would lose some of them")
    return {
        **entry,
        "branch": {**entry["branch"], "after": new},
        "layers": [layer - after + new for layer in entry["layers"]],
    }


@dataclass(frozen=True, slots=True)
class Importance:
    """The importance of heads, (layers, heads), and of columns, (layers, hidden_dim)."""

    heads: Floats
    columns: Floats


def prune(
    checkpoint: Checkpoint, importance: Importance, *, heads: int | None = None, hidden: int | None = None
) -> Checkpoint:
    """Return the model with each layer's most important `heads` and `hidden` columns; None keeps all.

    What is kept stays in its order, with its width and weights; a token head's own layers are left alone.
    Raises CutError if there are fewer.
    """
    sizes = checkpoint.sizes
    for wanted, there, what in ((heads, sizes.n_heads, "heads"), (hidden, sizes.hidden_dim, "columns")):
        if wanted is not None and not 1 <= wanted <= there:
            raise CutError(f"cannot keep {wanted} {what} of {there}")
    tensors = dict(checkpoint.tensors)
    for layer in range(sizes.n_layers):
        prefix = layer_prefix(layer)
        if heads is not None:
            _cut_heads(tensors, prefix, _largest(importance.heads[layer], heads), sizes.head_dim)
        if hidden is not None:
            _cut_columns(tensors, prefix, _largest(importance.columns[layer], hidden))
    changes: dict[str, int] = {}
    if heads is not None:
        changes |= {"n_heads": heads, "head_dim": sizes.head_dim}
    if hidden is not None:
        changes["hidden_dim"] = hidden
    config = {**checkpoint.config, **changes, "heads": _with_own_widths(checkpoint)}
    if config.get("head_dim") == config["dim"] / config["n_heads"]:
        config.pop("head_dim")
    return replace(checkpoint, tensors=tensors, config=config)


def _with_own_widths(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the table of heads with each branch's widths, which now differ from the encoder's."""
    sizes, heads = checkpoint.sizes, {}
    for name, entry in checkpoint.config["heads"].items():
        heads[name] = entry
        if entry.get("branch"):
            own = branch_sizes(sizes, Branch(**entry["branch"]))
            widths = {"n_heads": own.n_heads, "hidden_dim": own.hidden_dim}
            heads[name] = {**entry, "branch": {**entry["branch"], **widths}}
    return heads


def _largest(values: Floats, count: int) -> list[int]:
    """Return the indices of the largest values in ascending order; ties go to the first."""
    return sorted(np.argsort(-values, kind="stable")[:count].tolist())


def _cut_heads(tensors: Tensors, prefix: str, kept: list[int], width: int) -> None:
    rows = [head * width + place for head in kept for place in range(width)]
    for part in ("q_lin", "k_lin", "v_lin"):
        for kind in ("weight", "bias"):
            name = f"{prefix}attention.{part}.{kind}"
            tensors[name] = tensors[name][rows]
    name = f"{prefix}attention.out_lin.weight"
    tensors[name] = np.ascontiguousarray(tensors[name][:, rows])


def _cut_columns(tensors: Tensors, prefix: str, kept: list[int]) -> None:
    for kind in ("weight", "bias"):
        name = f"{prefix}ffn.lin1.{kind}"
        tensors[name] = tensors[name][kept]
    name = f"{prefix}ffn.lin2.weight"
    tensors[name] = np.ascontiguousarray(tensors[name][:, kept])


_WORDS = "distilbert.embeddings.word_embeddings.weight"
_LONGEST = 1 << 20
"""Texts are read in full here, even where the model would truncate them."""


def trim(checkpoint: Checkpoint, texts: Iterable[str], least: int = 1) -> Checkpoint:
    """Return the model with only the short tokens and those that occur in `texts` at least `least` times.

    Raises CutError if the tokenizer is not a WordPiece: other kinds build words by merging pieces, so
    removing one changes many words.
    """
    kind = json.loads(checkpoint.tokenizer)["model"].get("type")
    if kind != "WordPiece":
        raise CutError(f"{checkpoint.title}: only a WordPiece vocabulary can be trimmed, and this is {kind}")
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
    """Return how often each token occurs in the full texts, prepared as the model prepares them."""
    reader = TextReader(checkpoint, longest=_LONGEST)
    counts: Counter[int] = Counter()
    for row in reader(list(texts), _LONGEST):
        counts.update(row.ids.tolist())
    return counts


def kept_tokens(checkpoint: Checkpoint, seen: Sequence[int]) -> list[int]:
    """Return the ids of the tokens to keep, in ascending order: those seen, special ones, and short ones."""
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
    """Return tokenizer.json with only the tokens `kept` (old ids, ascending), renumbered from 0."""
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
    Tokenizer.from_str(text)  # raises if it is not valid
    return text


def _renumber_processor(processor: dict[str, Any], new: dict[int, int]) -> None:
    """Give the tokens around a text their new ids, in every form in which the library writes them."""
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
    """Return the share of texts that the trimmed model tokenises identically, so gives the same scores."""
    before, after = (
        _spellings(each, TextReader(each, longest=_LONGEST), texts) for each in (checkpoint, trimmed)
    )
    return float(np.mean([one == two for one, two in zip(before, after, strict=True)])) if texts else 1.0


def _spellings(checkpoint: Checkpoint, reader: TextReader, texts: Sequence[str]) -> list[list[str | None]]:
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer)
    return [[tokenizer.id_to_token(number) for number in row.ids.tolist()] for row in reader(texts, _LONGEST)]
