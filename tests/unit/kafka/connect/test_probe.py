"""Which bootstrap server is used, and why a port hangs up. Real sockets, without a broker."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support import certificates
from tests.support.certificates import Certificates
from worker.errors import BrokerRefused, SettingsError
from worker.kafka.probe import check_key, peek, probe
from worker.settings.groups import KafkaSettings

_ILLEGAL_SASL_STATE, _UNSUPPORTED_MECHANISM = 34, 33


@contextmanager
def _server(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """A port where `handle` gets every connection, on a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def _kafka(login_code: int) -> Callable[[socket.socket], None]:
    """A port that answers ApiVersions and SaslHandshake, and hangs up on all else."""

    def handle(connection: socket.socket) -> None:
        with connection:
            while head := connection.recv(4):
                (length,) = struct.unpack(">i", head) if len(head) == 4 else (10**9,)
                if length > 10_000:
                    return
                request = connection.recv(length)
                key, _, correlation = struct.unpack(">hhi", request[:8])
                code = login_code if key == 17 else 0
                if key not in {17, 18}:
                    return
                answer = struct.pack(">ihi", correlation, code, 0)
                connection.sendall(struct.pack(">i", len(answer)) + answer)

    return handle


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if not certificates.available():
        pytest.skip("the openssl command is missing")
    return certificates.make_certificates(tmp_path_factory.mktemp("certificates"))


def _tls(made: Certificates) -> Callable[[socket.socket], None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.broker_all)

    def handle(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as tls:
                tls.recv(1)
        except OSError:
            connection.close()

    return handle


def test_a_port_is_known_by_what_it_answers(made: Certificates) -> None:
    for handle, speech in (
        (_kafka(_ILLEGAL_SASL_STATE), "plain"),
        (_kafka(_UNSUPPORTED_MECHANISM), "login"),
        (_kafka(0), "login"),
        (_tls(made), "tls"),
        (lambda connection: connection.close(), None),
    ):
        with _server(handle) as server:
            assert peek(server) == speech


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_tls_to_a_port_without_is_a_refusal_within_seconds(protocol: str) -> None:
    login = {"sasl_mechanism": "PLAIN", "sasl_plain_username": "a", "sasl_plain_password": "b"}
    more = login if protocol == "SASL_SSL" else {}
    with _server(_kafka(_ILLEGAL_SASL_STATE)) as server:
        settings = KafkaSettings.model_validate(
            {"bootstrap_servers": [server], "security_protocol": protocol, **more}
        )
        started = time.monotonic()
        with pytest.raises(
            BrokerRefused, match=rf"{server} does not speak TLS.*security_protocol is {protocol}"
        ):
            probe(settings)
        assert time.monotonic() - started < 5


def _encrypted(made: Certificates, folder: Path) -> Path:
    import subprocess

    key = folder / "encrypted.key"
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", made.client_key, "-out", key, "-passout", "pass:right"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return key


@pytest.mark.parametrize(
    ("password", "words"), [(None, "kafka.ssl_password is needed"), ("wrong", "is not the right one")]
)
def test_an_encrypted_key_is_one_line_and_no_question(
    made: Certificates, tmp_path: Path, password: str | None, words: str
) -> None:
    key = _encrypted(made, tmp_path)
    secret = None if password is None else SecretStr(password)
    settings = KafkaSettings(
        security_protocol="SSL", ssl_certfile=made.client, ssl_keyfile=key, ssl_password=secret
    )
    with pytest.raises(SettingsError, match=words) as end:
        probe(settings)
    assert "\n" not in str(end.value)
    assert str(key) in str(end.value)
    right = settings.model_copy(update={"ssl_password": SecretStr("right")})
    check_key(right)


def test_a_key_that_is_not_encrypted_needs_no_password(made: Certificates) -> None:
    check_key(KafkaSettings(security_protocol="SSL", ssl_certfile=made.client, ssl_keyfile=made.client_key))
