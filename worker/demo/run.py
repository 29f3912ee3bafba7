"""A demo run from start to end: broker, topics, worker, feeder, view, and the summary.

The worker is `moodstream run` in a process of its own, as anybody would start it.
"""

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import click
from kafka.errors import KafkaError
from rich.console import Console
from rich.live import Live

import worker
from worker.demo.broker import EmbeddedBroker
from worker.demo.feeder import Feeder, Sent, laps
from worker.demo.ledger import Ledger
from worker.demo.reader import Reader, read_answer
from worker.demo.samples import load_samples
from worker.demo.view import View, export_svg
from worker.errors import (
    BrokerRefused,
    BrokerUnavailable,
    DemoError,
    FeederError,
    WorkerDied,
)
from worker.kafka.topics import ROOM_FOR_LARGE_RECORDS, TopicSpec, create_topics
from worker.settings.groups import KafkaSettings
from worker.types import Record

SOURCE, SINK, DEAD_LETTERS = "posts", "moods", "moods.dead-letter"
_PARTITIONS = 3
_RATE = 4.0
_READY_S = 90.0
_QUIET_S = 30.0
_POLL_S = 0.1

_FAILURES = (DemoError, BrokerRefused, BrokerUnavailable, KafkaError)

_OWN_VARIABLES = "MOODSTREAM_"
_URL = re.compile(r"http://127\.0\.0\.1:\d+")
_TAIL_LINES = 12
_PROBE_S = 1.0


class WorkerProcess:
    """A worker, or another command of ours, that writes its log into a file.

    It gets only the settings that are passed, and neither the user's own `MOODSTREAM_` variables nor their
    `.env`, so that the demo never connects to real brokers.

    Args:
        settings: dotted names and values, as `{"observe.port": "0"}`.
        folder: its working folder; the log goes there.
        command: what to run.
    """

    def __init__(self, settings: Mapping[str, str], folder: Path, command: Sequence[str] = ("run",)) -> None:
        self.log_path = folder / ("worker.log" if command[0] == "run" else f"{command[0]}.log")
        own = {_variable(name): value for name, value in settings.items()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
        # The working folder is another one, where a package that runs from a checkout would not be found.
        package = str(Path(worker.__file__).parent.parent)
        paths = [package, *filter(None, [inherited.get("PYTHONPATH")])]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                [sys.executable, "-m", "worker", *command],
                cwd=folder,
                env={**inherited, **own, "PYTHONPATH": os.pathsep.join(paths)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops the worker itself
            )
        self._url: str | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def url(self) -> str | None:
        """Its address, with the port that it was given, once it has said so in its log."""
        if self._url is None:
            found = _URL.search(self.log_path.read_text(errors="replace"))
            self._url = None if found is None else found.group()
        return self._url

    def ready(self) -> bool:
        """Whether its `/readyz` answers 200."""
        url = self.url
        if url is None:
            return False
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=_PROBE_S) as answer:  # noqa: S310 - http
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def check(self) -> None:
        """Raise WorkerDied if it no longer runs."""
        code = self._process.poll()
        if code is not None:
            raise WorkerDied(f"the worker ended with exit code {code}. Its last lines:\n{self.tail()}")

    def stop(self, timeout_s: float = 30.0) -> int:
        """Ask it to drain (SIGTERM) and return its exit code; after `timeout_s` seconds it is killed (-9)."""
        self._process.terminate()
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-_TAIL_LINES:])


def _variable(name: str) -> str:
    return _OWN_VARIABLES + name.replace(".", "__").upper()


def run_demo(*, once: bool, rate: float | None, svg: Path | None, page: bool = False) -> int:
    """Run the demo; see `worker.demo.main`."""
    if not once and not sys.stdout.isatty():
        click.echo("the live view needs a terminal; `moodstream demo --once` needs none", err=True)
        return 1
    folder = Path(tempfile.mkdtemp(prefix="moodstream-demo-"))
    stop = threading.Event()
    try:
        with _signals(stop), EmbeddedBroker(data_dir=folder / "broker") as broker:
            kafka = KafkaSettings(bootstrap_servers=[broker.bootstrap])
            pace = rate if rate is not None or once else _RATE
            good = Run(kafka, folder, stop, live=not once, page=page).run(1 if once else None, pace, svg)
    except _FAILURES as error:
        click.echo(f"the demo could not go on: {error}", err=True)
        good = False
    except KeyboardInterrupt:
        click.echo("ended at once, without draining", err=True)
        good = False
    if good:
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    click.echo(f"logs: {folder}", err=True)
    return 1


class Run:
    """One run against one broker.

    Args:
        kafka: how to reach the broker.
        folder: where the logs go.
        stop: set by the user to end the run.
        live: draw the view on the terminal.
        page: with it, serve the live page as well.
    """

    def __init__(
        self, kafka: KafkaSettings, folder: Path, stop: threading.Event, *, live: bool, page: bool = False
    ) -> None:
        self._with_page = page
        self._kafka = kafka
        self._folder = folder
        self._stop = stop
        self._console = Console()
        self._ledger = Ledger()
        self._view = View(self._ledger, source=SOURCE, sink=SINK)
        self._live = (
            Live(self._view, console=self._console, screen=True, auto_refresh=False) if live else None
        )
        self._inbox: queue.SimpleQueue[Sent] = queue.SimpleQueue()
        self._feeding: threading.Thread | None = None
        self._feeder_error: Exception | None = None
        self._wanted = 0
        self._page_process: WorkerProcess | None = None

    def run(self, lap_count: int | None, rate: float | None, svg: Path | None) -> bool:
        """Feed, show, drain, and return whether every message has exactly one answer."""
        create_topics(
            self._kafka,
            [
                TopicSpec(SOURCE, _PARTITIONS, 1),
                TopicSpec(SINK, _PARTITIONS, 1, ROOM_FOR_LARGE_RECORDS),
                TopicSpec(DEAD_LETTERS, 1, 1, ROOM_FOR_LARGE_RECORDS),
            ],
        )
        worker = WorkerProcess(self._worker_settings(), self._folder)
        page = self._page()
        reader = Reader(self._kafka, [SINK, DEAD_LETTERS])
        try:
            with self._live or contextlib.nullcontext():
                code = self._stream(worker, reader, lap_count, rate)
        finally:
            if page is not None:
                page.kill()
            self._stop.set()
            if self._feeding is not None:
                self._feeding.join(5.0)
            worker.kill()  # does nothing when it has drained
            reader.close()
        if self._live is not None:
            self._console.print(self._view)
        if svg is not None:
            export_svg(self._view, svg)
        return self._summarise(code, worker)

    def _stream(
        self, worker: WorkerProcess, reader: Reader, lap_count: int | None, rate: float | None
    ) -> int:
        """Run the phases, and return the exit code of the worker."""
        turn = lambda: self._turn(worker, reader)  # noqa: E731 - one line, used four times
        started = time.monotonic()
        self._view.status = "starting the worker"
        if not self._until(lambda: worker.ready() or self._stop.is_set(), _READY_S, turn):
            raise WorkerDied(
                f"the worker was not ready after {_READY_S:g} s. Its last lines:\n{worker.tail()}"
            )
        took = time.monotonic() - started
        self._print(f"broker on {self._kafka.bootstrap_servers[0]}, worker ready after {took:.1f} s")
        self._view.status = "Ctrl-C to end"
        self._feed(lap_count, rate)
        self._until(lambda: self._stop.is_set() or not self._is_feeding(), None, turn)
        self._view.status = "draining"
        self._stop.set()
        self._until(lambda: not self._is_feeding() and self._inbox.empty(), _QUIET_S, turn)
        self._wait_for_answers(turn)
        code = worker.stop()
        self._take(reader.read_to_end())
        self._view.status = "ended"
        self._refresh()
        return code

    def _wait_for_answers(self, turn: Callable[[], None]) -> None:
        """Return when every message has its answer, or when none has arrived for a while."""
        seen = -1
        while not self._ledger.complete() and self._ledger.answers != seen:
            seen = self._ledger.answers
            self._until(self._moved_from(seen), _QUIET_S, turn)

    def _moved_from(self, answers: int) -> Callable[[], bool]:
        return lambda: self._ledger.complete() or self._ledger.answers != answers

    def _until(self, done: Callable[[], bool], limit_s: float | None, turn: Callable[[], None]) -> bool:
        deadline = None if limit_s is None else time.monotonic() + limit_s
        while not done():
            if deadline is not None and time.monotonic() > deadline:
                return False
            turn()
        return True

    def _turn(self, worker: WorkerProcess, reader: Reader) -> None:
        """Read what has arrived, draw, and check that worker and feeder are alive."""
        worker.check()
        if self._feeder_error is not None:
            raise self._feeder_error
        self._take(reader.read(_POLL_S))
        self._view.addresses = tuple(
            f"{what} {process.url}{path}"
            for what, process, path in (("page", self._page_process, ""), ("metrics", worker, "/metrics"))
            if process is not None and process.url is not None
        )
        self._refresh()

    def _take(self, records: list[Record]) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._ledger.sent(self._inbox.get_nowait())
        now_ms = time.time_ns() // 1_000_000
        for record in records:
            answer = read_answer(record, dead_letter_topic=DEAD_LETTERS, now_ms=now_ms)
            self._ledger.answered(answer)
            self._view.add(answer)

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.refresh()

    def _print(self, line: str) -> None:
        if self._live is None:
            click.echo(line, err=True)

    def _page(self) -> WorkerProcess | None:
        """The live page in a process of its own, beside the live view."""
        if self._live is None or not self._with_page:
            return None
        command = ("dashboard", "--port", "0")
        self._page_process = WorkerProcess(self._worker_settings(), self._folder, command)
        return self._page_process

    def _is_feeding(self) -> bool:
        return self._feeding is not None and self._feeding.is_alive()

    def _feed(self, lap_count: int | None, rate: float | None) -> None:
        """Start the feeder on its own thread."""
        samples = load_samples()
        self._wanted = len(samples) * (lap_count or 0)

        def feed() -> None:
            try:
                with Feeder(self._kafka, SOURCE) as feeder:
                    order = laps(samples, lap_count)
                    feeder.feed(order, rate=rate, stop=self._stop, on_sent=self._inbox.put)
            except (FeederError, KafkaError) as error:
                self._feeder_error = error

        self._feeding = threading.Thread(target=feed, name="feeder", daemon=True)
        self._feeding.start()

    def _summarise(self, code: int, worker: WorkerProcess) -> bool:
        """Print the summary line, and what is wrong."""
        faults = self._ledger.faults()
        if self._ledger.inputs < self._wanted:
            faults.append(f"interrupted: {self._ledger.inputs} of {self._wanted} samples were sent")
        if code != 0:
            faults.append(f"the worker ended with exit code {code}. Its last lines:\n{worker.tail()}")
        click.echo(self._ledger.summary())
        for fault in faults:
            click.echo(fault, err=True)
        return not faults

    def _worker_settings(self) -> dict[str, str]:
        return {
            "kafka.bootstrap_servers": self._kafka.bootstrap_servers[0],
            "source.topics": SOURCE,
            "sink.topic": SINK,
            "sink.dead_letter_topic": DEAD_LETTERS,
            "sink.include_text": "true",
            "sink.keep": "product, source",
            "delivery.slot": "demo",
            "observe.port": "0",
            "observe.log_format": "json",
        }


@contextlib.contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end the feeding; a second one ends everything."""

    def on_signal(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
