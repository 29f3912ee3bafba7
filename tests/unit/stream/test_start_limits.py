"""What a worker says at its start about topics that take smaller records than its inputs."""

import threading

import pytest
import structlog

from worker.kafka.limits import TopicLimits
from worker.observe.health import Health
from worker.settings.groups import KafkaSettings, Settings, SinkSettings, SourceSettings
from worker.stream import app, limits
from worker.stream.check import problems

_SIZES = {"posts.a": 100, "posts.b": 9_000, "other": 99_000, "moods": 1_000, "moods.dead-letter": 10_000}


@pytest.fixture(autouse=True)
def broker(monkeypatch: pytest.MonkeyPatch) -> None:
    def require(_kafka: KafkaSettings, names: list[str]) -> None:
        assert set(names) <= set(_SIZES)

    monkeypatch.setattr(limits, "require_topics", require)
    monkeypatch.setattr(limits, "topic_names", lambda _kafka: list(_SIZES))
    monkeypatch.setattr(
        limits, "read_limits", lambda _kafka, names: {name: TopicLimits(_SIZES[name]) for name in names}
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
        accepted = app._connect(settings, Health(60), threading.Event())
    assert accepted is not None
    assert {"moods", "moods.dead-letter"} <= accepted.keys()
    found = [
        (line["topic"], line["input_max_message_bytes"])
        for line in lines
        if "takes smaller records" in line["event"]
    ]
    assert sorted(found) == warned


def test_config_check_tells_the_same_and_finds_no_fault_in_it() -> None:
    warned: list[str] = []
    settings = Settings(source=SourceSettings(topic_pattern="other"))
    assert list(problems(settings, online=True, warn=warned.append)) == []
    [line] = warned
    assert line == (
        "moods.dead-letter: this topic takes smaller records than an input topic: large messages become dead "
        "letters without the original's value (max_message_bytes 10000, input_max_message_bytes 99000)"
    )
