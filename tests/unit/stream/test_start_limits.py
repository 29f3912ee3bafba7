"""What a worker says at its start about topics that take smaller records than its inputs."""

import threading

import pytest
import structlog

from worker.kafka.limits import TopicLimits
from worker.observe.health import Health
from worker.settings.groups import KafkaSettings, Settings, SinkSettings, SourceSettings
from worker.stream import app

_SIZES = {"posts.a": 100, "posts.b": 9_000, "other": 99_000, "moods": 1_000, "moods.dead-letter": 10_000}


@pytest.fixture(autouse=True)
def broker(monkeypatch: pytest.MonkeyPatch) -> None:
    def require(_kafka: KafkaSettings, names: list[str]) -> None:
        assert set(names) <= set(_SIZES)

    monkeypatch.setattr(app, "require_topics", require)
    monkeypatch.setattr(app, "topic_names", lambda _kafka: list(_SIZES))
    monkeypatch.setattr(
        app, "read_limits", lambda _kafka, names: {name: TopicLimits(_SIZES[name]) for name in names}
    )


@pytest.mark.parametrize(
    ("source", "warned"),
    [
        (SourceSettings(topics=["posts.a"]), []),
        (SourceSettings(topics=["posts.a", "posts.b"]), [("moods", 9_000)]),
        (SourceSettings(topic_pattern=r"posts\..*"), [("moods", 9_000)]),
        (SourceSettings(topic_pattern="other"), [("moods", 99_000), ("moods.dead-letter", 99_000)]),
        (SourceSettings(topic_pattern=r"posts\.a"), []),
        (SourceSettings(topic_pattern="nothing yet"), []),
    ],
)
def test_the_inputs_limits_are_compared_whether_they_are_named_or_matched(
    source: SourceSettings, warned: list[tuple[str, int]]
) -> None:
    settings = Settings(source=source, sink=SinkSettings(include_text=True))
    with structlog.testing.capture_logs() as lines:
        limits = app._connect(settings, Health(60), threading.Event())
    assert limits is not None
    assert {"moods", "moods.dead-letter"} <= limits.keys()
    found = [
        (line["topic"], line["input_max_message_bytes"])
        for line in lines
        if "takes smaller records" in line["event"]
    ]
    assert sorted(found) == warned
