"""A pack in words: what `moodstream model show` prints, for people and as JSON."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.cli.show import columns

if TYPE_CHECKING:
    from worker.classify import Head, Pack
    from worker.classify.token_head import TokenHead

_CARD = "MODEL_CARD.md"
_FIRM = "\N{NO-BREAK SPACE}"
_OVER = f"{_FIRM}>{_FIRM}"  # a label and its threshold stay on one line
_SIZES = ("n_layers", "dim", "n_heads", "hidden_dim", "vocab_size")


def describe(pack: "Pack") -> str:
    """Return the lines about a pack: heads, labels, thresholds, temperatures, files, figures of its card."""
    sizes = sizes_of(pack)
    first = (
        f"{pack.name}@{pack.revision}\n"
        f"folder      {pack.path}\n"
        f"reads       up to {pack.max_tokens} tokens; texts {_handling(pack)}\n"
        f"trunk       {sizes['n_layers']} layers of {sizes['dim']}, {sizes['n_heads']} attention heads each, "
        f"{sizes['vocab_size']:,} tokens in the vocabulary\n"
        f"made        {pack.created or 'unknown'}\n"
    )
    parts = [first, *map(_head, pack.outputs)]
    parts.append(columns(("FILE", "BYTES"), [*pack.files.items(), ("all", sum(pack.files.values()))]))
    if table := card_figures(pack.path):
        parts.append(columns([name.upper() for name in table[0]], table[1:]))
    return "\n".join(parts)


def as_json(pack: "Pack") -> dict[str, Any]:
    """Return the same as JSON values."""
    table = card_figures(pack.path)
    return {
        "name": pack.name,
        "revision": pack.revision,
        "folder": str(pack.path),
        "created": pack.created,
        "max_tokens": pack.max_tokens,
        "text": {"name": pack.text.name, "version": pack.text.version},
        "sizes": sizes_of(pack),
        "heads": json.loads((pack.path / "config.json").read_bytes())["heads"],
        "files": dict(pack.files),
        "figures": [dict(zip(table[0], row, strict=True)) for row in table[1:]],
    }


def sizes_of(pack: "Pack") -> dict[str, int]:
    """Return the trunk's sizes under the names of DistilBertConfig."""
    config = json.loads((pack.path / "config.json").read_bytes())
    defaults = {"n_layers": 6, "dim": 768, "n_heads": 12, "hidden_dim": 3072, "vocab_size": pack.vocab_size}
    return {name: config.get(name, defaults[name]) for name in _SIZES}


def card_figures(folder: Path) -> list[list[str]]:
    """Return the table of figures in a pack's card, its header first; nothing where there is none."""
    try:
        lines = (folder / _CARD).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    rows: list[list[str]] = []
    for line in lines:
        if not line.startswith("|"):
            if rows:
                break
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if rows or "figure" in cells:
            rows.append(cells)
    return [row for number, row in enumerate(rows) if number != 1 and len(row) == len(rows[0])]


def _handling(pack: "Pack") -> str:
    handling = pack.text
    return "as they come" if handling.name == "raw" else f"prepared by {handling.name} {handling.version}"


def _head(head: "Head | TokenHead") -> str:
    kind = head.problem_type.replace("_", " ")
    title = f"{head.name}: {kind}, {len(head.labels)} label{'s' if len(head.labels) > 1 else ''}"
    if head.temperature != 1:
        title += f", temperature {head.temperature:g}"
    if head.problem_type == "token_classification":
        layers = ", ".join(map(str, head.layers))
        share = f", tokens from {head.relative:.0%} of the strongest on" if head.relative else ""
        lines = [f"{head.labels[0]}{_OVER}{head.threshold:g}{share}, from layers {layers}"]
        if head.branch is not None:
            after, own = head.branch.after, head.branch.layers
            lines.append(f"{own} layers of its own after {f'layer {after}' if after else 'the embeddings'}")
        if head.gate is not None:
            gate = head.gate
            lines.append(f"asked where {gate.head} gives {gate.label} at least {gate.threshold:g}")
    elif head.thresholds is None:
        lines = [", ".join(head.labels)]
    else:
        pairs = zip(head.labels, head.thresholds, strict=True)
        lines = [", ".join(f"{label}{_OVER}{threshold:.2f}" for label, threshold in pairs)]
        lines += [f"{name}: {', '.join(labels)}" for name, labels in head.groups.items()]
    wrapped = "".join(click.wrap_text(line, 100, "  ", "    ") + "\n" for line in lines)
    return f"{title}\n{wrapped.replace(_FIRM, ' ')}"
