"""The worker: the one place that puts the packages together, starts them in order and ends them in order."""

import contextlib
import itertools
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from worker.errors import ExitCode, Fenced, MoodstreamError, RegistryUnavailable
from worker.kafka.checkpoint import AtLeastOnceCheckpoint, Checkpoint, TransactionalCheckpoint
from worker.kafka.limits import TopicLimits, batch_bytes
from worker.kafka.retry import Waiting, patiently
from worker.kafka.slots import Leftovers, Slots
from worker.kafka.source import Source
from worker.messages.avro_writer import AvroFormat
from worker.messages.deadletter import DeadLetters, Origin
from worker.messages.decode import Decoder
from worker.messages.encode import make_output_format
from worker.messages.fields import Fields
from worker.messages.output_formats import OutputFormat
from worker.messages.registry import Registry
from worker.messages.watch import Unmatched
from worker.model.pack import Pack
from worker.model.tokens import rows_of
from worker.observe.health import Health
from worker.observe.logs import configure as configure_logging
from worker.observe.metrics import Metrics
from worker.observe.server import ObserveServer
from worker.settings.groups import AUTO_SLOT, Settings
from worker.stream.fitting import Fitter
from worker.stream.limits import misfits, topic_limits
from worker.stream.loop import Loop
from worker.stream.pipeline import Pipeline
from worker.stream.router import PackRouter
from worker.stream.signals import stop_on_signals

log = structlog.get_logger(__name__)


def run(settings: Settings) -> int:
    """Run a worker until it is told to stop (SIGTERM, SIGINT) or cannot go on.

    Returns:
        The exit code: 0 after a clean drain, else one of `worker.errors.ExitCode`; the reason is logged.
    """
    stop, limit_s = threading.Event(), settings.delivery.drain_timeout_s

    def give_up() -> None:
        reason = f"not drained within delivery.drain_timeout_s, {limit_s:g} s"
        log.error("stopped", reason=reason, exit_code=int(ExitCode.WATCHDOG))
        os._exit(ExitCode.WATCHDOG)

    with stop_on_signals(stop, limit_s, give_up):
        configure_logging(settings.observe.log_level, settings.observe.log_format)
        try:
            _run(settings, stop)
        except MoodstreamError as error:
            log.error("stopped", reason=str(error), exit_code=int(error.exit_code))  # noqa: TRY400 - the reason is enough; a traceback helps nobody here
            return error.exit_code
    log.info("drained", exit_code=int(ExitCode.OK))
    return ExitCode.OK


def _run(settings: Settings, stop: threading.Event) -> None:
    """Start the parts so that mistakes show up early and cheaply, and end them in reverse."""
    health, metrics = Health(settings.observe.stall_after_s), Metrics()
    for part in ("model", "brokers", "partitions"):
        health.set_ready(part, ready=False)
    with contextlib.ExitStack() as ends:
        server = ObserveServer(settings.observe.host, settings.observe.port, metrics.registry, health)
        server.start()
        ends.callback(server.stop)
        log.info("serving metrics and health", url=f"http://{settings.observe.host}:{server.port}")
        dead_letters = _dead_letters(settings)
        output_format = make_output_format(settings.sink)
        registry = Registry.of(settings.kafka)
        pipeline = _pipeline(settings, metrics, dead_letters, output_format, registry)
        health.set_ready("model", ready=True)
        if registry is not None and not _ask_registry(registry, output_format, health, stop):
            return
        limits = _connect(settings, health, stop)
        if limits is None:
            return
        health.set_ready("brokers", ready=True)
        _take_part(Parts(settings, limits, pipeline, dead_letters, output_format, health, metrics), stop)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker keeps when it takes another slot."""

    settings: Settings
    limits: Mapping[str, TopicLimits]
    pipeline: Pipeline
    dead_letters: DeadLetters
    output_format: OutputFormat
    health: Health
    metrics: Metrics

    def in_slot(self, slot: str) -> "Parts":
        """The same with this slot in the settings."""
        settings = self.settings
        delivery = settings.delivery.model_copy(update={"slot": slot})
        return replace(self, settings=settings.model_copy(update={"delivery": delivery}))


def _take_part(parts: Parts, stop: threading.Event) -> None:
    """Work in the slot that the settings name, or in a free one, and in another one whenever it is lost."""
    settings = parts.settings
    if settings.delivery.slot != AUTO_SLOT:
        _work(parts, stop, assigned=True)
        return
    slots = Slots(
        settings.kafka,
        settings.source.group_id,
        stop=stop,
        on_wait=lambda: parts.health.waiting("brokers"),
    )
    while (slot := slots.take()) is not None and not stop.is_set():
        try:
            _work(parts.in_slot(slot), stop, assigned=False)
        except Fenced as reason:
            parts.health.set_ready("partitions", ready=False)
            slots.lost(slot, reason)
            parts.health.set_ready("stream", ready=True)  # the loop set it to false as it ended
        else:
            return


def _work(parts: Parts, stop: threading.Event, *, assigned: bool) -> None:
    """Open the checkpoint and the source in one slot, and run the loop between them.

    Raises:
        Fenced: another worker is in the slot. Nothing of what was in flight is committed.
    """
    settings, health = parts.settings, parts.health
    slot = settings.delivery.slot
    parts.dead_letters.origin = Origin(settings.source.group_id, slot)
    with contextlib.ExitStack() as ends:
        source = _source(settings, health, parts.metrics, stop)
        ends.callback(source.close)
        checkpoint = _checkpoint(settings, health, source, parts.limits, assigned=assigned)
        ends.callback(checkpoint.close)
        # Before the source joins: it ends the transaction that a dead predecessor in this slot left open.
        checkpoint.open(stop)
        log.info(
            "started",
            topics=settings.source.topic_pattern or settings.source.topics,
            slot=slot,
        )
        try:
            Loop(
                source,
                parts.pipeline,
                checkpoint,
                batch=settings.batch,
                connect_limit_s=settings.kafka.connect_limit_s,
                health=health,
                metrics=parts.metrics,
                fitter=Fitter(
                    parts.limits,
                    parts.dead_letters.to_dead_letter,
                    dead_letter_topic=settings.sink.dead_letter_topic,
                    compression=settings.sink.compression_type,
                    output_format=parts.output_format,
                ),
                on_poison=settings.delivery.on_poison,
                rows=rows_of(settings.model.long_text),
            ).run(stop)
        except Fenced:
            if not assigned:
                source.leave(fenced=True)  # where it is still a member, the group must not wait for it
            raise
        source.leave()


def _dead_letters(settings: Settings) -> DeadLetters:
    return DeadLetters(
        settings.sink.dead_letter_topic,
        settings.sink.dead_letter_profile,
        Origin(settings.source.group_id, settings.delivery.slot),
    )


def _ask_registry(
    registry: Registry, output_format: OutputFormat, health: Health, stop: threading.Event
) -> bool:
    """Wait for the schema registry, and give it the outputs' schemas. False when `stop` was set meanwhile.

    Raises:
        RegistryRefused: it refuses the login, or a schema.
    """
    waiting = Waiting(
        "the schema registry", stop=stop, on_wait=lambda: health.set_ready("registry", ready=False)
    )
    while not stop.is_set():
        try:
            registry.check()
            if isinstance(output_format, AvroFormat):
                output_format.register(registry)
        except RegistryUnavailable as problem:
            waiting.failed(problem)
        else:
            health.set_ready("registry", ready=True)
            return True
    return False


def _pipeline(
    settings: Settings,
    metrics: Metrics,
    dead_letters: DeadLetters,
    output_format: OutputFormat,
    registry: Registry | None,
) -> Pipeline:
    router = PackRouter.load(
        settings,
        topic=settings.sink.topic,
        include_text=settings.sink.include_text,
        output_format=output_format,
        listener=metrics,
        on_pack=_say_pack,
        warn=log.warning,
    )
    packs = router.default.classifier.packs
    metrics.model(
        "+".join(pack.name for pack in packs),
        "+".join(pack.revision for pack in packs),
        itertools.chain.from_iterable(router.heads),
    )
    return Pipeline(
        decoder=Decoder(
            Fields.of(
                settings.source,
                keep=settings.sink.keep,
                on_unmatched=_say_unmatched,
            ),
            registry,
        ),
        router=router,
        dead_letters=dead_letters,
        listener=metrics,
    )


def _say_unmatched(unmatched: Unmatched) -> None:
    log.warning(
        "these settings have matched none of the first messages",
        settings=list(unmatched.settings),
        messages=unmatched.objects,
        fields_seen=list(unmatched.fields),
    )


def _say_pack(pack: Pack) -> None:
    log.info("model", name=pack.name, revision=pack.revision, heads=[head.name for head in pack.outputs])


def _connect(settings: Settings, health: Health, stop: threading.Event) -> dict[str, TopicLimits] | None:
    """Wait for a broker, refuse to start without the topics, and read what each of them accepts.

    None when `stop` was set meanwhile.
    """
    found = patiently(
        "a broker to answer",
        lambda: topic_limits(settings),
        limit_s=settings.kafka.connect_limit_s,
        stop=stop,
        on_wait=lambda: health.waiting("brokers"),
    )
    if found is None:
        return None
    for misfit in misfits(settings, *found):
        log.warning(misfit.message, topic=misfit.topic, **misfit.figures)
    return found.limits


def _source(settings: Settings, health: Health, metrics: Metrics, stop: threading.Event) -> Source:
    sink, group_id = settings.sink, settings.source.group_id
    leftovers = Leftovers(settings.kafka, group_id, [sink.topic, sink.dead_letter_topic])
    transactions = settings.delivery.guarantee == "exactly_once"
    return Source(
        settings.kafka,
        settings.source,
        settings.delivery.slot,
        stop=stop,
        on_corrupt=lambda partition, _first, _last: metrics.corrupt_batch(partition.topic),
        on_gap=lambda gap: metrics.offset_reset(gap.partition.topic, gap.reason, gap.messages),
        on_withheld=lambda withheld: health.set_ready("offsets", ready=not withheld),
        on_assigned=leftovers.end_soon if transactions else lambda: None,
    )


def _checkpoint(
    settings: Settings,
    health: Health,
    source: Source,
    limits: Mapping[str, TopicLimits],
    *,
    assigned: bool,
) -> Checkpoint:
    kafka, sink, delivery = settings.kafka, settings.sink, settings.delivery
    size = batch_bytes(limits[name] for name in (sink.topic, sink.dead_letter_topic))

    def on_wait() -> None:
        health.waiting("brokers")

    if delivery.guarantee == "exactly_once":
        return TransactionalCheckpoint(
            kafka,
            sink,
            settings.source,
            delivery,
            batch_bytes=size,
            on_wait=on_wait,
            members_decide=not assigned,
        )
    return AtLeastOnceCheckpoint(kafka, sink, delivery, source.commit, batch_bytes=size, on_wait=on_wait)
