"""How small, how fast, how good: BERT-base, DistilBERT-base, TinyBERT and our packs.

It writes the tables of docs/explanation/models.md.

    python benchmarks/models.py [--pack NAME=FOLDER ...] [--figures FILE ...] [--quick]
    python benchmarks/models.py --from build/models-report.json     # write the table again, measure nothing

Each model is timed on the same texts in two forms: as an int8 graph of ours, through `Classifier`, and in
plain transformers, float32, a message a pass, as Sanh et al. timed them. Rounds of all models take turns, in
an order that is turned about each time; figures are medians, ratios those of the same round. Accuracy is read
from what `moodstream evaluate --json` printed (--figures) for our packs, and cited for the others.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.classifier import every_nth_by_length, machine, made_up_texts
from benchmarks.model_shapes import SHAPES, Shape, plain, size_of, untrained_pack
from benchmarks.models_table import render, replace_between
from worker.lab.convert.architecture import (
    read_architecture,
    read_config,
)
from worker.model.classifier import Classifier
from worker.model.pack import (
    CONFIG,
    TOKENIZER,
    bundled_pack,
    load_pack,
)
from worker.types import Prediction

PAGE = ROOT / "docs" / "explanation" / "models.md"
REPORT = ROOT / "build" / "models-report.json"
Run = Callable[[], int]
"""Labels texts and returns how many."""


def _int8(pack: Path, texts: Sequence[str]) -> Run:
    """Return a pass over all texts through the classifier."""
    classifier = Classifier.load(pack)

    def run() -> int:
        if not all(isinstance(answer, Prediction) for answer in classifier.classify(texts)):
            raise SystemExit(f"{pack}: a text got no labels: the figure would mean nothing")
        return len(texts)

    return run


def _float(pack: Path, rows: Sequence[Sequence[int]], shape: Shape | None) -> Run | None:
    """Return a pass over a few texts in plain transformers, None where it has no such shape."""
    sizes = read_architecture(read_config(pack / CONFIG), pack / CONFIG)
    label = plain(sizes, bert=shape is not None and shape.bert)
    if label is None:
        return None

    def run() -> int:
        label(rows)
        return len(rows)

    return run


def take_turns(runs: dict[str, Run], rounds: int, form: str) -> dict[str, list[float]]:
    """Return each model's rate in every round, in messages a second."""
    for run in runs.values():
        run()  # the first pass allocates
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs)[:: -1 if number % 2 else 1]:
            started = time.perf_counter()
            count = runs[name]()
            rates[name].append(count / (time.perf_counter() - started))
        line = ", ".join(f"{name} {values[-1]:.0f}" for name, values in rates.items())
        print(f"{form} round {number + 1}: {line}; load {os.getloadavg()[0]:.1f}", flush=True)
    return rates


def measure(packs: dict[str, Path], args: argparse.Namespace, room: Path) -> dict[str, Any]:
    """Time every shape and pack; return the report."""
    tokenizer = bundled_pack() / TOKENIZER
    shapes = {shape.name: shape for shape in SHAPES}
    folders = {name: untrained_pack(shape, tokenizer, room) for name, shape in shapes.items()} | packs
    texts = made_up_texts(args.texts)
    tokens = Classifier.load(bundled_pack(), threads=1).tokenize(texts)
    few = set(every_nth_by_length(texts, tokens, args.plain_texts))
    rows = [row.ids for text, row in zip(texts, tokens, strict=True) if text in few]
    int8 = take_turns({name: _int8(pack, texts) for name, pack in folders.items()}, args.rounds, "int8")
    floats = {name: _float(pack, rows, shapes.get(name)) for name, pack in folders.items()}
    plain_rates = take_turns(
        {name: run for name, run in floats.items() if run is not None}, args.rounds, "float32"
    )
    models = []
    for name, pack in folders.items():
        size, shape = size_of(pack, shapes.get(name)), shapes.get(name)
        models.append(
            {
                "name": name,
                "pack": None if shape else f"{load_pack(pack).name}@{load_pack(pack).revision}",
                "sizes": read_config(pack / CONFIG) | {"heads": None},
                "encoder": size.encoder,
                "parameters": size.parameters,
                "int8_bytes": size.int8_bytes,
                "float_bytes": size.float_bytes,
                "int8": _summary(int8[name], int8["BERT-base"]),
                "float32": _summary(plain_rates[name], plain_rates["BERT-base"])
                if name in plain_rates
                else None,
                "cited": {
                    "sst2": [shape.sst2.value, shape.sst2.source],
                    "glue": [shape.glue.value, shape.glue.source],
                }
                if shape
                else None,
            }
        )
    names = ("onnxruntime", "torch", "transformers")
    return {
        "machine": machine(),
        "versions": {name: version(name) for name in names},
        "texts": len(texts),
        "plain_texts": len(rows),
        "rounds": args.rounds,
        "models": models,
    }


def _summary(rates: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    """Return the median rate, and the median and the ends of the ratios to BERT-base's."""
    ratios = [rate / other for rate, other in zip(rates, base, strict=True)]
    return {
        "rate": statistics.median(rates),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
    }


def read_figures(files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return the sets' results by model (`name@revision`) and set, from `moodstream evaluate --json`."""
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        for entry in json.loads(file.read_bytes()):
            found.setdefault(entry["model"], {}).update({each["data"]: each for each in entry["sets"]})
    return found


def _named(text: str) -> tuple[str, Path]:
    name, found, folder = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"NAME=FOLDER, not {text!r}")
    return name, Path(folder)


def _packs(given: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    """Return the packs named, or every pack that ships, the default one first."""
    if given:
        return dict(given)
    home = bundled_pack()
    others = sorted(
        path for path in home.parent.iterdir() if (path / "manifest.json").is_file() and path != home
    )
    return {path.name: path for path in (home, *others)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0] if __doc__ else "")
    parser.add_argument("--pack", action="append", default=[], type=_named, metavar="NAME=FOLDER")
    parser.add_argument("--figures", action="append", default=[], type=Path, metavar="FILE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=600, help="texts a round, as int8")
    parser.add_argument("--plain-texts", type=int, default=60, help="texts a round, in transformers")
    parser.add_argument("--quick", action="store_true", help="60 texts, 6 in transformers, 2 rounds")
    parser.add_argument("--from", dest="report", type=Path, help="a report: write the page, measure nothing")
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    if args.quick:
        args.texts, args.plain_texts, args.rounds = 60, 6, 2
    if args.report:
        report = json.loads(args.report.read_bytes())
    else:
        with tempfile.TemporaryDirectory() as room:
            report = measure(_packs(args.pack), args, Path(room))
        report["figures"] = {}
    report["figures"] |= read_figures(args.figures)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    page = args.page.read_text(encoding="utf-8")
    args.page.write_text(replace_between(page, render(report)), encoding="utf-8")
    print(render(report))


if __name__ == "__main__":
    main()
