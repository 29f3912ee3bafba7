"""What a token head costs: the same texts through one pack without it, and with it behind its gate.

    python benchmarks/spans.py [--quick] [--checkpoint FOLDER | --pack NAME]

The packs are made on the spot from one checkpoint: without the token head, and with it at four thresholds
of its gate, so that no text passes, some 5 or 20 % do, or all. The checkpoint is one with random weights in
the sizes of the compact model, since shapes alone decide the cost, or FOLDER: one that has a gated token
head, or a pack: its folder, or the name of one that ships.
Random heads mark about half of the tokens, more than any real text has: what is printed bounds the cost from
above.

Rounds of all packs alternate. A ratio is the cost with the head over that without it in the same round, in
processor time of the whole classifier (tokenising, passes, looking places up), which other work on the
machine disturbs less than the clock. That the other heads say the same with and without is checked first.
"""

import argparse
import dataclasses
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
from safetensors.numpy import save_file

from benchmarks.classifier import made_up_texts
from worker.heads import Gate
from worker.lab.convert.from_pack import pack_tensors
from worker.lab.convert.writer import convert_checkpoint
from worker.model.classifier import Classifier
from worker.model.pack import (
    bundled_pack,
    load_pack,
    model_folder,
)
from worker.types import Prediction

WITHOUT = "without"
SHARES = {"0 %": 0.0, "5 %": 0.05, "20 %": 0.2, "100 %": 1.0}
"""Share of the texts that the gate is to let through, by the name of the pack."""

SIZES = {
    "model_type": "distilbert",
    "activation": "gelu",
    "dim": 384,
    "hidden_dim": 1536,
    "n_layers": 6,
    "n_heads": 12,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
}
HEADS: dict[str, Any] = {
    "sentiment": {
        "problem_type": "single_label_classification",
        "id2label": {"0": "negative", "1": "neutral", "2": "positive"},
    },
    "emotion": {
        "problem_type": "multi_label_classification",
        "id2label": {str(n): f"mood{n}" for n in range(28)},
    },
    "toxicity": {
        "problem_type": "single_label_classification",
        "id2label": {"0": "not_toxic", "1": "toxic"},
    },
    "toxic_spans": {
        "problem_type": "token_classification",
        "id2label": {"0": "toxic"},
        "layers": [2, 3, 4],
        "gate": {"head": "toxicity", "label": "toxic", "threshold": 0.5},
    },
}


def random_checkpoint(folder: Path) -> Path:
    """Write a checkpoint with random weights, and the bundled pack's tokenizer."""
    rng = np.random.default_rng(20_240_611)
    dim, hidden = int(str(SIZES["dim"])), int(str(SIZES["hidden_dim"]))
    tensors: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        tensors[f"{name}.weight"] = (rng.standard_normal((outputs, inputs)) / math.sqrt(inputs)).astype("f4")
        tensors[f"{name}.bias"] = (0.02 * rng.standard_normal(outputs)).astype("f4")

    def norm(name: str) -> None:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = np.ones(dim, "f4"), np.zeros(dim, "f4")

    for kind, rows in (("word", SIZES["vocab_size"]), ("position", SIZES["max_position_embeddings"])):
        values = rng.standard_normal((int(str(rows)), dim)).astype("f4")
        tensors[f"distilbert.embeddings.{kind}_embeddings.weight"] = values
    norm("distilbert.embeddings.LayerNorm")
    for layer in range(int(str(SIZES["n_layers"]))):
        prefix = f"distilbert.transformer.layer.{layer}"
        for part in ("q", "k", "v", "out"):
            linear(f"{prefix}.attention.{part}_lin", dim, dim)
        linear(f"{prefix}.ffn.lin1", hidden, dim)
        linear(f"{prefix}.ffn.lin2", dim, hidden)
        norm(f"{prefix}.sa_layer_norm")
        norm(f"{prefix}.output_layer_norm")
    for name, head in HEADS.items():
        linear(f"heads.{name}.pre_classifier", dim, dim * len(head.get("layers", [0])))
        linear(f"heads.{name}.classifier", len(head["id2label"]), dim)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**SIZES, "heads": HEADS}))
    shutil.copyfile(bundled_pack() / "tokenizer.json", folder / "tokenizer.json")
    save_file(tensors, folder / "model.safetensors")
    return folder


def pack_as_checkpoint(pack: Path, folder: Path) -> Path:
    """Write a pack's weights, as they are rounded, as a checkpoint."""
    found = load_pack(model_folder(pack))
    config, tensors = pack_tensors(found)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copyfile(found.path / "tokenizer.json", folder / "tokenizer.json")
    save_file(tensors, folder / "model.safetensors")
    return folder


def token_head(heads: Mapping[str, Any]) -> tuple[str, Gate]:
    """Find the token head that is measured, and its gate."""
    for name, entry in heads.items():
        if entry["problem_type"] == "token_classification" and "gate" in entry:
            return name, Gate(**entry["gate"])
    raise SystemExit("the checkpoint has no gated token head")


def packed(checkpoint: Path, heads: Mapping[str, Any], pack: Path) -> Classifier:
    """Convert a copy of the checkpoint that has these heads."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "checkpoint"
        copy.mkdir()
        for file in checkpoint.iterdir():
            if file.is_file():
                (copy / file.name).symlink_to(file.resolve())
        config = json.loads((checkpoint / "config.json").read_text()) | {"heads": heads}
        (copy / "config.json").unlink()
        (copy / "config.json").write_text(json.dumps(config))
        return Classifier.load(convert_checkpoint(copy, pack, name=pack.name).path)


def packs(checkpoint: Path, folder: Path, texts: Sequence[str]) -> dict[str, Classifier]:
    """Make all packs; the gate's thresholds follow from how its head scores the texts."""
    heads = json.loads((checkpoint / "config.json").read_text())["heads"]
    name, gate = token_head(heads)
    others = {head: entry for head, entry in heads.items() if entry["problem_type"] != "token_classification"}
    found = {WITHOUT: packed(checkpoint, others, folder / WITHOUT)}
    scores = [answer.heads[gate.head].scores[gate.label] for answer in labelled(found[WITHOUT], texts)]
    for title, share in SHARES.items():
        # Above the largest score there may be no number but 1.
        threshold = 1.0 if share == 0 else float(np.quantile(scores, 1 - share)) if share < 1 else 0.0
        entry = heads[name] | {"gate": dataclasses.asdict(dataclasses.replace(gate, threshold=threshold))}
        found[title] = packed(checkpoint, others | {name: entry}, folder / f"head{share}")
    return found


def labelled(classifier: Classifier, texts: Sequence[str]) -> list[Prediction]:
    """Label all texts, and make sure that each got its labels."""
    answers = [answer for answer in classifier.classify(texts) if isinstance(answer, Prediction)]
    if len(answers) != len(texts):
        raise SystemExit("a text got no labels: the figure would mean nothing")
    return answers


def check(found: Mapping[str, Classifier], texts: Sequence[str]) -> None:
    """Print how many texts the gates let through; see that the other heads say the same in all packs."""
    plain = labelled(found[WITHOUT], texts)
    for title, classifier in found.items():
        answers = labelled(classifier, texts)
        if [answer.heads for answer in answers] != [answer.heads for answer in plain]:
            raise SystemExit(f"{title}: another head's scores have changed")
        if title != WITHOUT:
            results = [result for answer in answers for result in answer.spans.values()]
            read, marked = (
                sum(flags) for flags in zip(*((r.read, bool(r.ranges)) for r in results), strict=True)
            )
            print(f"gate at {title:6} {read} of {len(texts)} texts read, {marked} with marks")


def measure(found: Mapping[str, Classifier], texts: Sequence[str], rounds: int) -> None:
    """Run all packs in turn, in changing order, and print medians and ratios."""
    titles = list(found)
    cpu: dict[str, list[float]] = {title: [] for title in titles}
    rates: dict[str, list[float]] = {title: [] for title in titles}
    for number in range(rounds):
        first = number % len(titles)
        for title in titles[first:] + titles[:first]:
            clock, processor = time.perf_counter(), time.process_time()
            labelled(found[title], texts)
            cpu[title].append((time.process_time() - processor) / len(texts) * 1e6)
            rates[title].append(len(texts) / (time.perf_counter() - clock))
        print(f"round {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    print(f"\n{'texts read':10}  {'µs of processor':>15}  {'messages/s':>10}  ratio of cost (range)")
    for title in titles:
        ratios = [ours / plain for ours, plain in zip(cpu[title], cpu[WITHOUT], strict=True)]
        span = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        middle = statistics.median(cpu[title])
        print(f"{title:10}  {middle:15.0f}  {statistics.median(rates[title]):10.0f}  {span}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint with a gated token head")
    parser.add_argument("--pack", type=Path, help="a pack with one")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--texts", type=int, default=1_500)
    parser.add_argument("--quick", action="store_true", help="200 texts, 3 rounds")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.texts = 3, 200
    texts = made_up_texts(options.texts)
    with tempfile.TemporaryDirectory() as name:
        if options.pack:
            checkpoint = pack_as_checkpoint(options.pack, Path(name) / "pack")
        else:
            checkpoint = options.checkpoint or random_checkpoint(Path(name) / "random")
        chosen = options.pack or options.checkpoint or "random weights, compact sizes"
        print(f"checkpoint: {chosen}; {len(texts)} texts")
        found = packs(checkpoint, Path(name), texts)
        check(found, texts)
        measure(found, texts, options.rounds)


if __name__ == "__main__":
    main()
