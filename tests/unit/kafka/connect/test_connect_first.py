"""The first connection: patient while nobody answers, short with a refusal."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import worker.kafka.retry
from worker.errors import BrokerRefused, BrokerUnavailable
from worker.kafka.probe import probe
from worker.kafka.retry import first_connection
from worker.settings.groups import KafkaSettings


@contextmanager
def _server(handle: Callable[[socket.socket], None]) -> Iterator[KafkaSettings]:
    """A port where `handle` gets every connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kept.append(connection)
                handle(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield KafkaSettings(bootstrap_servers=[f"127.0.0.1:{listener.getsockname()[1]}"])
        listener.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()


def _nobody() -> KafkaSettings:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return KafkaSettings(bootstrap_servers=[f"127.0.0.1:{taken.getsockname()[1]}"])


def test_nobody_listens() -> None:
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="does not listen"):
        probe(_nobody())
    assert time.monotonic() - started < 2


def test_a_host_that_never_answers_costs_no_more_than_the_limit() -> None:
    with _server(lambda connection: None) as settings:
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable, match=r"does not answer in time|no answer within"):
            probe(settings, timeout_s=0.5)
        assert time.monotonic() - started < 2


def test_a_port_that_hangs_up_hints_at_the_protocol() -> None:
    with (
        _server(lambda connection: connection.close()) as settings,
        pytest.raises(BrokerUnavailable) as problem,
    ):
        probe(settings)
    assert "kafka.security_protocol" in str(problem.value)


def test_every_address_is_asked() -> None:
    with _server(lambda connection: None) as silent:
        servers = [*silent.bootstrap_servers, *_nobody().bootstrap_servers]
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="does not listen"):
            probe(KafkaSettings(bootstrap_servers=servers), timeout_s=0.6)
        assert time.monotonic() - started < 2


def test_retries_are_told_until_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.kafka.retry, "TELL_EVERY_S", 0.1)
    told: list[tuple[str, float]] = []
    with pytest.raises(BrokerUnavailable, match=r"kafka\.connect_limit_s") as problem:
        first_connection(_nobody(), limit_s=0.5, say=lambda reason, waited: told.append((reason, waited)))
    assert len(told) >= 2
    assert all("does not listen" in reason for reason, _ in told)
    assert [waited for _, waited in told] == sorted(waited for _, waited in told)
    assert "\n" not in str(problem.value)


def test_a_refusal_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[KafkaSettings] = []

    def refuse(kafka: KafkaSettings, timeout_s: float) -> None:
        asked.append(kafka)
        raise BrokerRefused("wrong password")

    monkeypatch.setattr(worker.kafka.retry, "probe", refuse)
    with pytest.raises(BrokerRefused):
        first_connection(KafkaSettings(), limit_s=60)
    assert len(asked) == 1


def test_a_broker_that_comes_up_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([BrokerUnavailable("away"), BrokerUnavailable("away"), None])

    def answer(kafka: KafkaSettings, timeout_s: float) -> None:
        problem = next(answers)
        if problem is not None:
            raise problem

    monkeypatch.setattr(worker.kafka.retry, "probe", answer)
    monkeypatch.setattr(worker.kafka.retry, "TELL_EVERY_S", 0.0)
    told: list[str] = []
    first_connection(KafkaSettings(), limit_s=60, say=lambda reason, _: told.append(reason))
    assert told == ["away", "away"]


def test_stop_ends_the_wait() -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    started = time.monotonic()
    first_connection(_nobody(), limit_s=60, stop=stop)
    assert time.monotonic() - started < 5
