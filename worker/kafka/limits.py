"""What a topic accepts: the size of a record, its timestamp, and whether it may lack a key."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError
from kafka.record.default_records import DefaultRecordBatchBuilder

from worker.errors import BrokerRefused
from worker.kafka.producer import BATCH_BYTES, MAX_RECORD_BYTES, client_headers
from worker.kafka.topics import ROOM_FOR_LARGE_RECORDS, admin_client
from worker.settings.groups import KafkaSettings
from worker.types import OutputRecord

HOUR_MS = 60 * 60 * 1000
_UNBOUNDED = 2**63 - 1
_HEADERS_BYTES = 64 * 1024

_CODECS = {
    "none": DefaultRecordBatchBuilder.CODEC_NONE,
    "gzip": DefaultRecordBatchBuilder.CODEC_GZIP,
    "snappy": DefaultRecordBatchBuilder.CODEC_SNAPPY,
    "lz4": DefaultRecordBatchBuilder.CODEC_LZ4,
    "zstd": DefaultRecordBatchBuilder.CODEC_ZSTD,
}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TopicLimits:
    """What one topic accepts. The defaults are for a topic whose configuration cannot be read.

    `max_bytes` is the largest batch after compression, None if unknown. `before_ms` and `after_ms` say how
    far a record's timestamp may lie before and after the broker's clock.
    """

    max_bytes: int | None = None
    before_ms: int = _UNBOUNDED
    after_ms: int = HOUR_MS
    compacted: bool = False

    @property
    def known(self) -> bool:
        """Whether the configuration could be read."""
        return self.max_bytes is not None

    def takes_time(self, timestamp_ms: int, now_ms: int) -> bool:
        """Whether a record may carry this time. Unix time."""
        return timestamp_ms >= 0 and now_ms - self.before_ms <= timestamp_ms <= now_ms + self.after_ms

    def takes_size(self, output: OutputRecord, compression: str) -> bool:
        """Whether a record fits, alone in its batch; `compression` is `sink.compression_type`."""
        headers = client_headers(output)
        most = DefaultRecordBatchBuilder.estimate_size_in_bytes(output.key, output.value, headers)
        if most > MAX_RECORD_BYTES:
            return False
        if self.max_bytes is None or most <= self.max_bytes:
            return True
        return _written_bytes(output, headers, compression) <= self.max_bytes


def _written_bytes(output: OutputRecord, headers: list[tuple[str, bytes]], compression: str) -> int:
    """How many bytes a record takes in the log, in a batch of its own."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=_CODECS[compression],
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=MAX_RECORD_BYTES,
    )
    builder.append(0, output.timestamp_ms or 0, output.key, output.value, headers)
    return len(builder.build())


def read_limits(kafka: KafkaSettings, names: Iterable[str]) -> dict[str, TopicLimits]:
    """Read what each topic accepts. A topic whose configuration may not be read gets the defaults.

    Raises:
        BrokerUnavailable: no broker answers.
    """
    names = list(names)
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: Mapping[str, Mapping[str, Any]] = {}
    try:
        with admin_client(kafka) as admin:
            found = admin.describe_configs(resources, config_filter="all").get("topic", {})
    except (BrokerRefused, KafkaError) as error:
        _log.debug("the topics' limits cannot be read", reason=str(error))
    limits = {name: _limits(found.get(name, {})) for name in names}
    unknown = [name for name in names if not limits[name].known]
    if unknown:
        _log.info("the limits of these topics cannot be read; Kafka's defaults are assumed", topics=unknown)
    return limits


def _limits(config: Mapping[str, Any]) -> TopicLimits:
    def number(name: str, default: int) -> int:
        value = config.get(name, {}).get("value")
        return default if value is None else int(value)

    if not config:
        return TopicLimits()
    # One limit for both directions before Kafka 3.6.
    both = number("message.timestamp.difference.max.ms", _UNBOUNDED)
    after = both if "message.timestamp.difference.max.ms" in config else HOUR_MS
    size = number("max.message.bytes", 0)
    return TopicLimits(
        max_bytes=size or None,
        before_ms=number("message.timestamp.before.max.ms", both),
        after_ms=number("message.timestamp.after.max.ms", after),
        compacted="compact" in str(config.get("cleanup.policy", {}).get("value") or ""),
    )


def batch_bytes(limits: Iterable[TopicLimits]) -> int:
    """The size of a producer's batches: no batch of several records is larger than its topic accepts."""
    return min([BATCH_BYTES, *(limit.max_bytes for limit in limits if limit.max_bytes is not None)])


def room_for(inputs: Iterable[TopicLimits]) -> dict[str, str]:
    """The configuration that an output or dead-letter topic needs for records made from these inputs.

    A dead letter is its input plus headers, and an output with its text may be about as large.
    """
    largest = max((limit.max_bytes or 0 for limit in inputs), default=0)
    usual = int(ROOM_FOR_LARGE_RECORDS["max.message.bytes"])
    return {"max.message.bytes": str(max(usual, largest + _HEADERS_BYTES))}
