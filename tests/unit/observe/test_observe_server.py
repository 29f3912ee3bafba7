"""Health, and what the HTTP server answers."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from tests.unit.observe.conftest import Clock
from worker.errors import PortInUse
from worker.observe.health import Health
from worker.observe.metrics import Metrics
from worker.observe.server import ObserveServer


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(stall_after_s=10, clock=clock)


@pytest.fixture
def server(health: Health) -> Iterator[ObserveServer]:
    metrics = Metrics()
    metrics.transaction("committed")
    server = ObserveServer("127.0.0.1", 0, metrics.registry, health)
    server.start()
    yield server
    server.stop()


def get(server: ObserveServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()
    finally:
        connection.close()


def get_json(server: ObserveServer, path: str) -> tuple[int, dict[str, Any]]:
    status, kind, body = get(server, path)
    assert kind.startswith("application/json")
    return status, json.loads(body)


def ready(health: Health) -> None:
    for name in ("model", "brokers", "partitions"):
        health.set_ready(name, True)


def test_a_worker_that_starts_is_alive_and_not_ready(server: ObserveServer) -> None:
    assert get_json(server, "/healthz") == (200, {"status": "ok", "checks": {}})
    status, body = get_json(server, "/readyz")
    assert status == 503
    assert body["status"] == "failing"
    assert body["checks"]["brokers"] == {"ok": False}


def test_ready_once_everything_is_there(server: ObserveServer, health: Health) -> None:
    ready(health)
    assert get_json(server, "/readyz")[0] == 200
    health.set_ready("partitions", False)
    status, body = get_json(server, "/readyz")
    assert status == 503
    assert [name for name, check in body["checks"].items() if not check["ok"]] == ["partitions"]


def test_a_loop_that_stalls_is_neither_alive_nor_ready(
    server: ObserveServer, health: Health, clock: Clock
) -> None:
    ready(health)
    health.beat("poll")
    health.beat("classify")
    clock.now += 10
    health.beat("classify")
    assert get_json(server, "/healthz")[0] == 200
    clock.now += 0.5
    status, body = get_json(server, "/healthz")
    assert status == 503
    assert body["checks"] == {
        "poll": {"ok": False, "silent_seconds": 10.5},
        "classify": {"ok": True, "silent_seconds": 0.5},
    }
    assert get_json(server, "/readyz")[0] == 503
    health.beat("poll")
    assert get_json(server, "/healthz")[0] == 200


def test_a_dead_thread_makes_health_red_at_once(server: ObserveServer, health: Health) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    health.watch("loop", thread)
    health.beat("loop")
    assert get_json(server, "/healthz")[0] == 200
    stop.set()
    thread.join()
    status, body = get_json(server, "/healthz")
    assert status == 503
    assert body["checks"]["loop"]["thread_alive"] is False


def test_a_part_that_ends_on_purpose_is_no_fault(health: Health, clock: Clock) -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    health.watch("loop", thread)
    health.beat("loop")
    clock.now += 100
    assert not health.healthy()[0]
    health.rest("loop")
    assert health.healthy()[0]


def test_metrics_parse_in_both_forms(server: ObserveServer) -> None:
    status, kind, body = get(server, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain")
    assert "moodstream_transactions" in {family.name for family in plain_text(body)}
    status, kind, body = get(server, "/metrics?x=1", Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    families = open_metrics(body)  # type: ignore[no-untyped-call]  # prometheus_client has no type here
    assert "moodstream_transactions" in {family.name for family in families}


def test_other_paths_say_what_there_is(server: ObserveServer) -> None:
    status, body = get_json(server, "/")
    assert status == 404
    assert body["paths"] == ["/metrics", "/healthz", "/readyz"]


def test_head_has_no_body_and_the_same_status(server: ObserveServer) -> None:
    assert get(server, "/readyz", method="HEAD")[::2] == (503, "")
    assert get(server, "/healthz", method="HEAD")[::2] == (200, "")


def test_several_ask_at_once_and_one_is_slow(server: ObserveServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert get(server, "/healthz")[0] == 200


def test_nonsense_breaks_nothing(server: ObserveServer, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as broken:
        broken.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        broken.recv(1000)
    assert get(server, "/healthz")[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_a_taken_port_is_one_readable_line(server: ObserveServer, health: Health) -> None:
    second = ObserveServer("127.0.0.1", server.port, Metrics().registry, health)
    with pytest.raises(PortInUse) as caught:
        second.start()
    assert str(caught.value) == (
        f"cannot serve metrics on 127.0.0.1:{server.port}: Address already in use "
        "(settings observe.host and observe.port; port 0 takes a free one)"
    )
    second.stop()


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_that_is_not_ours_is_one_readable_line(host: str, health: Health) -> None:
    with pytest.raises(PortInUse, match=f"cannot serve metrics on {host}:0: "):
        ObserveServer(host, 0, Metrics().registry, health).start()


def test_ipv6(health: Health) -> None:
    server = ObserveServer("::1", 0, Metrics().registry, health)
    try:
        server.start()
    except PortInUse:
        pytest.skip("this machine has no IPv6")
    try:
        with socket.create_connection(("::1", server.port), timeout=5) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
    finally:
        server.stop()


def test_a_stopped_server_frees_its_port(server: ObserveServer, health: Health) -> None:
    port = server.port
    server.stop()
    server.stop()
    again = ObserveServer("127.0.0.1", port, Metrics().registry, health)
    again.start()
    assert get(again, "/healthz")[0] == 200
    again.stop()
