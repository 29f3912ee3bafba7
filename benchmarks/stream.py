"""Kafka to Kafka on a real Apache Kafka (Java 17, Maven), against the classifier alone or another checkout.

Both get the same texts, in turn, round after round. A worker (`moodstream run`, exactly once) reads them from
a topic and commits labelled results to another. Its rate is taken from its own counter of committed messages,
from the first committed window to the last; starting up and joining the group are not in it. What is printed
is medians and the ratio of each round.

The classifier alone runs in a process of its own. With `--against TREE` the peer is the worker of another
checkout, with the same Python and packages, and who comes first changes with every round. Processor time is
printed too: it depends less on what else the machine does.

    python benchmarks/stream.py [--rounds 5] [--messages 4000] [--against TREE]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kafka import KafkaProducer

from benchmarks.classifier import made_up_texts
from tests.support.brokers import KafkaCluster
from tests.support.topics import Topics
from tests.support.workers import WorkerProcess

_ALONE = """
import json, sys, time
from moodstream import Classifier
texts = json.load(open(sys.argv[1]))
classifier = Classifier.load()
classifier.classify(texts[:200])
started = time.perf_counter()
classifier.classify(texts)
print(len(texts) / (time.perf_counter() - started))
"""


def classifier_alone(texts_file: Path) -> float:
    """Messages a second of `Classifier.classify`, in a fresh process after a warm-up."""
    command = [sys.executable, "-c", _ALONE, str(texts_file)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)


class Pace(NamedTuple):
    """What a worker committed from the first window to the last."""

    rate: float
    """Messages a second."""
    cost_us: float
    """Processor time for a message, of all threads. Microseconds."""


def kafka_to_kafka(bootstrap: str, texts: list[str], folder: Path, tree: Path = ROOT) -> Pace:
    """How fast the worker of a checkout is."""
    topics = Topics(bootstrap, f"bench-{uuid.uuid4().hex[:8]}")
    topics.create()
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, acks="all")
    for number, text in enumerate(texts):
        producer.send(topics.posts, key=str(number).encode(), value=json.dumps({"text": text}).encode())
    producer.flush(timeout=60)
    producer.close()
    # The folder that this script runs in would come before PYTHONPATH.
    paths = {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
    worker = topics.worker("0", folder, MOODSTREAM_MODEL__THREADS="0", **paths)
    worker.start()
    try:
        return _pace(worker, len(texts))
    finally:
        worker.terminate()


def _pace(worker: WorkerProcess, wanted: int) -> Pace:
    first: tuple[float, float, float] | None = None
    process = psutil.Process(worker.pid)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        done, now = worker.committed(), time.perf_counter()
        spent = process.cpu_times()
        cpu_s = spent.user + spent.system
        if done and first is None:
            first = done, now, cpu_s
        if done >= wanted and first is not None:
            count = done - first[0]
            return Pace(count / (now - first[1]), (cpu_s - first[2]) / count * 1e6)
        time.sleep(0.05)
    raise SystemExit("the worker did not finish in 300 s")


def compare(bootstrap: str, texts: list[str], folder: Path, other: Path, rounds: int) -> None:
    """Measure this checkout and another one in turn."""
    found: dict[Path, list[Pace]] = {ROOT: [], other: []}
    for number in range(rounds):
        for tree in (ROOT, other) if number % 2 else (other, ROOT):
            found[tree].append(kafka_to_kafka(bootstrap, texts, folder, tree))
        ours, theirs = found[ROOT][-1], found[other][-1]
        print(
            f"round {number + 1}: this {ours.rate:.0f}/s, {ours.cost_us:.0f} us; other {theirs.rate:.0f}/s, "
            f"{theirs.cost_us:.0f} us; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    for name, paces in (("this checkout", found[ROOT]), ("the other", found[other])):
        rate, cost = (statistics.median(column) for column in zip(*paces, strict=True))
        print(f"{name:14} {rate:8.0f} messages/s {cost:8.0f} us a message (medians of {rounds})")
    pairs = list(zip(found[ROOT], found[other], strict=True))
    for name, ratios in (
        ("rate", [ours.rate / theirs.rate for ours, theirs in pairs]),
        ("processor time", [ours.cost_us / theirs.cost_us for ours, theirs in pairs]),
    ):
        print(f"{name:14} {statistics.median(ratios):8.3f} (rounds {min(ratios):.3f} to {max(ratios):.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=4_000)
    parser.add_argument("--against", type=Path, metavar="TREE", help="another checkout")
    options = parser.parse_args()
    texts = made_up_texts(options.messages)
    if options.against is not None:
        with tempfile.TemporaryDirectory() as name, KafkaCluster(Path(name) / "kafka") as cluster:
            compare(cluster.bootstrap, texts, Path(name), options.against.resolve(), options.rounds)
        return
    alone, stream = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts_file = folder / "texts.json"
        texts_file.write_text(json.dumps(texts))
        with KafkaCluster(folder / "kafka") as cluster:
            for number in range(options.rounds):
                alone.append(classifier_alone(texts_file))
                stream.append(kafka_to_kafka(cluster.bootstrap, texts, folder).rate)
                print(
                    f"round {number + 1}: alone {alone[-1]:.0f}/s, Kafka to Kafka {stream[-1]:.0f}/s",
                    flush=True,
                )
    ratios = [ours / bare for ours, bare in zip(stream, alone, strict=True)]
    print(f"classifier alone  {statistics.median(alone):8.0f} messages/s (median of {options.rounds})")
    print(f"Kafka to Kafka    {statistics.median(stream):8.0f} messages/s")
    print(
        f"ratio             {statistics.median(ratios):8.2f} (rounds {min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
