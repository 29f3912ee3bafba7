"""Logging in, TLS and rights: what works, and the one line that says why something does not."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import certificates
from tests.support.brokers import KafkaCluster, Listener
from tests.support.certificates import Certificates
from tests.support.stream import Stream, Topics, assert_each_once, numbered
from worker.errors import BrokerRefused, BrokerUnavailable, ExitCode, MoodstreamError
from worker.kafka.checkpoint import TransactionalCheckpoint
from worker.kafka.retry import first_connection
from worker.kafka.slots import Slots
from worker.kafka.source import Source
from worker.kafka.topics import missing_topics
from worker.settings.groups import DeliverySettings, KafkaSettings, SinkSettings, SourceSettings

_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
_USERS = {"alice": "alice-secret", "bob": "bob-secret"}
_QUICK_S = 3.0
"""A refusal takes well under a second; the rest is for a busy machine."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if not certificates.available():
        pytest.skip("the openssl command is missing")
    return certificates.make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(
    libs: Path, made: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaCluster]:
    """A node with every kind of port. Alice may do everything, Bob nothing."""
    users = " ".join(f'user_{name}="{password}"' for name, password in _USERS.items())
    login = {
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
        "plain.sasl.jaas.config": f"{_PLAIN} {users};",
        "scram-sha-256.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    }
    tls = {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(made.broker_all)}
    trust = {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(made.authority)}
    # Tokens without a signature, and a login that holds for two seconds only.
    token = {
        "sasl.enabled.mechanisms": "OAUTHBEARER",
        "oauthbearer.sasl.jaas.config": f'{_OAUTH} unsecuredLoginStringClaim_sub="broker";',
        "oauthbearer.connections.max.reauth.ms": "2000",
    }
    listeners = [
        Listener("TOKEN", "SASL_PLAINTEXT", token),
        Listener("LOGIN", "SASL_PLAINTEXT", login),
        Listener("TLS", "SSL", tls),
        Listener("MUTUAL", "SSL", {**tls, **trust, "ssl.client.auth": "required"}),
        Listener("ELSEWHERE", "SSL", {**tls, "ssl.keystore.location": str(made.elsewhere_all)}),
        Listener("EXPIRED", "SSL", {**tls, "ssl.keystore.location": str(made.expired_all)}),
        Listener("BOTH", "SASL_SSL", {**login, **tls}),
    ]
    rights = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:alice;User:ANONYMOUS;User:CN=client",
    }
    folder = tmp_path_factory.mktemp("secured") / "kafka"
    with KafkaCluster(folder, listeners=listeners, scram=_USERS, properties=rights) as cluster:
        yield cluster


def _settings(cluster: KafkaCluster, listener: str, protocol: Any, **more: Any) -> KafkaSettings:
    port = cluster.port(listener) if listener else cluster.nodes[0].port
    return KafkaSettings(bootstrap_servers=[f"127.0.0.1:{port}"], security_protocol=protocol, **more)


def _login(user: str = "alice", password: str | None = None, mechanism: str = "PLAIN") -> dict[str, Any]:
    return {
        "sasl_mechanism": mechanism,
        "sasl_plain_username": user,
        "sasl_plain_password": password or _USERS[user],
    }


def _refusal(settings: KafkaSettings, kind: type[Exception] = BrokerRefused) -> str:
    """The one line of a first connection that is refused, soon."""
    started = time.monotonic()
    with pytest.raises(kind) as problem:
        first_connection(settings, limit_s=2 if kind is BrokerUnavailable else 30)
    assert time.monotonic() - started < _QUICK_S + 2
    text = str(problem.value)
    assert "\n" not in text
    assert "secret" not in text
    return text


@pytest.mark.parametrize("way", ["PLAIN", "SCRAM-SHA-256", "TLS", "mutual TLS", "TLS and SCRAM"])
def test_records_go_through_each_way_of_connecting(
    secured: KafkaCluster, made: Certificates, unique: str, way: str
) -> None:
    client = {"ssl_certfile": made.client, "ssl_keyfile": made.client_key}
    settings = {
        "PLAIN": lambda: _settings(secured, "LOGIN", "SASL_PLAINTEXT", **_login()),
        "SCRAM-SHA-256": lambda: _settings(
            secured, "LOGIN", "SASL_PLAINTEXT", **_login(mechanism="SCRAM-SHA-256")
        ),
        "TLS": lambda: _settings(secured, "TLS", "SSL", ssl_cafile=made.authority),
        "mutual TLS": lambda: _settings(secured, "MUTUAL", "SSL", ssl_cafile=made.authority, **client),
        "TLS and SCRAM": lambda: _settings(
            secured, "BOTH", "SASL_SSL", ssl_cafile=made.authority, **_login(mechanism="SCRAM-SHA-256")
        ),
    }[way]()
    first_connection(settings, limit_s=10)
    topics = Topics(settings, unique).create()
    fed = topics.feed(numbered(50))
    stream = Stream(topics).open()
    stream.run(len(fed))
    stream.close()
    assert_each_once(fed, topics.read())


@pytest.mark.parametrize("attempt", range(3))
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_wrong_password_is_told_in_one_line_within_seconds(
    secured: KafkaCluster, mechanism: str, attempt: int
) -> None:
    """Three times each: the client alone tells it only when answer and end of stream come apart."""
    text = _refusal(_settings(secured, "LOGIN", "SASL_PLAINTEXT", **_login("alice", "wrong", mechanism)))
    assert "refuses the login" in text
    assert "kafka.sasl_plain_password" in text


def test_a_wrong_password_over_tls(secured: KafkaCluster, made: Certificates) -> None:
    text = _refusal(
        _settings(secured, "BOTH", "SASL_SSL", ssl_cafile=made.authority, **_login("alice", "wrong"))
    )
    assert "kafka.sasl_plain_password" in text


def test_a_wrong_password_ends_checkpoint_source_and_topics_alike(secured: KafkaCluster, unique: str) -> None:
    settings = _settings(secured, "LOGIN", "SASL_PLAINTEXT", **_login("alice", "wrong"))
    source = SourceSettings(topics=[unique], group_id=unique)
    with pytest.raises(MoodstreamError, match=r"kafka\.sasl_plain_password") as end:
        TransactionalCheckpoint(settings, SinkSettings(), source, DeliverySettings()).open()
    assert end.value.exit_code == ExitCode.BROKER_REFUSED
    with pytest.raises(BrokerRefused, match=r"kafka\.sasl_plain_password"):
        Source(settings, source, "0").poll(1, 0.1)
    with pytest.raises(BrokerRefused, match=r"kafka\.sasl_plain_password"):
        missing_topics(settings, [unique])


def test_a_mechanism_that_the_broker_lacks(secured: KafkaCluster) -> None:
    text = _refusal(
        _settings(secured, "LOGIN", "SASL_PLAINTEXT", **_login("alice", mechanism="SCRAM-SHA-512"))
    )
    assert "kafka.sasl_mechanism" in text


def test_an_unknown_authority(secured: KafkaCluster, made: Certificates) -> None:
    assert "kafka.ssl_cafile" in _refusal(_settings(secured, "TLS", "SSL", ssl_cafile=made.stranger))


def test_a_certificate_for_another_host(secured: KafkaCluster, made: Certificates) -> None:
    settings = _settings(secured, "ELSEWHERE", "SSL", ssl_cafile=made.authority)
    assert "kafka.ssl_check_hostname" in _refusal(settings)
    first_connection(settings.model_copy(update={"ssl_check_hostname": False}), limit_s=10)


def test_a_client_certificate_that_is_missing(secured: KafkaCluster, made: Certificates) -> None:
    text = _refusal(_settings(secured, "MUTUAL", "SSL", ssl_cafile=made.authority))
    assert "wants a client certificate (kafka.ssl_certfile" in text


def test_a_client_certificate_that_is_not_accepted(secured: KafkaCluster, made: Certificates) -> None:
    strange = {"ssl_certfile": made.stranger, "ssl_keyfile": made.stranger.with_suffix(".key")}
    text = _refusal(_settings(secured, "MUTUAL", "SSL", ssl_cafile=made.authority, **strange))
    assert "client certificate (kafka.ssl_certfile" in text
    assert "wants a client certificate" not in text


def test_a_certificate_that_has_expired(secured: KafkaCluster, made: Certificates) -> None:
    text = _refusal(_settings(secured, "EXPIRED", "SSL", ssl_cafile=made.authority))
    assert "its certificate has expired" in text


def test_a_file_that_is_no_certificate(secured: KafkaCluster, made: Certificates, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate\n")
    assert "kafka.ssl_cafile" in _refusal(_settings(secured, "TLS", "SSL", ssl_cafile=tmp_path / "ca.pem"))


def test_tls_to_a_port_without(secured: KafkaCluster, made: Certificates) -> None:
    text = _refusal(_settings(secured, "", "SSL", ssl_cafile=made.authority))
    assert "does not speak TLS" in text
    assert "kafka.security_protocol" in text


def test_no_tls_to_a_port_with(secured: KafkaCluster) -> None:
    text = _refusal(_settings(secured, "TLS", "PLAINTEXT"))
    assert "kafka.security_protocol" in text


def test_no_login_to_a_port_that_wants_one(secured: KafkaCluster) -> None:
    text = _refusal(_settings(secured, "LOGIN", "PLAINTEXT"))
    assert "wants a login" in text
    assert "kafka.security_protocol" in text


def test_a_user_without_rights(secured: KafkaCluster, unique: str) -> None:
    """The login is right, so the first connection is made; what is denied then is told."""
    allowed = Topics(_settings(secured, "LOGIN", "SASL_PLAINTEXT", **_login("alice")), unique).create()
    allowed.feed(numbered(1))
    denied = _settings(secured, "LOGIN", "SASL_PLAINTEXT", **_login("bob"))
    first_connection(denied, limit_s=10)
    with pytest.raises(MoodstreamError, match=r"kafka\.sasl_plain_username") as end:
        TransactionalCheckpoint(denied, allowed.sink, allowed.source, DeliverySettings()).open()
    assert end.value.exit_code == ExitCode.BROKER_REFUSED
    with pytest.raises(BrokerRefused, match=r"delivery\.slot .* allow Describe"):
        Slots(denied, allowed.source.group_id, stop=threading.Event()).take()
    source = Source(denied, allowed.source, "0")
    with pytest.raises(BrokerRefused, match=r"source\.(topics|group_id)"):
        source.poll(1, 5.0)
    source.close()


def _token_command(folder: Path, *, sub: str, life_s: float, log: Path | None = None) -> str:
    """A command that prints an unsigned token, and notes in `log` that it did."""
    script = folder / "token.py"
    script.write_text(
        "import base64, json, time\n"
        "def part(claims):\n"
        "    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')\n"
        f"claims = {{'sub': {sub!r}, 'iat': time.time() - 1, 'exp': time.time() + {life_s}}}\n"
        "print(part({'alg': 'none'}) + '.' + part(claims) + '.')\n"
        + (f"open({str(log)!r}, 'a').write('x')\n" if log else "")
    )
    return f"{sys.executable} {script}"


def test_records_go_through_with_tokens_that_are_replaced_in_time(
    secured: KafkaCluster, tmp_path: Path, unique: str
) -> None:
    """The broker wants a new login every two seconds, and a token lives for three."""
    log = tmp_path / "log"
    settings = _settings(
        secured,
        "TOKEN",
        "SASL_PLAINTEXT",
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_command=_token_command(tmp_path, sub="alice", life_s=3, log=log),
    )
    first_connection(settings, limit_s=10)
    topics = Topics(settings, unique).create()
    stream = Stream(topics).open()
    fed: list[bytes] = []
    for pause_s in (2.5, 2.5, 0):
        fed += topics.feed(numbered(10, start=len(fed)))
        stream.run(10)
        time.sleep(pause_s)
    stream.close()
    assert_each_once(fed, topics.read())
    assert len(log.read_text()) >= 3, "tokens were fetched again"


def test_a_token_that_the_broker_refuses_is_a_refused_login(secured: KafkaCluster, tmp_path: Path) -> None:
    script = tmp_path / "opaque.py"
    script.write_text("print('opaque')")
    refusal = _refusal(
        _settings(
            secured,
            "TOKEN",
            "SASL_PLAINTEXT",
            sasl_mechanism="OAUTHBEARER",
            sasl_oauth_token_command=f"{sys.executable} {script}",
        )
    )
    assert "refuses the login" in refusal
    assert "opaque" not in refusal
