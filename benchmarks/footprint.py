"""What a running worker weighs: seconds from start to ready, and resident memory once it has worked.

Runs on the embedded broker. `rounds` workers are started one after the other on fresh topics; each labels
`messages` texts before its memory is read, from /proc and not from the worker's own word.

    python benchmarks/footprint.py [--rounds 5] [--messages 2000]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil
from kafka import KafkaProducer

from benchmarks.classifier import made_up_texts
from tests.support.topics import Topics
from worker.demo.broker import EmbeddedBroker

_MB = 1_000_000


def one_round(bootstrap: str, texts: list[str], folder: Path) -> tuple[float, float]:
    """Seconds to ready, and megabytes of resident memory after the work."""
    topics = Topics(bootstrap, f"bench-{uuid.uuid4().hex[:8]}")
    topics.create()
    worker = topics.worker("0", folder, MOODSTREAM_MODEL__THREADS="0")
    started = time.perf_counter()
    worker.start()
    worker.wait_ready()
    ready_s = time.perf_counter() - started
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, acks="all")
    for text in texts:
        producer.send(topics.posts, value=json.dumps({"text": text}).encode())
    producer.flush(timeout=60)
    producer.close()
    deadline = time.monotonic() + 300
    while worker.committed() < len(texts):
        if time.monotonic() > deadline:
            raise SystemExit("the worker did not finish in 300 s")
        time.sleep(0.1)
    resident = psutil.Process(worker.pid).memory_info().rss / _MB
    worker.terminate()
    return ready_s, resident


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=2_000)
    options = parser.parse_args()
    texts = made_up_texts(options.messages)
    rows = []
    with tempfile.TemporaryDirectory() as name, EmbeddedBroker() as broker:
        for _ in range(options.rounds):
            rows.append(one_round(broker.bootstrap, texts, Path(name)))
            print(f"ready in {rows[-1][0]:.2f} s, {rows[-1][1]:.0f} MB", flush=True)
    print(
        f"start to ready    {statistics.median(row[0] for row in rows):8.2f} s (median of {options.rounds})"
    )
    print(f"resident memory   {statistics.median(row[1] for row in rows):8.0f} MB")


if __name__ == "__main__":
    main()
