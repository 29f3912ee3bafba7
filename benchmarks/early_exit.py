"""Does it pay to answer easy texts after half of the layers? Quality against speed, threshold by threshold.

    python benchmarks/early_exit.py MODEL --data DIR [--layer 3] [--texts 24000] [--curve docs/early-exit.png]

MODEL is a checkpoint folder or a pack. Early heads are trained on the frozen trunk with texts of the train
splits; at each threshold a text leaves after the layer when the calibrated probability that all its early
decisions are the model's own reaches the threshold. Both graphs are int8 and run the same micro-batches on
one thread, round about, and their processor time is compared. It ships only where it wins at equal quality,
which the last line judges: no dev figure more than 0.3 points down.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np  # noqa: E402 - after the path is set
import onnxruntime as ort  # noqa: E402 - likewise

from benchmarks.early_exit_graph import EARLY, UNDECIDED, EarlyExitEncoder  # noqa: E402 - likewise
from benchmarks.early_exit_heads import EXIT, EarlyHeads, look, train  # noqa: E402 - likewise
from worker.classify.session import IDS, LENGTHS  # noqa: E402 - likewise
from worker.convert.architecture import CheckpointHeads, read_checkpoint_heads  # noqa: E402 - likewise
from worker.convert.calibrate import largest_magnitudes  # noqa: E402 - likewise
from worker.convert.encoder import Encoder  # noqa: E402 - likewise
from worker.convert.int8 import Int8Products  # noqa: E402 - likewise
from worker.convert.weights import open_weights  # noqa: E402 - likewise
from worker.distill.folder import Checkpoint, write_folder  # noqa: E402 - likewise
from worker.distill.from_pack import read_model  # noqa: E402 - likewise
from worker.distill.student import without_heads  # noqa: E402 - likewise
from worker.distill.texts import TextReader  # noqa: E402 - likewise
from worker.evaluation import calibration, metrics  # noqa: E402 - likewise
from worker.evaluation.examples import Examples, fitting  # noqa: E402 - likewise
from worker.evaluation.score import by_length  # noqa: E402 - likewise
from worker.training import data  # noqa: E402 - likewise
from worker.training.errors import TrainingError  # noqa: E402 - likewise

THRESHOLDS = (0.99, 0.97, 0.95, 0.9, 0.8, 0.6)
LOSS = 0.3
"""Points that a figure may fall and still count as equal."""

Rows = Sequence[Sequence[int]]


class Runner:
    """One graph, on the calling thread."""

    def __init__(self, model: bytes, temperatures: Mapping[str, float], *, early: bool) -> None:
        """`temperatures` holds each head's: an early head's logits are at 1, and are brought to it."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._temperatures, self._heads, self._early = temperatures, list(temperatures), early

    def __call__(self, rows: Rows) -> tuple[dict[str, Any], int]:
        """Return each head's logits (texts, labels), and how many texts went all the way."""
        lengths = np.array([len(row) for row in rows], np.int32)
        ids = np.zeros((len(rows), lengths.max()), np.int32)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        names = [*self._heads, *([EARLY + name for name in self._heads] + [UNDECIDED] if self._early else [])]
        given = dict(zip(names, self._session.run(names, {IDS: ids, LENGTHS: lengths}), strict=True))
        if not self._early:
            return given, len(rows)
        found = {}
        for name in self._heads:
            found[name] = given[EARLY + name] * self._temperatures[name]
            found[name][given[UNDECIDED]] = given[name]
        return found, len(given[UNDECIDED])


def build(checkpoint: Checkpoint, room: Path, early: EarlyHeads, layer: int) -> dict[float, Runner]:
    """Return a runner for each threshold, and under 1.0 the plain graph."""
    write_folder(checkpoint, room / "checkpoint")
    sizes, path = checkpoint.sizes, room / "checkpoint" / "config.json"
    heads: CheckpointHeads = read_checkpoint_heads(checkpoint.config, path)
    temperatures = {entry.head.name: entry.head.temperature for entry in heads.texts}
    layers = {
        name: tuple(
            tensor.detach().numpy()
            for part in (head.pre_classifier, head.classifier)
            for tensor in (part.weight, part.bias)
        )
        for name, head in early.heads.items()
    }
    runners = {}
    with open_weights(room / "checkpoint") as weights:
        largest = largest_magnitudes(
            sizes, weights, heads, room / "checkpoint" / "tokenizer.json", room / "scratch.onnx"
        )
        plain = Encoder(sizes, weights, Int8Products(largest)).build(heads)
        runners[1.0] = Runner(plain.SerializeToString(), temperatures, early=False)
        for threshold in THRESHOLDS:
            model = EarlyExitEncoder(
                sizes,
                weights,
                Int8Products(largest),
                layer=layer,
                early=layers,
                exit_head=EXIT,
                threshold=threshold,
                temperature=early.temperature,
            ).build(heads)
            runners[threshold] = Runner(model.SerializeToString(), temperatures, early=True)
    return runners


def judge(checkpoint: Checkpoint, runner: Runner, sets: Sequence[Examples]) -> tuple[dict[str, float], float]:
    """Return the main figure of each set in points, and the share of all texts that left early."""
    reader, figures, total, whole = TextReader(checkpoint), {}, 0, 0
    for examples in sets:
        head = checkpoint.heads[examples.head]
        rows = [row.ids.tolist() for row in reader(examples.texts, examples.max_tokens)]
        logits = np.zeros((len(rows), len(head.labels)))
        for batch in by_length([len(row) for row in rows], 512):
            given, on = runner([rows[row] for row in batch])
            logits[batch] = given[head.name]
            total, whole = total + len(batch), whole + on
        scores = calibration.to_scores(logits, head.temperature, multi_label=head.multi_label)
        figures[examples.name] = 100 * _figure(examples, head, scores)
    return figures, 1 - whole / total


def _figure(examples: Examples, head: Any, scores: Any) -> float:
    """Return accuracy, macro-recall for three classes, or macro-F1 with the model's own thresholds."""
    columns = [head.labels.index(label) for label in examples.labels]
    weights = np.ones(len(scores))
    if examples.table is not None:
        chosen = scores[:, columns] >= np.array(head.thresholds)[columns]
        return metrics.multi_label(examples.table, chosen, weights)["macro_f1"]
    assert examples.classes is not None
    best = scores[:, columns].argmax(axis=1)
    found = metrics.single_label(examples.classes, best, len(columns), weights)
    return found["macro_recall" if len(columns) == 3 else "accuracy"]


def seconds(runner: Runner, batches: Sequence[Rows]) -> float:
    """Return the processor time of all batches: other work on the machine moves it less than the clock."""
    started = time.process_time()
    for rows in batches:
        runner(rows)
    return time.process_time() - started


def speeds(
    runners: dict[float, Runner], batches: Sequence[Rows], rounds: int
) -> dict[float, tuple[float, ...]]:
    """Return each threshold's rate relative to the plain graph: median, least and largest of the rounds."""
    ratios: dict[float, list[float]] = {threshold: [] for threshold in runners}
    for runner in runners.values():
        seconds(runner, batches[:4])
    for number in range(rounds):
        spent = {
            threshold: seconds(runners[threshold], batches)
            for threshold in list(runners)[:: -1 if number % 2 else 1]
        }
        for threshold, value in spent.items():
            ratios[threshold].append(spent[1.0] / value)
    return {key: (statistics.median(values), min(values), max(values)) for key, values in ratios.items()}


def read_texts(root: Path, heads: Sequence[str], count: int) -> list[str]:
    """Return texts of the train splits of all sets that teach one of the heads, evenly."""
    fitting_sets = [
        name
        for name, source in data.SOURCES.items()
        if source.head in heads and source.from_files and source.train
    ]
    texts = []
    for name in fitting_sets:
        try:
            texts += data.load(name, "train", root, count // len(fitting_sets)).texts
        except TrainingError as error:
            print(f"passed over: {error}")
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description="Early exit: quality against speed.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", help="folder with the data sets; else MOODSTREAM_DATA")
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--texts", type=int, default=24_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=0, help="rows of each dev split; 0 takes all")
    parser.add_argument("--timed", type=int, default=200, help="texts of each dev split to time on")
    parser.add_argument("--curve", type=Path, help="picture; numbers go beside it as JSON")
    args = parser.parse_args()
    root = data.data_root(args.data)
    whole = read_model(args.model)
    checkpoint = without_heads(whole, [name for name, head in whole.heads.items() if head.by_token])
    sets = [each for each in fitting(checkpoint.heads, root, rows=args.rows) if each.marked is None]
    texts = read_texts(root, list(checkpoint.heads), args.texts)
    print(f"{len(texts):,} texts to train on, load {os.getloadavg()[0]:.1f}", flush=True)
    early = train(checkpoint, look(checkpoint, texts, args.layer))
    print(f"all early decisions are the model's on {early.agreed:.1%} of texts held out", flush=True)
    with tempfile.TemporaryDirectory() as room:
        runners = build(checkpoint, Path(room), early, args.layer)
    mixed = [text for each in sets for text in each.texts[: args.timed]]
    rows = [row.ids.tolist() for row in TextReader(checkpoint)(mixed, 256)]
    batches = [[rows[row] for row in batch] for batch in by_length([len(row) for row in rows], 256)]
    speed = speeds(runners, batches, args.rounds)
    points = []
    for threshold, runner in runners.items():
        figures, left = judge(checkpoint, runner, sets)
        middle, low, high = speed[threshold]
        points.append(
            {
                "threshold": threshold,
                "left": left,
                "speed": middle,
                "low": low,
                "high": high,
                "figures": figures,
            }
        )
        shown = ", ".join(f"{name} {value:.1f}" for name, value in figures.items())
        print(
            f"{threshold:.2f}: {left:.0%} leave, speed {middle:.2f} ({low:.2f} to {high:.2f}); {shown}",
            flush=True,
        )
    print(verdict(points))
    if args.curve:
        draw(points, args.curve)


def verdict(points: Sequence[dict[str, Any]]) -> str:
    """Say whether any threshold is faster at equal quality."""
    plain = points[0]["figures"]
    equal = [
        point
        for point in points[1:]
        if all(point["figures"][name] >= value - LOSS for name, value in plain.items())
    ]
    best = max(equal, key=lambda point: point["speed"], default=None)
    if best is None or best["speed"] <= 1.0:
        return f"it does not win: no threshold is faster with every figure within {LOSS} points"
    return (
        f"at equal quality ({LOSS} points): {best['speed']:.2f} times as fast, threshold {best['threshold']}"
    )


def draw(points: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the loss of each figure over the speed."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, only for those who draw

    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(points, indent=2) + "\n", encoding="utf-8")
    picture = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = picture.subplots()
    for name, plain in points[0]["figures"].items():
        axes.plot(
            [p["speed"] for p in points], [p["figures"][name] - plain for p in points], "o-", label=name
        )
    axes.axhline(-LOSS, color="#b8b8b8", linestyle="--")
    axes.set_xlabel("speed, times the whole model's")
    axes.set_ylabel("points against the whole model")
    axes.legend(fontsize=8)
    picture.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
