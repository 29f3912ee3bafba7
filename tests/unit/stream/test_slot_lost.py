"""A worker whose slot is lost: everything in flight is dropped, and it goes on in another slot by itself."""

import threading
from typing import Any

import pytest
import structlog

from worker.errors import BrokerUnavailable, ExitCode, Fenced
from worker.kafka import slots
from worker.kafka.topics import Member
from worker.observe.health import Health
from worker.settings.groups import DeliverySettings, Settings
from worker.stream import app
from worker.stream.app import Parts

Script = dict[str, list[Exception | None]]
"""How the loop ends in each slot, the first time and the times after it."""


class Stage:
    """The worker without Kafka: a loop that ends as it is told, and what was opened and closed meanwhile."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.steps: list[str] = []
        self.members: list[Member] = []
        self.health = Health(60)
        self.dead_letters = _DeadLetters()
        self.stop_in_loop = False

    def run(self, slot: str = "auto", stop: threading.Event | None = None) -> None:
        settings = Settings(delivery=DeliverySettings(slot=slot))
        parts: Any = Parts(
            settings,
            limits={},
            pipeline=None,  # type: ignore[arg-type]
            dead_letters=self.dead_letters,  # type: ignore[arg-type]
            output_format=None,  # type: ignore[arg-type]
            health=self.health,
            metrics=None,  # type: ignore[arg-type]
        )
        app._take_part(parts, stop or threading.Event())


class _DeadLetters:
    origin: Any = None

    def to_dead_letter(self, *_: object) -> None: ...


class _Half:
    """A source or a checkpoint."""

    def __init__(self, stage: Stage, name: str, slot: str) -> None:
        self.stage, self.name, self.slot = stage, name, slot

    def _step(self, what: str) -> None:
        self.stage.steps.append(f"{what} {self.name} {self.slot}")

    def open(self, stop: threading.Event) -> None:
        self._step("open")

    def leave(self, *, fenced: bool = False) -> None:
        self._step("fenced" if fenced else "leave")

    def close(self) -> None:
        self._step("close")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage({})

    class Loop:
        def __init__(self, source: _Half, *_: object, **__: object) -> None:
            self.slot = source.slot

        def run(self, stop: threading.Event) -> None:
            assert made.dead_letters.origin.slot == self.slot
            checks = made.health.ready()[1]["checks"]
            assert checks.get("stream", {"ok": True})["ok"], "red again only once it ends for good"
            made.members.append(Member(f"member {len(made.members)}", f"moodstream.{self.slot}"))
            made.steps.append(f"run {self.slot}")
            due = made.script.get(self.slot, [])
            end = due.pop(0) if due else None
            if made.stop_in_loop:
                stop.set()
            if end is not None:
                made.health.set_ready("stream", ready=False)
                raise end

    monkeypatch.setattr(app, "Loop", Loop)
    monkeypatch.setattr(app, "Fitter", lambda *_, **__: None)
    monkeypatch.setattr(app, "_source", lambda settings, *_: _Half(made, "source", settings.delivery.slot))
    monkeypatch.setattr(
        app, "_checkpoint", lambda settings, *_, **__: _Half(made, "checkpoint", settings.delivery.slot)
    )
    monkeypatch.setattr(slots, "group_members", lambda kafka, group_id: made.members)
    monkeypatch.setattr(slots, "LONGEST_PAUSE_S", 0.0)
    return made


def test_the_slot_is_taken_and_given_back(stage: Stage) -> None:
    stage.run()
    assert stage.steps == [
        "open checkpoint 0",
        "run 0",
        "leave source 0",
        "close checkpoint 0",
        "close source 0",
    ]


def test_a_lost_slot_is_followed_by_another_with_nothing_left_of_the_first(stage: Stage) -> None:
    stage.script = {"0": [Fenced("another worker has taken slot moodstream.0")]}
    with structlog.testing.capture_logs() as lines:
        stage.run()
    first = stage.steps.index("close source 0")
    assert stage.steps[: first + 1] == [
        "open checkpoint 0",
        "run 0",
        "fenced source 0",
        "close checkpoint 0",
        "close source 0",
    ]
    [other] = {step.split()[-1] for step in stage.steps[first + 1 :]}
    assert other in {"1", "2"}
    assert f"leave source {other}" in stage.steps
    said = [(line["event"].split(";")[0], line["slot"]) for line in lines if "slot" in line]
    assert said == [
        ("slot taken", "0"),
        ("started", "0"),
        ("another worker has taken this slot", "0"),
        ("slot taken", other),
        ("started", other),
    ]


def test_a_slot_from_the_settings_is_never_exchanged(stage: Stage) -> None:
    stage.script = {"eu": [Fenced("another worker has taken slot moodstream.eu")]}
    with pytest.raises(Fenced) as end:
        stage.run("eu")
    assert end.value.exit_code == ExitCode.FENCED
    assert "fenced source eu" not in stage.steps
    assert stage.steps[-1] == "close source eu"


def test_other_errors_end_the_worker(stage: Stage) -> None:
    stage.script = {"0": [BrokerUnavailable("outside the consumer group for 300 s")]}
    with pytest.raises(BrokerUnavailable):
        stage.run()
    assert stage.steps[-2:] == ["close checkpoint 0", "close source 0"]


def test_a_stop_while_a_slot_is_lost_takes_no_other(stage: Stage) -> None:
    stage.stop_in_loop = True
    stage.script = {"0": [Fenced("another worker has taken slot moodstream.0")]}
    stage.run()
    assert [step for step in stage.steps if step.startswith("run")] == ["run 0"]
