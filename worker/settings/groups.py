"""The settings, one class a group. Field names are public: flags and variables follow them."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from worker.settings.checks import (
    kafka_conflicts,
    language_conflicts,
    refuse,
    sink_conflicts,
    source_conflicts,
)
from worker.settings.languages import LanguageList, RouteTable
from worker.settings.values import BrokerList, HomePath, ReadableFile, TopicList, TopicName

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class Group(BaseModel):
    """A group of settings. An unknown name is a mistake, never ignored."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        # `slot = 0` in a TOML file means "0".
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
    )


class KafkaSettings(Group):
    """How to reach the brokers. Names are kafka-python's own."""

    bootstrap_servers: BrokerList = Field(
        default=["localhost:9092"],
        min_length=1,
        description="Brokers to ask first, each as `host:port`; the others are learnt from them.",
    )
    client_id: str = Field(
        default="moodstream",
        min_length=1,
        description="Name that the brokers see in their logs and quotas.",
    )
    security_protocol: SecurityProtocol = Field(
        default="PLAINTEXT",
        description="How to talk to the brokers: `SSL` encrypts, `SASL_…` logs in.",
    )
    sasl_mechanism: SaslMechanism | None = Field(
        default=None,
        description="How to log in. Needed with `SASL_PLAINTEXT` and `SASL_SSL`.",
    )
    sasl_plain_username: str | None = Field(
        default=None,
        description="User name, for PLAIN and SCRAM alike.",
    )
    sasl_plain_password: SecretStr | None = Field(
        default=None,
        description="Password, for PLAIN and SCRAM alike. As a flag it shows in the process list: "
        "prefer the variable.",
    )
    ssl_cafile: ReadableFile | None = Field(
        default=None,
        description="PEM file with the authorities to trust; the system's when empty.",
    )
    ssl_certfile: ReadableFile | None = Field(
        default=None,
        description="PEM file with the client's certificate, for mutual TLS.",
    )
    ssl_keyfile: ReadableFile | None = Field(
        default=None,
        description="PEM file with the client's private key; empty when `ssl_certfile` holds it too.",
    )
    ssl_password: SecretStr | None = Field(
        default=None,
        description="Password of the private key. As a flag it shows in the process list: "
        "prefer the variable.",
    )
    ssl_check_hostname: bool = Field(
        default=True,
        description="Check that the broker's certificate names its host.",
    )
    connect_limit_s: float = Field(
        default=300.0,
        gt=0,
        description="How long to go on trying while no broker answers, before the worker exits. Seconds.",
    )

    metadata_max_age_ms: int = Field(
        default=30_000,
        ge=1_000,
        description="How soon a partition that was added to an input topic is noticed. Milliseconds.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        refuse(kafka_conflicts(self))
        return self


class SourceSettings(Group):
    """What to read."""

    topics: TopicList = Field(
        default=["posts"],
        min_length=1,
        description="Input topics.",
    )
    group_id: str = Field(
        default="moodstream",
        min_length=1,
        description="Consumer group. All workers that share the work share it.",
    )
    text_field: str = Field(
        default="text",
        min_length=1,
        description="Where the text lies in a JSON message; dots go deeper, as in `review.body`.",
    )
    auto_offset_reset: Literal["earliest", "latest"] = Field(
        default="earliest",
        description="Where a group without committed offsets begins.",
    )
    session_timeout_ms: int = Field(
        default=10_000,
        ge=6_000,
        description="After so long without a heartbeat a worker's partitions go to the others. Milliseconds.",
    )
    max_poll_interval_ms: int = Field(
        default=300_000,
        ge=10_000,
        description="A worker that has not polled for so long loses its partitions. Milliseconds.",
    )
    max_in_flight_messages: int = Field(
        default=2_048,
        ge=1,
        description="Messages read but not yet committed, at most; at this bound partitions are paused.",
    )
    max_in_flight_bytes: int = Field(
        default=33_554_432,
        ge=65_536,
        description="The keys and values of those messages, at most. Bytes.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        refuse(source_conflicts(self))
        return self


class SinkSettings(Group):
    """What to write."""

    topic: TopicName = Field(
        default="moods",
        description="Topic for labelled messages.",
    )
    dead_letter_topic: TopicName = Field(
        default="moods.dead-letter",
        description="Topic for messages that could not be labelled.",
    )
    dead_letter_profile: Literal["connect", "spring"] = Field(
        default="connect",
        description="Header names of a dead letter: Kafka Connect's or Spring Kafka's.",
    )
    include_text: bool = Field(
        default=False,
        description="Write the text itself into the output. Left out by default, for privacy.",
    )
    compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        default="lz4",
        description="Compression of what is written.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        refuse(sink_conflicts(self))
        return self


class DeliverySettings(Group):
    """What is promised for each message."""

    guarantee: Literal["exactly_once", "at_least_once"] = Field(
        default="exactly_once",
        description="`exactly_once` commits outputs and offsets in one Kafka transaction; `at_least_once` "
        "may repeat outputs after a crash, with the same `event_id`.",
    )
    slot: str = Field(
        default="0",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="This worker's place in the group. Each worker running at the same time needs its own, "
        "and keeps it over restarts.",
    )
    transaction_timeout_ms: int = Field(
        default=30_000,
        ge=5_000,
        description="The broker aborts a transaction after so long; writes get two thirds of it "
        "to arrive, 20 s at most. Milliseconds.",
    )
    drain_timeout_s: float = Field(
        default=20.0,
        gt=0,
        description="How long a stop may take to finish what was read. Seconds.",
    )
    watchdog_s: float = Field(
        default=60.0,
        ge=30,
        description="A checkpoint that hangs for so long ends the worker, for its supervisor to start it "
        "again. Seconds.",
    )


class BatchSettings(Group):
    """How messages become micro-batches."""

    max_messages: int = Field(
        default=256,
        ge=1,
        le=4_096,
        description="Messages in one window, which is sorted by length, labelled and committed together.",
    )
    max_wait_ms: int = Field(
        default=20,
        ge=0,
        le=10_000,
        description="How long a window that is not full waits for more. Milliseconds.",
    )
    max_window_s: float = Field(
        default=2.0,
        ge=0.1,
        le=60,
        description="How long labelling one window may take, estimated from those before it: a window of "
        "long texts holds fewer messages, so that a rebalance need not wait for it. Seconds.",
    )
    max_padded_tokens: int = Field(
        default=256,
        ge=64,
        description="Tokens in one micro-batch at most, padding counted.",
    )
    max_padding_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="A micro-batch is cut where more of it than this would be padding.",
    )


class ModelSettings(Group):
    """Which model to run."""

    path: HomePath | None = Field(
        default=None,
        description="Folder of a model pack, or the name of one that ships: `compact` (when empty) or "
        "`compact-fast`.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Forward passes side by side, a thread each; 0 takes what machine and cgroup grant.",
    )


class LanguageSettings(Group):
    """What language a message is in, and which pack labels it. Off by default."""

    detect: bool = Field(
        default=False,
        description="Name the language of messages that do not say it, in `lang` of the output. Needs the "
        "extra `lang`.",
    )
    candidates: LanguageList = Field(
        default=[],
        description="Languages to choose among, as in `en,it,fa`; all that the identifier knows when empty. "
        "A short list makes it surer.",
    )
    min_confidence: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="A language less sure than this is not named.",
    )
    route: RouteTable = Field(
        default={},
        description="Which pack labels which language: `default` (that of `model.path`), a folder, or "
        "`unsupported` for a dead letter; `und` is a language unknown, `*` every other. Without it all go to "
        "the default.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        refuse(language_conflicts(self))
        return self


class ObserveSettings(Group):
    """What the worker tells about itself."""

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address for `/metrics`, `/healthz` and `/readyz`; `0.0.0.0` opens them to the network.",
    )
    port: int = Field(
        default=9464,
        ge=0,
        le=65_535,
        description="Port for them; 0 takes a free one and logs it.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Least serious line to log.",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description="`auto` writes JSON where the output is no terminal, and coloured lines where it is.",
    )
    stall_after_s: float = Field(
        default=60.0,
        gt=0,
        description="`/healthz` fails when the loop has not turned for so long. Seconds.",
    )
