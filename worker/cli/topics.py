"""`moodstream topics create`."""

import click

from worker.cli.config import columns
from worker.cli.flags import SettingsCommand, settings_flags
from worker.cli.group import CommandGroup
from worker.kafka.limits import read_limits, room_for
from worker.kafka.topics import TopicSpec, create_topics, partition_counts
from worker.settings.load import Loaded

_DAY_MS = 24 * 60 * 60 * 1000
_KEEP_DAYS = {"input": 7, "output": 7, "dead letters": 30}


@click.group(cls=CommandGroup)
def topics() -> None:
    """Create the topics that a worker needs."""


@topics.command(cls=SettingsCommand)
@click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    default=6,
    show_default=True,
    help="Partitions of each new topic, and so the most workers that can share it. The output topic gets no "
    "fewer than the input topics have.",
)
@click.option(
    "--replication",
    type=click.IntRange(1, 32),
    default=None,
    help="Copies of each partition.  [default: the broker's own]",
)
@settings_flags(hidden=True)
def create(loaded: Loaded, partitions: int, replication: int | None) -> None:
    """Create the input, output and dead-letter topics that do not exist yet.

    Names come from source.topics, sink.topic and sink.dead-letter-topic; topics that exist are left as they
    are. With source.topic-pattern no input topic is created. Messages of the input and output topics are kept
    for 7 days, dead letters for 30. Output and dead-letter topics take records of 8 MiB, or of what an input
    topic takes if that is more. Takes --config and every flag of
    `moodstream run`.

    \b
      moodstream topics create --kafka.bootstrap-servers broker1:9092 --partitions 12 --replication 3
    """
    settings = loaded.settings
    roles = dict.fromkeys(settings.source.topics, "input")
    roles |= {settings.sink.topic: "output", settings.sink.dead_letter_topic: "dead letters"}
    there = partition_counts(settings.kafka, list(roles))
    widest = max([partitions, *(there.get(topic, 0) for topic in settings.source.topics)])
    inputs = [topic for topic in settings.source.topics if topic in there]
    room = room_for(read_limits(settings.kafka, inputs).values() if inputs else ())
    specs = [
        TopicSpec(
            name,
            widest if role == "output" else partitions,
            replication if replication is not None else -1,
            {"retention.ms": str(_KEEP_DAYS[role] * _DAY_MS)} | ({} if role == "input" else room),
        )
        for name, role in roles.items()
    ]
    created = create_topics(settings.kafka, specs)
    counts = partition_counts(settings.kafka, list(roles))
    rows = [(name, role, counts.get(name, "?"), created[name]) for name, role in roles.items()]
    click.echo(columns(("TOPIC", "FOR", "PARTITIONS", "STATE"), rows), nl=False)
