"""The live page: how long an update takes with many posts kept, and whether its memory stays flat.

    python benchmarks/dashboard.py update [--rows 100000] [--rounds 30]
    python benchmarks/dashboard.py memory [--minutes 10] [--rate 50] [--keep 2m] [--out FILE.csv]

`update` fills a store, opens the page in Chromium where Playwright and Chromium are there, sends posts, and
prints medians: of the server's answers, the first one and those after it, and of the whole update, from the
question to the drawn chart.

`memory` sends posts to the embedded broker at a steady rate while a browser looks on. It prints the resident
memory of `moodstream dashboard` and the heap of the page, and the slope of each once posts have begun to be
forgotten: with `--keep 2m` after three minutes.
"""

import argparse
import contextlib
import json
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import orjson
import psutil
from kafka import KafkaProducer

from benchmarks.classifier import made_up_texts
from worker.cli.dashboard import Duration
from worker.dashboard.app import Dashboard
from worker.dashboard.messages import read_post
from worker.dashboard.report import Reporter
from worker.dashboard.store import Store
from worker.dashboard.view import View
from worker.demo.broker import EmbeddedBroker
from worker.demo.run import WorkerProcess
from worker.kafka.topics import TopicSpec, create_topics
from worker.settings.groups import KafkaSettings, Settings
from worker.types import Record

_MB = 1_000_000
_SENTIMENTS = ("positive", "neutral", "negative")
_EMOTIONS = ("joy", "anger", "neutral", "sadness", "fear", "admiration", "love", "curiosity", "surprise")
_FIELDS = {
    "product": [f"product {number}" for number in range(12)],
    "source": ["forum", "web shop", "app store", "mastodon", "bluesky", "marketplace"],
    "customer": [f"customer {number}" for number in range(500)],
}


class Posts:
    """Makes output messages of a made-up brand."""

    def __init__(self) -> None:
        self._rng = random.Random(7)
        self._texts = made_up_texts(1_000)
        self._count = 0

    def make(self, ago_ms: int = 0) -> bytes:
        """The next one, as the worker writes it."""
        rng = self._rng
        self._count += 1
        sentiment = rng.choice(_SENTIMENTS)
        scores = {name: 0.8 if name == sentiment else 0.1 for name in _SENTIMENTS}
        return orjson.dumps(
            {
                "event_id": f"posts:{self._count % 6}:{self._count}",
                "event_time_ms": time.time_ns() // 1_000_000 - ago_ms,
                "sentiment_label": sentiment,
                "sentiment_score": 0.8,
                **{f"sentiment_{name}": score for name, score in scores.items()},
                "emotion_label": rng.choice(_EMOTIONS),
                "emotion_score": 0.6,
                "toxicity_label": "not_toxic",
                "toxicity_score": 0.9,
                "toxicity_toxic": rng.random() ** 4,
                "toxic_spans": [],
                "model": "compact@1",
                "schema_version": 1,
                "lang": rng.choice(("en", "en", "en", "de", "fr")),
                "text": rng.choice(self._texts),
                **{name: rng.choice(values) for name, values in _FIELDS.items()},
            }
        )


@contextlib.contextmanager
def browser_page(url: str) -> Iterator[Any]:
    """The page in Chromium; None where Playwright or Chromium is missing."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where it is there
    except ImportError:
        chromium = None
    if chromium is None:
        print("without a browser: Playwright or Chromium is missing")
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.locator("body[data-drawn]").wait_for()
        yield page
        browser.close()


def settings_of(broker: EmbeddedBroker) -> Settings:
    """Settings for a broker on which the topics have been made."""
    settings = Settings(kafka=KafkaSettings(bootstrap_servers=[broker.bootstrap]))
    create_topics(settings.kafka, [TopicSpec(name, 3, 1) for name in ("moods", "moods.dead-letter")])
    return settings


def rows_of(values: Sequence[bytes]) -> list[dict[str, Any]]:
    """Output messages as rows of the store."""
    found = [read_post(Record("moods", 0, at, 0, None, value, ())) for at, value in enumerate(values)]
    return [row for row in found if isinstance(row, dict)]


def fill(path: Path, posts: Posts, rows: int, over_s: int) -> None:
    """Put posts into a store, spread evenly over the time up to now."""
    store = Store(path, 86_400)
    for first in range(0, rows, 5_000):
        made = [
            posts.make(ago_ms=over_s * 1000 * (rows - number) // rows)
            for number in range(first, min(first + 5_000, rows))
        ]
        store.add(rows_of(made), [], {})
    store.close()


def page_cpu(session: Any) -> float:
    """Processor time that the page's main thread has taken, in seconds."""
    return float(
        {item["name"]: item["value"] for item in session.send("Performance.getMetrics")["metrics"]}[
            "TaskDuration"
        ]
    )


def update(options: argparse.Namespace) -> None:
    """Print medians of an update."""
    posts = Posts()
    with tempfile.TemporaryDirectory() as name, EmbeddedBroker() as broker:
        path = Path(name) / "posts.duckdb"
        fill(path, posts, options.rows, over_s=85_000)
        store = Store(path, 86_400)
        for span, seconds in (("30m", 1_800), ("24h", 86_400)):
            firsts, times, cpu, body = [], [], [], b""
            reporter = Reporter(store)
            for number in range(options.rounds):
                started = time.perf_counter()
                if number < 5:
                    Reporter(store).report(View(seconds))
                    firsts.append(1000 * (time.perf_counter() - started))
                reporter.report(View(seconds))
                store.add(rows_of([posts.make() for _ in range(50)]), [], {})
                started, started_cpu = time.perf_counter(), time.process_time()
                body = orjson.dumps(reporter.report(View(seconds)))
                times.append(1000 * (time.perf_counter() - started))
                cpu.append(1000 * (time.process_time() - started_cpu))
            shown = json.loads(body)["totals"]["posts"]
            print(
                f"server, last {span}: an update {statistics.median(times):6.1f} ms "
                f"({statistics.median(cpu):.1f} ms of processor time), the first answer "
                f"{statistics.median(firsts):.1f} ms; {shown:,} posts in view, {len(body) / 1000:.0f} kB"
            )
        store.close()
        server = Dashboard(settings_of(broker), store=path, keep_s=86_400, host="127.0.0.1", port=0)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap, acks="all")
        for span in ("30m", "24h"):
            with browser_page(f"{server.url}/?span={span}") as page:
                if page is None:
                    break
                session = page.context.new_cdp_session(page)
                session.send("Performance.enable", {"timeDomain": "threadTicks"})
                cpu_s, updates = page_cpu(session), page.evaluate("Number(document.body.dataset.drawn)")
                for _ in range(options.rounds):
                    for _ in range(50):
                        producer.send("moods", value=posts.make())
                    producer.flush(30)
                    page.wait_for_timeout(1_000)
                cpu_s = page_cpu(session) - cpu_s
                updates = page.evaluate("Number(document.body.dataset.drawn)") - updates
                times = page.evaluate("performance.getEntriesByName('update').map((entry) => entry.duration)")
                print(
                    f"browser, last {span}: {statistics.median(times):6.1f} ms from question to drawn page "
                    f"({len(times)} updates, slowest {max(times):.0f} ms); "
                    f"{1000 * cpu_s / max(1, updates):.0f} ms of the page's own processor time each"
                )
        producer.close()
        server.stop()
        thread.join(30)


def slope(rows: list[tuple[float, float]]) -> float:
    """The least-squares slope of (minutes, megabytes), in MB a minute."""
    xs, ys = [row[0] for row in rows], [row[1] for row in rows]
    return statistics.linear_regression(xs, ys).slope


def send_steadily(producer: KafkaProducer, posts: Posts, rate: float, end: float) -> None:
    """Send posts until the monotonic time `end`."""
    due = time.monotonic()
    while due < end:
        producer.send("moods", value=posts.make())
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))


def memory(options: argparse.Namespace) -> None:
    """Print the memory of server and page over time."""
    keep_min = options.keep / 60
    with tempfile.TemporaryDirectory() as name, EmbeddedBroker() as broker:
        settings_of(broker)
        process = WorkerProcess(
            {"kafka.bootstrap_servers": broker.bootstrap, "observe.port": "0"},
            Path(name),
            ("dashboard", "--port", "0", "--keep", f"{options.keep:.0f}s"),
        )
        while process.url is None:
            process.check()
            time.sleep(0.1)
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap, linger_ms=20)
        start = time.monotonic()
        end = start + 60 * options.minutes
        sender = threading.Thread(target=send_steadily, args=(producer, Posts(), options.rate, end))
        sender.start()
        rows: list[tuple[float, float, float]] = []
        with browser_page(f"{process.url}/?span=5m") as page:
            session = page.context.new_cdp_session(page) if page is not None else None
            while time.monotonic() < end:
                heap = 0.0
                if session is not None:
                    page.wait_for_timeout(10_000)
                    session.send("HeapProfiler.collectGarbage")
                    heap = session.send("Runtime.getHeapUsage")["usedSize"] / _MB
                else:
                    time.sleep(10)
                resident = psutil.Process(process.pid).memory_info().rss / _MB
                rows.append(((time.monotonic() - start) / 60, resident, heap))
                print(
                    f"{rows[-1][0]:5.1f} min  server {resident:6.1f} MB  page's heap {heap:6.1f} MB",
                    flush=True,
                )
        sender.join()
        producer.close()
        process.stop()
    if options.out is not None:
        lines = ["minutes,server_mb,heap_mb", *(",".join(f"{value:.3f}" for value in row) for row in rows)]
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    steady = [row for row in rows if row[0] > keep_min + 1]
    if len(steady) > 2:
        for what, column in (("server", 1), ("page's heap", 2)):
            values = [row[column] for row in steady]
            print(
                f"{what}: {min(values):.1f} to {max(values):.1f} MB after {keep_min + 1:g} minutes, "
                f"slope {slope([(row[0], row[column]) for row in steady]):+.2f} MB a minute"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("update")
    one.add_argument("--rows", type=int, default=100_000)
    one.add_argument("--rounds", type=int, default=30)
    two = commands.add_parser("memory")
    two.add_argument("--minutes", type=float, default=10)
    two.add_argument("--rate", type=float, default=50)
    two.add_argument("--keep", type=lambda text: Duration().convert(text, None, None), default=120)
    two.add_argument("--out", type=Path)
    options = parser.parse_args()
    (update if options.command == "update" else memory)(options)


if __name__ == "__main__":
    main()
