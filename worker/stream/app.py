"""The worker: the one place that puts the packages together, starts them in order and ends them in order."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import structlog

from worker.errors import ExitCode, Fatal, MoodstreamError
from worker.kafka.checkpoint import AtLeastOnceCheckpoint, Checkpoint, TransactionalCheckpoint
from worker.kafka.retry import first_connection
from worker.kafka.source import Source
from worker.kafka.topics import missing_topics
from worker.messages.deadletter import DeadLetters, Origin
from worker.model.pack import Pack
from worker.observe.health import Health
from worker.observe.logs import configure as configure_logging
from worker.observe.metrics import Metrics
from worker.observe.server import ObserveServer
from worker.settings.groups import Settings
from worker.stream.loop import Loop
from worker.stream.pipeline import Pipeline
from worker.stream.router import PackRouter

log = structlog.get_logger(__name__)


def run(settings: Settings) -> int:
    """Run a worker until it is told to stop (SIGTERM, SIGINT) or cannot go on.

    Returns:
        The exit code: 0 after a clean drain, else one of `worker.errors.ExitCode`; the reason is logged.
    """
    configure_logging(settings.observe.log_level, settings.observe.log_format)
    stop = threading.Event()
    with _signals(stop, settings.delivery.drain_timeout_s):
        try:
            _run(settings, stop)
        except MoodstreamError as error:
            log.error("stopped", reason=str(error), exit_code=error.exit_code)  # noqa: TRY400 - the reason is enough; a traceback helps nobody here
            return error.exit_code
    log.info("drained", exit_code=ExitCode.OK)
    return ExitCode.OK


def _run(settings: Settings, stop: threading.Event) -> None:
    """Start in the order in which things can go wrong cheaply; what was started ends in reverse."""
    health, metrics = Health(settings.observe.stall_after_s), Metrics()
    for part in ("model", "brokers", "partitions"):
        health.set_ready(part, ready=False)
    with contextlib.ExitStack() as ends:
        server = ObserveServer(settings.observe.host, settings.observe.port, metrics.registry, health)
        server.start()
        ends.callback(server.stop)
        log.info("observe", url=f"http://{settings.observe.host}:{server.port}")
        pipeline = _pipeline(settings, metrics)
        health.set_ready("model", ready=True)
        _connect(settings, stop)
        if stop.is_set():
            return
        health.set_ready("brokers", ready=True)
        source, checkpoint = _kafka_ends(settings, metrics, stop)
        ends.callback(source.close)
        ends.callback(checkpoint.close)
        # Before the source joins: it ends what a dead predecessor in this slot left open.
        checkpoint.open(stop)
        log.info(
            "started",
            topics=settings.source.topic_pattern or settings.source.topics,
            slot=settings.delivery.slot,
        )
        Loop(
            source,
            pipeline,
            checkpoint,
            batch=settings.batch,
            connect_limit_s=settings.kafka.connect_limit_s,
            health=health,
            metrics=metrics,
        ).run(stop)
        source.leave()


def _pipeline(settings: Settings, metrics: Metrics) -> Pipeline:
    router = PackRouter.load(
        settings,
        topic=settings.sink.topic,
        include_text=settings.sink.include_text,
        listener=metrics,
        on_pack=_say_pack,
    )
    pack = router.default.classifier.pack
    metrics.model(pack.name, pack.revision)
    return Pipeline(
        text_field=settings.source.text_field,
        router=router,
        dead_letters=DeadLetters(
            settings.sink.dead_letter_topic,
            settings.sink.dead_letter_profile,
            Origin(settings.source.group_id, settings.delivery.slot),
        ),
        listener=metrics,
    )


def _say_pack(pack: Pack) -> None:
    log.info("model", name=pack.name, revision=pack.revision, heads=[head.name for head in pack.outputs])


def _connect(settings: Settings, stop: threading.Event) -> None:
    """Wait for a broker, and refuse to start on topics that are not there."""
    first_connection(
        settings.kafka,
        limit_s=settings.kafka.connect_limit_s,
        on_retry=_say_waiting,
        stop=stop,
    )
    if stop.is_set():
        return
    names = [*settings.source.topics, settings.sink.topic, settings.sink.dead_letter_topic]
    missing = missing_topics(settings.kafka, names)
    if missing:
        raise Fatal(
            ExitCode.TOPIC_MISSING,
            f"no such topic: {', '.join(missing)}; `moodstream topics create` makes them",
        )


def _say_waiting(reason: str, waited_s: float) -> None:
    log.warning("no broker yet", reason=reason, waited_s=round(waited_s))


def _kafka_ends(settings: Settings, metrics: Metrics, stop: threading.Event) -> tuple[Source, Checkpoint]:
    source = Source(
        settings.kafka,
        settings.source,
        settings.delivery.slot,
        stop=stop,
        on_corrupt=lambda partition, _first, _last: metrics.corrupt_batch(partition.topic),
        on_gap=lambda gap: metrics.offset_reset(gap.partition.topic, gap.reason, gap.messages),
    )
    if settings.delivery.guarantee == "exactly_once":
        return source, TransactionalCheckpoint(
            settings.kafka, settings.sink, settings.source, settings.delivery
        )
    return source, AtLeastOnceCheckpoint(settings.kafka, settings.sink, settings.delivery, source.commit)


@contextlib.contextmanager
def _signals(stop: threading.Event, drain_timeout_s: float) -> Iterator[None]:
    """Turn SIGTERM and SIGINT into `stop`. Over the deadline, or at a second signal, the process ends.

    Ending at once is safe at any moment: what is not committed is read again.
    """

    def give_up() -> None:
        reason = f"not drained within delivery.drain_timeout_s, {drain_timeout_s:g} s"
        log.error("stopped", reason=reason, exit_code=ExitCode.WATCHDOG)
        os._exit(ExitCode.WATCHDOG)

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        deadline = threading.Timer(drain_timeout_s, give_up)
        deadline.daemon = True
        deadline.start()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
