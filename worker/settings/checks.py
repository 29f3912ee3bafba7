"""Mistakes that show only when settings are seen together."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from worker.settings.groups import (
        BatchSettings,
        KafkaSettings,
        LanguageSettings,
        SinkSettings,
        SourceSettings,
    )


class Conflict(NamedTuple):
    """A mistake and the settings that make it, by their dotted names; the first is the one to look at."""

    settings: tuple[str, ...]
    message: str


CONFLICT = "settings_conflict"
"""The type by which pydantic's error list shows what `refuse` raised."""


def refuse(conflicts: Iterable[Conflict]) -> None:
    """Raise when there are any, from inside a validator.

    Raises:
        PydanticCustomError: of type `CONFLICT`; its context holds the list as `conflicts`.
    """
    found = list(conflicts)
    if found:
        text = "; ".join(f"{conflict.settings[0]} {conflict.message}" for conflict in found)
        raise PydanticCustomError(CONFLICT, "{text}", {"text": text, "conflicts": found})


def kafka_conflicts(kafka: "KafkaSettings") -> Iterable[Conflict]:
    """SASL and TLS settings that do not fit one another."""
    yield from _sasl_conflicts(kafka)
    yield from _tls_conflicts(kafka)


def _sasl_conflicts(kafka: "KafkaSettings") -> Iterable[Conflict]:
    protocol = "kafka.security_protocol"
    logs_in = kafka.security_protocol.startswith("SASL")
    wrong = (
        f"is needed with {protocol} {kafka.security_protocol}"
        if logs_in
        else f"would be ignored: {protocol} is {kafka.security_protocol}, and only SASL_… logs in"
    )
    parts = {
        "kafka.sasl_mechanism": kafka.sasl_mechanism,
        "kafka.sasl_plain_username": kafka.sasl_plain_username,
        "kafka.sasl_plain_password": kafka.sasl_plain_password,
    }
    for name, value in parts.items():
        if (value is not None) != logs_in:
            yield Conflict((name, protocol), wrong)


def _tls_conflicts(kafka: "KafkaSettings") -> Iterable[Conflict]:
    protocol = "kafka.security_protocol"
    ignored = f"would be ignored: {protocol} is {kafka.security_protocol}, and only SSL and SASL_SSL encrypt"
    if not kafka.security_protocol.endswith("SSL"):
        given = {
            "kafka.ssl_cafile": kafka.ssl_cafile,
            "kafka.ssl_certfile": kafka.ssl_certfile,
            "kafka.ssl_keyfile": kafka.ssl_keyfile,
            "kafka.ssl_password": kafka.ssl_password,
        }
        for name, value in given.items():
            if value is not None:
                yield Conflict((name, protocol), ignored)
        return
    certificate, key = kafka.ssl_certfile, kafka.ssl_keyfile
    if key is not None and certificate is None:
        yield Conflict(("kafka.ssl_certfile", "kafka.ssl_keyfile"), "is needed with kafka.ssl_keyfile")
    # One PEM file may hold both, certificate and key.
    if certificate is not None and key is None and b"PRIVATE KEY-----" not in certificate.read_bytes():
        message = "is needed: kafka.ssl_certfile holds no private key"
        yield Conflict(("kafka.ssl_keyfile", "kafka.ssl_certfile"), message)


def source_conflicts(source: "SourceSettings") -> Iterable[Conflict]:
    """A topic named twice, and time limits in the wrong order."""
    twice = sorted({topic for topic in source.topics if source.topics.count(topic) > 1})
    if twice:
        yield Conflict(("source.topics",), f"names {', '.join(map(repr, twice))} more than once")
    if source.max_poll_interval_ms < source.session_timeout_ms:
        names = ("source.max_poll_interval_ms", "source.session_timeout_ms")
        yield Conflict(names, f"must not be below source.session_timeout_ms ({source.session_timeout_ms})")


def sink_conflicts(sink: "SinkSettings") -> Iterable[Conflict]:
    """Labelled messages and dead letters in one topic."""
    if sink.topic == sink.dead_letter_topic:
        names = ("sink.dead_letter_topic", "sink.topic")
        yield Conflict(
            names, f"is sink.topic as well ({sink.topic!r}): dead letters need a topic of their own"
        )


def language_conflicts(language: "LanguageSettings") -> Iterable[Conflict]:
    """A language that is routed and can never be detected."""
    if not language.detect or not language.candidates:
        return
    known = {*language.candidates, "und", "*"}
    for tag in language.route:
        if tag not in known and tag.partition("-")[0] not in known:
            names = ("language.route", "language.candidates")
            yield Conflict(names, f"{tag}: language.candidates does not hold it, so it is never detected")


def group_conflicts(
    source: "SourceSettings", sink: "SinkSettings", batch: "BatchSettings"
) -> Iterable[Conflict]:
    """What no group can see alone: a worker that reads what it writes, a window that can never fill."""
    for name, topic in (("sink.topic", sink.topic), ("sink.dead_letter_topic", sink.dead_letter_topic)):
        if topic in source.topics:
            yield Conflict(
                (name, "source.topics"), f"{topic!r} is an input topic too: it would feed on itself"
            )
    if source.max_in_flight_messages < batch.max_messages:
        names = ("source.max_in_flight_messages", "batch.max_messages")
        yield Conflict(names, f"must not be below batch.max_messages ({batch.max_messages})")
