"""The settings, one class a group, and the mistakes that show only when several are seen together.

Field names are public: flags and variables follow them.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker.heads import Marks
from worker.settings.base import Conflict, Group, refuse
from worker.settings.kafka import KafkaSettings
from worker.settings.languages import ANY, UNKNOWN, LanguageList, RouteTable
from worker.settings.values import (
    FilterExpression,
    Host,
    KeepList,
    PathList,
    Pattern,
    TextExpression,
    TopicList,
    TopicName,
    ValueExpression,
)
from worker.types import LongText

__all__ = [
    "BatchSettings",
    "DeliverySettings",
    "KafkaSettings",
    "LanguageSettings",
    "ModelSettings",
    "ObserveSettings",
    "Settings",
    "SinkSettings",
    "SourceSettings",
]


PresetName = Literal[
    "connect",
    "debezium",
    "mastodon",
    "bluesky",
    "reddit",
    "x",
    "app_store",
    "google_play",
    "product_review",
]
"""The presets of worker/messages/presets.py."""


LARGEST_MS = 2**31 - 1
"""Kafka sends times as 32-bit numbers of milliseconds: 24 days."""

DEFAULT_LONG_TEXT: LongText = "head_tail"
"""By measurement: see docs/reference/packs.md."""


class SourceSettings(Group):
    """What to read."""

    topics: TopicList = Field(
        default=["posts"],
        description="Input topics.",
    )
    topic_pattern: Pattern | None = Field(
        default=None,
        description="Instead of `topics`: a regular expression. Every topic whose whole name matches is "
        "read, also one that appears later.",
    )
    group_id: str = Field(
        default="moodstream",
        min_length=1,
        description="Consumer group. All workers that share the work share it.",
    )
    text_field: TextExpression = Field(
        default="text",
        min_length=1,
        description="Where the text is in a JSON message: a path, in which dots go deeper, as in "
        "`review.body`; several are joined (`title, body`); of alternatives (`full_text | text`) the first "
        "with text counts. Or a JMESPath expression.",
    )
    time_field: ValueExpression | None = Field(
        default=None,
        description="Where the time is: ISO 8601, or Unix time in seconds, milliseconds, microseconds or "
        "nanoseconds, told apart by size. If none can be read there, the record's own time counts.",
    )
    id_field: ValueExpression | None = Field(
        default=None,
        description="Where the id is, a string or a whole number. It becomes `event_id`; without it "
        "`topic:partition:offset` does.",
    )
    lang_field: ValueExpression | None = Field(
        default=None,
        description="Where the language is. Without it the `lang` beside the text counts.",
    )
    filter: FilterExpression | None = Field(
        default=None,
        description="A JMESPath expression that is true for the messages to label, as in "
        "`lang == 'en'`. The others are counted and have no output.",
    )
    preset: PresetName | None = Field(
        default=None,
        description="The shape of the messages. It sets the fields above that you do not set yourself.",
    )
    html: Literal["auto", "strip", "keep"] = Field(
        default="auto",
        description="`strip` reads the text as HTML and takes what a reader sees of it; `keep` leaves it as "
        "it is; `auto` strips with a preset whose texts are HTML. Needs the extra `html`.",
    )
    auto_offset_reset: Literal["earliest", "latest"] = Field(
        default="earliest",
        description="Where a group without committed offsets begins.",
    )
    session_timeout_ms: int = Field(
        default=10_000,
        ge=6_000,
        le=LARGEST_MS,
        description="A worker loses its partitions after so long without a heartbeat. Milliseconds.",
    )
    max_poll_interval_ms: int = Field(
        default=300_000,
        ge=10_000,
        le=LARGEST_MS,
        description="A worker that has not polled for so long loses its partitions. Milliseconds.",
    )
    max_in_flight_messages: int = Field(
        default=2_048,
        ge=1,
        description="Most messages that are read but not yet committed; above it partitions are paused.",
    )
    max_in_flight_bytes: int = Field(
        default=33_554_432,
        ge=65_536,
        description="Most bytes in the keys and values of those messages.",
    )

    @model_validator(mode="before")
    @classmethod
    def _pattern_alone(cls, values: Any) -> Any:
        """With a pattern the default of `topics` would be in the way."""
        if isinstance(values, Mapping) and values.get("topic_pattern") and "topics" not in values:
            return {**values, "topics": []}
        return values

    def conflicts(self) -> Iterable[Conflict]:
        """Nothing to read, a topic named twice, and time limits in the wrong order."""
        if self.topics and self.topic_pattern is not None:
            names = ("source.topic_pattern", "source.topics")
            yield Conflict(names, "cannot be used together with source.topics; give one of the two")
        if not self.topics and self.topic_pattern is None:
            yield Conflict(("source.topics", "source.topic_pattern"), "must not be empty")
        for topic in sorted({topic for topic in self.topics if self.topics.count(topic) > 1}):
            yield Conflict(("source.topics",), "is named more than once", topic)
        if self.max_poll_interval_ms < self.session_timeout_ms:
            names = ("source.max_poll_interval_ms", "source.session_timeout_ms")
            yield Conflict(names, f"must not be below source.session_timeout_ms ({self.session_timeout_ms})")

    def reads(self, topic: str) -> bool:
        """Whether `topic` is one of the input topics."""
        pattern = self.topic_pattern
        return topic in self.topics or (pattern is not None and re.fullmatch(pattern, topic) is not None)


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
    format: Literal["json", "json_schema", "avro", "cloudevents"] = Field(
        default="json",
        description="How an output is written. `json` is a flat object, `json_schema` Kafka Connect's "
        "`schema` and `payload`, `avro` Avro with a schema that a registry holds, `cloudevents` the flat "
        "object with the attributes of a CloudEvent in headers.",
    )
    columns: Literal["all", "labels"] = Field(
        default="all",
        description="`labels` leaves out the columns that hold the probability of a single label or group.",
    )
    keep: KeepList = Field(
        default=[],
        description="Fields of the input to write as columns, as in `product, author.name as author, "
        "price:double`: each is `EXPRESSION` or `EXPRESSION as NAME`, and may end in a type (`:string`, "
        "`:long`, `:double`, `:boolean`).",
    )
    offsets: Literal["code_points", "utf16"] = Field(
        default="code_points",
        description="What the ranges of marked words count: Unicode code points as Python does, or `utf16` "
        "units as JavaScript and Java do.",
    )
    compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        default="lz4",
        description="Compression of what is written.",
    )

    def conflicts(self) -> Iterable[Conflict]:
        """Labelled messages and dead letters in one topic."""
        if self.topic == self.dead_letter_topic:
            names = ("sink.dead_letter_topic", "sink.topic")
            yield Conflict(names, "is sink.topic as well: dead letters need a topic of their own", self.topic)


AUTO_SLOT = "auto"
"""The `delivery.slot` of a worker that takes a free slot by itself."""


class DeliverySettings(Group):
    """What is guaranteed for each message."""

    guarantee: Literal["exactly_once", "at_least_once"] = Field(
        default="exactly_once",
        description="`exactly_once` commits outputs and offsets in one Kafka transaction; `at_least_once` "
        "may repeat outputs after a crash, with the same `event_id`.",
    )
    slot: str = Field(
        default=AUTO_SLOT,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="This worker's place in the group. `auto` takes a free number, and another one if it is "
        "lost. A name of your own is kept over restarts; no two workers may run with the same one.",
    )
    transaction_timeout_ms: int = Field(
        default=30_000,
        ge=5_000,
        le=LARGEST_MS,
        description="The broker aborts a transaction after so long; writes get two thirds of it, "
        "20 s at most. Milliseconds.",
    )
    on_poison: Literal["stop", "skip"] = Field(
        default="stop",
        description="What to do with a message for which Kafka takes neither an output nor even a small dead "
        "letter: `stop` ends the worker, which loses nothing; `skip` counts and logs it and goes on.",
    )
    drain_timeout_s: float = Field(
        default=20.0,
        gt=0,
        le=86_400,
        description="How long a stop may take to finish what was read. Seconds.",
    )
    watchdog_s: float = Field(
        default=60.0,
        ge=30,
        description="A checkpoint that hangs for so long ends the worker, so that its supervisor starts it "
        "again. Time in which no broker answers does not count: that is waiting, up to "
        "`kafka.connect_limit_s`. Seconds.",
    )


class BatchSettings(Group):
    """How messages are grouped into micro-batches."""

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
        description="Most tokens in one micro-batch, padding included.",
    )
    max_padding_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="A micro-batch is cut where more of it than this would be padding.",
    )


class ModelSettings(Group):
    """Which model to run."""

    path: PathList = Field(
        default=[],
        description="Folder of a model pack, or the name of one that ships: `compact` (when empty) or "
        "`compact-fast`. Several, as in `compact,./my-pack`, label every message side by side.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Forward passes in parallel, one thread each; 0 takes what machine and cgroup allow.",
    )
    marks: Marks = Field(
        default="flagged",
        description="In which messages words are marked: `flagged`, only in those that are called toxic; "
        "`gate`, in all that reach the lower score that the pack names, which finds more toxic words and "
        "also marks some in messages that are called not toxic.",
    )
    long_text: LongText = Field(
        default=DEFAULT_LONG_TEXT,
        description="What is read of a text that is longer than the pack reads at once: `truncate` its "
        "beginning, `head_tail` its beginning and its end, `windows` all of it, in up to 8 parts. Scores are "
        "the mean of those of the parts.",
    )


class LanguageSettings(Group):
    """What language a message is in, which pack labels it, and what happens where the pack cannot read it."""

    detect: bool = Field(
        default=True,
        description="Find out the language of messages that do not say it, for `lang` and `supported` of the "
        "output.",
    )
    candidates: LanguageList = Field(
        default=[],
        description="Languages to choose from, as in `en,it,fa`; all that the identifier knows when empty. "
        "A short list makes it more certain.",
    )
    min_confidence: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="A language that is less certain than this is not named: `lang` is then `und`.",
    )
    unsupported: Literal["mark", "dead_letter"] = Field(
        default="mark",
        description="What happens to a message in a language that its pack does not read, by the pack's own "
        "`languages`: `mark` writes its labels with `supported` false beside them, `dead_letter` makes it a "
        "dead letter.",
    )
    route: RouteTable = Field(
        default={},
        description="Which pack labels which language: `default` (that of `model.path`), a folder, or "
        "`unsupported` for a dead letter in any case; `und` is an unknown language, `*` every other one. "
        "Without a route all messages go to the default.",
    )

    def conflicts(self) -> Iterable[Conflict]:
        """Choices for a detection that is off, and a language that is routed and can never be detected."""
        if not self.detect:
            for name in sorted({"candidates", "min_confidence"} & self.model_fields_set):
                names = (f"language.{name}", "language.detect")
                yield Conflict(names, "would be ignored: language.detect is false")
            return
        if not self.candidates:
            return
        known = {*self.candidates, UNKNOWN, ANY}
        for tag in self.route:
            if tag not in known and tag.partition("-")[0] not in known:
                names = ("language.route", "language.candidates")
                yield Conflict(names, "is not in language.candidates, so it is never detected", tag)


class ObserveSettings(Group):
    """What the worker reports about itself."""

    host: Host = Field(
        default="127.0.0.1",
        description="Address for `/metrics`, `/healthz` and `/readyz`; `0.0.0.0` opens them to the network.",
    )
    port: int = Field(
        default=9464,
        ge=0,
        le=65_535,
        description="Port for these pages; 0 takes a free one and logs it.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Lines of this level and above are logged.",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description="`auto` writes JSON where the output is not a terminal, and coloured lines where it is.",
    )
    stall_after_s: float = Field(
        default=60.0,
        gt=0,
        description="`/healthz` fails when the main loop has stood still for so long. Seconds.",
    )


class Settings(BaseSettings):
    """Every setting of a worker, valid and frozen.

    `Settings(...)` holds what is passed and the defaults, and reads nothing else, so that a program or a test
    gets what it wrote. `Settings.load()` reads what the command reads: environment, TOML and `.env`.
    """

    model_config = SettingsConfigDict(
        env_prefix="MOODSTREAM_",
        env_nested_delimiter="__",
        # MOODSTREAM_LANGUAGE__ROUTE__EN is not a setting: a table is one value.
        env_nested_max_split=1,
        # Lists and tables are written `a,b` and `a=x,b=y`, not only as JSON: worker/settings/values.py.
        enable_decoding=False,
        extra="forbid",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    source: SourceSettings = Field(default_factory=SourceSettings)
    sink: SinkSettings = Field(default_factory=SinkSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    batch: BatchSettings = Field(default_factory=BatchSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    language: LanguageSettings = Field(default_factory=LanguageSettings)
    observe: ObserveSettings = Field(default_factory=ObserveSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - see above
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - see above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - see above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is passed, and nothing behind the caller's back."""
        return (init_settings,)

    @staticmethod
    def load(config: Path | None = None) -> "Settings":
        """Read the settings as `moodstream run --config CONFIG` does; `load_settings` also tells the origins.

        Raises:
            SettingsError: with one line for each mistake found.
        """
        from worker.settings.load import load_settings  # noqa: PLC0415 - it is built on this class

        return load_settings(config=config).settings

    @model_validator(mode="after")
    def _fits(self) -> Self:
        refuse(self.conflicts())
        return self

    def conflicts(self) -> Iterable[Conflict]:
        """What no group can see alone: a worker that reads what it writes, a window that can never fill."""
        for name, topic in (
            ("sink.topic", self.sink.topic),
            ("sink.dead_letter_topic", self.sink.dead_letter_topic),
        ):
            if self.source.reads(topic):
                about = (name, "source.topics", "source.topic_pattern")
                yield Conflict(about, "is an input topic too: it would feed on itself", topic)
        if self.sink.format == "avro" and self.kafka.schema_registry_url is None:
            names = ("sink.format", "kafka.schema_registry_url")
            yield Conflict(names, "needs kafka.schema_registry_url: it holds the schemas", "avro")
        if self.source.max_in_flight_messages < self.batch.max_messages:
            names = ("source.max_in_flight_messages", "batch.max_messages")
            yield Conflict(names, f"must not be below batch.max_messages ({self.batch.max_messages})")
        yield from self._window_conflicts()

    def _window_conflicts(self) -> Iterable[Conflict]:
        """A window that may take longer than the rest of the worker waits for it."""
        if "max_window_s" not in self.batch.model_fields_set:
            return
        for name, limit_s, why in (
            ("delivery.drain_timeout_s", self.delivery.drain_timeout_s, "a stop could not finish a window"),
            ("observe.stall_after_s", self.observe.stall_after_s, "a window would look like a stall"),
            (
                "source.max_poll_interval_ms",
                self.source.max_poll_interval_ms / 1_000,
                "a window could cost partitions",
            ),
        ):
            if self.batch.max_window_s >= limit_s:
                about = ("batch.max_window_s", name)
                yield Conflict(about, f"must be below {name} ({limit_s:g} s): otherwise {why}")
