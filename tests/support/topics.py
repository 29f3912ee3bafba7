"""Topics and group of one run, and the settings of a worker on them."""

from dataclasses import dataclass, field
from pathlib import Path

from tests.support.workers import WorkerProcess
from worker.kafka.topics import TopicSpec, create_topics
from worker.settings.groups import KafkaSettings

PARTITIONS = 4


@dataclass
class Topics:
    """Topics and group of one run, with names of their own."""

    bootstrap: str
    name: str
    kafka: KafkaSettings = field(init=False)

    def __post_init__(self) -> None:
        self.kafka = KafkaSettings(bootstrap_servers=[self.bootstrap])
        self.posts, self.moods, self.dead = (f"{self.name}.{kind}" for kind in ("posts", "moods", "dead"))

    def create(self) -> None:
        create_topics(
            self.kafka, [TopicSpec(name, PARTITIONS, 1) for name in (self.posts, self.moods, self.dead)]
        )

    def environment(self, **more: str) -> dict[str, str]:
        """Settings of a worker on these topics, as environment variables."""
        return {
            "MOODSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap,
            "MOODSTREAM_SOURCE__TOPICS": self.posts,
            "MOODSTREAM_SOURCE__GROUP_ID": f"{self.name}.group",
            "MOODSTREAM_SOURCE__SESSION_TIMEOUT_MS": "6000",
            "MOODSTREAM_SINK__TOPIC": self.moods,
            "MOODSTREAM_SINK__DEAD_LETTER_TOPIC": self.dead,
            "MOODSTREAM_MODEL__THREADS": "1",
            **more,
        }

    def worker(self, slot: str, folder: Path, module: str = "worker", **more: str) -> WorkerProcess:
        return WorkerProcess(slot, self.environment(**more), folder, module)
