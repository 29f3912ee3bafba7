"""What a log line looks like, and what never gets into one."""

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog

from worker.observe.logs import QUIET_S, LogLevel, Quieter
from worker.observe.logs import configure as configure_logging


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "kafka", "kafka.net.selector")]
    handlers, levels = list(loggers[0].handlers), [logger.level for logger in loggers]
    yield
    loggers[0].handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def json_lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_no_terminal_means_one_json_object_a_line() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    structlog.get_logger("worker.stream.loop").info("window", messages=256, topic="posts — é")
    (line,) = json_lines(stream)
    assert line.pop("timestamp")
    assert line == {
        "level": "info",
        "event": "window",
        "logger": "worker.stream.loop",
        "messages": 256,
        "topic": "posts — é",
    }


def test_a_terminal_gets_coloured_lines_unless_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    configure_logging(stream=stream)
    structlog.get_logger("x").warning("dead letter", offset=3)
    assert "\x1b[" in stream.getvalue()
    assert "dead letter" in stream.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    configure_logging(stream=plain)
    structlog.get_logger("x").warning("dead letter", offset=3)
    assert "\x1b[" not in plain.getvalue()
    assert "offset=3" in plain.getvalue()


def test_the_form_can_be_forced() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    configure_logging("info", "json", terminal)
    structlog.get_logger("x").info("a")
    assert json_lines(terminal)[0]["event"] == "a"
    configure_logging("info", "console", pipe)
    structlog.get_logger("x").info("a", b=1)
    assert "b=1" in pipe.getvalue()
    assert not pipe.getvalue().startswith("{")
    assert "\x1b[" not in pipe.getvalue()


def test_levels_are_kept() -> None:
    stream = io.StringIO()
    configure_logging("warning", "json", stream)
    log = structlog.get_logger("x")
    log.debug("no")
    log.info("no")
    log.warning("yes")
    log.error("yes")
    assert [line["event"] for line in json_lines(stream)] == ["yes", "yes"]


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_the_kafka_client_is_quiet(level: LogLevel) -> None:
    stream = io.StringIO()
    configure_logging(level, "json", stream)
    logging.getLogger("kafka.net.manager").warning("connection to %s failed", "broker1:9092")
    logging.getLogger("kafka.producer.sender").error("KafkaTimeoutError: None")
    logging.getLogger("kafkaesque").error("not the client")
    assert [line["event"] for line in json_lines(stream)] == ["not the client"]


def test_lines_of_the_kafka_client_go_the_same_way_at_debug() -> None:
    stream = io.StringIO()
    configure_logging("debug", "json", stream)
    logging.getLogger("kafka.net.manager").warning("connection to %s failed", "broker1:9092")
    (line,) = json_lines(stream)
    assert line["event"] == "connection to broker1:9092 failed"
    assert line["logger"] == "kafka.net.manager"
    assert line["level"] == "warning"


def test_debug_shows_more_of_the_kafka_client_but_not_every_packet() -> None:
    stream = io.StringIO()
    configure_logging("debug", "json", stream)
    logging.getLogger("kafka.x").debug("packet")
    logging.getLogger("kafka.x").info("joined")
    assert [line["event"] for line in json_lines(stream)] == ["joined"]


def test_other_libraries_and_warnings_go_the_same_way() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    logging.getLogger("asyncio").error("odd", extra={"count": 2})
    warnings.warn("old", UserWarning, stacklevel=1)
    first, second = json_lines(stream)
    assert (first["event"], first["count"]) == ("odd", 2)
    assert "old" in str(second["event"])


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_local_variables(form: str) -> None:
    stream = io.StringIO()
    configure_logging("info", form, stream)  # type: ignore[arg-type]  # both are formats

    def divide(text: str) -> float:
        return len(text) / text.count("z")

    try:
        divide("".join(["private", " words"]))
    except ZeroDivisionError:
        structlog.get_logger("x").exception("failed")
    assert "ZeroDivisionError: division by zero" in stream.getvalue()
    assert "private words" not in stream.getvalue()


def test_what_json_cannot_hold_is_written_as_text() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    structlog.get_logger("x").info("a", value={1: frozenset({2})})
    (line,) = json_lines(stream)
    assert line["value"] == {"1": "frozenset({2})"}


def test_the_last_configuration_holds() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging("info", "json", first)
    log = structlog.get_logger("x")
    configure_logging("info", "json", second)
    log.info("a")
    assert not first.getvalue()
    assert len(json_lines(second)) == 1


def test_the_same_line_of_the_client_is_not_repeated_every_second() -> None:
    now = 0.0
    quieter = Quieter("kafka", clock=lambda: now)

    def passes(name: str, code_line: int, message: str = "no broker") -> logging.LogRecord | None:
        record = logging.LogRecord(name, logging.WARNING, "client.py", code_line, message, (), None)
        return record if quieter.filter(record) else None

    assert passes("kafka.net", 1)
    assert passes("kafka.net", 1) is None
    assert passes("kafka.net", 1, "no broker, said otherwise") is None
    assert passes("kafka.net", 2), "another line of the client"
    assert passes("kafkaesque", 1), "not the client"
    assert passes("kafkaesque", 1), "our own lines are never held back"
    now = QUIET_S
    again = passes("kafka.net", 1)
    assert again is not None
    assert again.__dict__["repeated"] == 2


def test_the_clients_tracebacks_are_cut_off_unless_asked_for() -> None:
    def line(*, tracebacks: bool) -> logging.LogRecord:
        record = logging.LogRecord(
            "kafka.net", logging.ERROR, "f", 1, "reset", (), (OSError, OSError(), None)
        )
        assert Quieter("kafka", tracebacks=tracebacks).filter(record)
        return record

    assert line(tracebacks=False).exc_info is None
    assert line(tracebacks=True).exc_info is not None


@pytest.mark.parametrize("value", ["half \ud83d of a pair", 2**70])
def test_what_orjson_refuses_is_still_a_json_line(value: object) -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    structlog.get_logger("x").warning("dead letter", value=value, offset=3)
    (line,) = json_lines(stream)
    assert (line["event"], line["value"], line["offset"]) == ("dead letter", value, 3)
