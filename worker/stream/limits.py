"""The topics of a worker as they are: whether they exist, what they accept, and what will not fit."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from worker.kafka.limits import TopicLimits, read_limits
from worker.kafka.topics import require_topics, topic_names
from worker.settings.groups import Settings


class Found(NamedTuple):
    """The input topics (with a pattern, those that match now), and what every topic accepts."""

    inputs: list[str]
    limits: dict[str, TopicLimits]


class Misfit(NamedTuple):
    """A topic that does not suit what will be written to it. `figures` belong to the message. Bytes."""

    topic: str
    message: str
    figures: Mapping[str, int]


def topic_limits(settings: Settings) -> Found:
    """Read what the topics of a worker accept.

    Raises:
        BrokerUnavailable, BrokerRefused: no broker answers, or it refuses.
        TopicMissing: one of them does not exist.
    """
    kafka, source, sink = settings.kafka, settings.source, settings.sink
    named = [*source.topics, sink.topic, sink.dead_letter_topic]
    require_topics(kafka, named)
    inputs = list(source.topics)
    if source.topic_pattern is not None:
        inputs = [name for name in topic_names(kafka) if source.reads(name)]
    return Found(inputs, read_limits(kafka, dict.fromkeys([*inputs, *named])))


def misfits(settings: Settings, inputs: Sequence[str], limits: Mapping[str, TopicLimits]) -> Iterator[Misfit]:
    """Yield what will not fit later. A topic that matches a pattern and is made later is not compared."""
    largest = max((limits[name].max_bytes or 0 for name in inputs), default=0)
    sink = settings.sink
    wanted = {sink.dead_letter_topic: "dead letters without the original's value"}
    if sink.include_text:
        wanted[sink.topic] = "outputs without the text"
    for name, consequence in wanted.items():
        limit = limits[name].max_bytes
        if limit is not None and limit < largest:
            yield Misfit(
                name,
                f"this topic takes smaller records than an input topic: large messages become {consequence}",
                {"max_message_bytes": limit, "input_max_message_bytes": largest},
            )
    if limits[sink.dead_letter_topic].compacted:
        yield Misfit(
            sink.dead_letter_topic,
            "the dead-letter topic is compacted: dead letters with the same key replace one another",
            {},
        )
