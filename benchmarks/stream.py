"""Kafka to Kafka against the classifier alone, on a real Apache Kafka (Java 17, Maven).

Both get the same texts, in turn, round after round: the classifier in a process of its own, and a worker
(`moodstream run`, exactly once) that reads them from a topic and commits labelled results to another. The
worker's rate is taken from its own counter of committed messages, from the first committed window to the
last; starting up and joining the group are not in it. What is printed is medians and the ratio of each round.

    python benchmarks/stream.py [--rounds 5] [--messages 4000]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kafka import KafkaProducer

from benchmarks.classifier import made_up_texts
from tests.support.brokers import KafkaCluster
from tests.support.topics import Topics
from tests.support.workers import WorkerProcess

_COUNTER = "moodstream_messages_total"
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


def committed(metrics: str) -> float:
    """Sum of the worker's counter over its outcomes."""
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith(_COUNTER + "{")
    )


def kafka_to_kafka(bootstrap: str, texts: list[str], folder: Path) -> float:
    """Messages a second that a worker commits."""
    topics = Topics(bootstrap, f"bench-{uuid.uuid4().hex[:8]}")
    topics.create()
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, acks="all")
    for number, text in enumerate(texts):
        producer.send(topics.posts, key=str(number).encode(), value=json.dumps({"text": text}).encode())
    producer.flush(timeout=60)
    producer.close()
    worker = topics.worker("0", folder, MOODSTREAM_MODEL__THREADS="0")
    worker.start()
    try:
        return _rate(worker, len(texts))
    finally:
        worker.terminate()


def _rate(worker: WorkerProcess, wanted: int) -> float:
    first_count = first_at = None
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        done = committed(worker.get("/metrics")[1])
        now = time.perf_counter()
        if done and first_at is None:
            first_count, first_at = done, now
        if done >= wanted and first_at is not None and first_count is not None:
            return (done - first_count) / (now - first_at)
        time.sleep(0.05)
    raise SystemExit("the worker did not finish in 300 s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=4_000)
    options = parser.parse_args()
    texts = made_up_texts(options.messages)
    alone, stream = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts_file = folder / "texts.json"
        texts_file.write_text(json.dumps(texts))
        with KafkaCluster(folder / "kafka") as cluster:
            for number in range(options.rounds):
                alone.append(classifier_alone(texts_file))
                stream.append(kafka_to_kafka(cluster.bootstrap, texts, folder))
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
