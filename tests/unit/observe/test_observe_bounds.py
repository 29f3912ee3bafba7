"""Clients that do not behave: what they cost the worker is bounded, and the others are answered."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.observe import server as module
from worker.observe.health import Health
from worker.observe.metrics import Metrics
from worker.observe.server import CONNECTIONS, HEADER_BYTES, ObserveServer

ROOT = Path(__file__).parents[3]


@pytest.fixture
def server() -> Iterator[ObserveServer]:
    server = ObserveServer("127.0.0.1", 0, Metrics().registry, Health(stall_after_s=10))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def clients(server: ObserveServer) -> Iterator[list[socket.socket]]:
    """300 clients that have connected, and sent no more than half a request."""
    with contextlib.ExitStack() as stack:
        opened = []
        for number in range(300):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            if number % 2:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
            opened.append(client)
        yield opened


def ask(port: int, path: str = "/healthz") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def talk(server: ObserveServer, request: bytes) -> bytes:
    """Send bytes, and read until the server hangs up."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        with contextlib.suppress(ConnectionError):  # it may hang up before it has read everything
            client.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := client.recv(65_536):
                answer += part
        return answer


def is_open(client: socket.socket) -> bool:
    client.settimeout(0.01)
    try:
        return client.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionError:
        return False


def test_half_open_clients_cost_no_thread_and_keep_nobody_out(
    server: ObserveServer, clients: list[socket.socket]
) -> None:
    threads = threading.active_count()
    started = time.monotonic()
    assert [ask(server.port) for _ in range(20)] == [200] * 20
    assert time.monotonic() - started < 2
    assert threading.active_count() == threads
    assert sum(is_open(client) for client in clients) <= CONNECTIONS


def test_half_open_clients_cost_no_cpu_while_they_wait(
    server: ObserveServer, clients: list[socket.socket]
) -> None:
    ask(server.port)
    cpu = time.process_time()
    time.sleep(1)
    assert time.process_time() - cpu < 0.2
    assert len(clients) == 300


@pytest.mark.parametrize("begun", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_a_client_that_never_comes_to_the_point_is_hung_up_on(
    server: ObserveServer, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(module, "LIFETIME_S", 0.3)
    started = time.monotonic()
    assert talk(server, begun) == b""
    assert 0.2 < time.monotonic() - started < 3


def test_a_client_that_sends_a_byte_now_and_then_gets_no_longer_life(
    server: ObserveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIFETIME_S", 0.5)
    started = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as client,
        contextlib.suppress(ConnectionError),
    ):
        while time.monotonic() - started < 4:
            client.sendall(b"G")
            time.sleep(0.05)
    assert time.monotonic() - started < 3


def test_a_client_that_does_not_read_is_hung_up_on(
    server: ObserveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIFETIME_S", 0.3)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        time.sleep(1)
        assert not server._open
    assert ask(server.port) == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nX: " + b"a" * HEADER_BYTES + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * (4 * HEADER_BYTES) + b" HTTP/1.1\r\n\r\n", 431),
        (b"X: a\r\n" * 50_000, 431),
        (b"\x16\x03\x01 nonsense\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /healthz\r\n\r\n", 400),
        (b"GET /healthz HTTP/2.0\r\n\r\n", 400),
        (b"POST /healthz HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"a" * 100_000, 405),
        (b"GET /healthz HTTP/1.1\r\nno colon\r\n: empty\r\n\xff\xfe: \x00\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET /\xff%00?a=b HTTP/1.1\r\n\r\n", 404),
    ],
)
def test_a_request_that_is_too_large_or_none_gets_a_status(
    server: ObserveServer, request_: bytes, status: int
) -> None:
    assert talk(server, request_).startswith(f"HTTP/1.1 {status} ".encode())
    assert ask(server.port) == 200


def test_many_real_requests_at_once_are_all_answered(server: ObserveServer) -> None:
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.extend(ask(server.port, "/metrics") for _ in range(10)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 200


def test_a_worker_without_descriptors_does_not_spin_and_recovers() -> None:
    code = textwrap.dedent(
        """
        import os, resource, socket, sys, time
        from worker.observe.health import Health
        from worker.observe.logs import configure
        from worker.observe.metrics import Metrics
        from worker.observe.server import ObserveServer

        configure("info", "json")
        server = ObserveServer("127.0.0.1", 0, Metrics().registry, Health(stall_after_s=10))
        server.start()
        clients = [socket.socket() for _ in range(20)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        taken = []
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        for client in clients:
            client.connect(("127.0.0.1", server.port))
        time.sleep(0.2)
        cpu = time.process_time()
        time.sleep(2.5)
        print(time.process_time() - cpu)
        for number in taken:
            os.close(number)
        for client in clients:
            client.close()
        import http.client
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        connection.request("GET", "/healthz")
        print(connection.getresponse().status)
        server.stop()
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    cpu, status = done.stdout.splitlines()
    assert float(cpu) < 0.3
    assert status == "200"
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["error"] == "[Errno 24] Too many open files"


def test_a_stop_does_not_wait_for_anybody(server: ObserveServer, clients: list[socket.socket]) -> None:
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 2
    assert not any(is_open(client) for client in clients)
