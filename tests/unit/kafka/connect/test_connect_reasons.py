"""A failed connection is told in one line that names the setting to look at."""

import contextlib
import inspect
import ssl
from pathlib import Path

import kafka.errors
import pytest
from kafka.errors import (
    ClusterAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)

from worker.errors import BrokerRefused, BrokerUnavailable
from worker.kafka.diagnose import describe, explain, explain_connection
from worker.settings.groups import KafkaSettings

_BAD_CERTIFICATE = "Handshake failed: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "


@pytest.mark.parametrize(
    ("error", "setting"),
    [
        (SaslAuthenticationFailedError("SaslAuthenticationFailedError: no"), "kafka.sasl_plain_password"),
        (UnsupportedSaslMechanismError("Enabled mechanisms: ['PLAIN']"), "kafka.sasl_mechanism"),
        (IllegalSaslStateError(), "kafka.security_protocol"),
        (ClusterAuthorizationFailedError(), "kafka.sasl_plain_username"),
        (
            KafkaConnectionError(_BAD_CERTIFICATE + "unable to get local issuer certificate"),
            "kafka.ssl_cafile",
        ),
        (KafkaConnectionError(_BAD_CERTIFICATE + "Hostname mismatch, …"), "kafka.ssl_check_hostname"),
        (KafkaConnectionError(ssl.SSLError(1, "tlsv13 alert certificate required")), "kafka.ssl_certfile"),
        (KafkaConnectionError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), "kafka.security_protocol"),
        (KafkaConnectionError("Invalid frame length: 352518912"), "kafka.security_protocol"),
        (FileNotFoundError(2, "No such file or directory", "/ca.pem"), "kafka.ssl_cafile"),
        (PermissionError(13, "Permission denied", "/key.pem"), "kafka.ssl_keyfile"),
        (ssl.SSLError("[X509] PEM lib"), "kafka.ssl_certfile"),
    ],
)
def test_a_refusal_names_its_setting(error: Exception, setting: str) -> None:
    problem = explain(error, "broker:9092")
    assert isinstance(problem, BrokerRefused)
    assert setting in str(problem)
    assert "\n" not in str(problem)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KafkaConnectionError("111 ECONNREFUSED"), "does not listen"),
        (KafkaConnectionError("DNS Resolution failure"), "no known host name"),
        (KafkaConnectionError("socket disconnected"), "kafka.security_protocol"),
        (KafkaTimeoutError("Timed out after 5000 ms"), "does not answer in time"),
        (KafkaConnectionError("Connection timed out"), "does not answer in time"),
        (KafkaConnectionError("something\nnew"), "something new"),
        (TimeoutError("timed out"), "does not answer in time"),
        (TimeoutError(110, "Connection timed out"), "does not answer in time"),
        (OSError(113, "No route to host"), "No route to host"),
    ],
)
def test_a_silence_may_be_waited_out(error: Exception, words: str) -> None:
    problem = explain(error, "broker:9092")
    assert isinstance(problem, BrokerUnavailable)
    assert words in str(problem)
    assert "broker:9092" in str(problem)
    assert "\n" not in str(problem)


def test_class_names_and_error_numbers_are_left_out() -> None:
    error = SaslAuthenticationFailedError("SaslAuthenticationFailedError: Invalid username or password")
    assert "Error" not in str(explain(error, "b:1"))
    assert "Invalid username or password" in str(explain(error, "b:1"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_BAD_CERTIFICATE + "certificate has expired", "its certificate has expired"),
        (_BAD_CERTIFICATE + "certificate is not yet valid", "clock"),
        (_BAD_CERTIFICATE + "self-signed certificate in certificate chain", "trusted authority"),
        (_BAD_CERTIFICATE + "unable to get local issuer certificate", "trusted authority"),
        (_BAD_CERTIFICATE + "IP address mismatch", "does not name this address"),
        ("tlsv1 alert certificate expired", "client certificate has expired"),
        ("tlsv1 alert unknown ca", "does not trust the authority of the client certificate"),
        ("sslv3 alert certificate unknown", "does not accept the client certificate"),
        ("[SSL: PACKET_LENGTH_TOO_LONG] packet length too long", "does not speak TLS"),
    ],
)
def test_each_fault_of_tls_has_its_own_headline(text: str, words: str) -> None:
    problem = explain(KafkaConnectionError(text), "broker:9092")
    assert isinstance(problem, BrokerRefused)
    assert words in str(problem)


@pytest.mark.parametrize(
    "alert", ["bad certificate", "certificate unknown", "unknown ca", "handshake failure"]
)
def test_a_certificate_that_is_missing_is_not_called_one_that_is_refused(alert: str, tmp_path: Path) -> None:
    (tmp_path / "client.pem").write_text("-----BEGIN PRIVATE KEY-----")
    without = KafkaSettings(security_protocol="SSL")
    with_one = KafkaSettings(security_protocol="SSL", ssl_certfile=tmp_path / "client.pem")
    error = KafkaConnectionError(ssl.SSLError(1, f"[SSL] tlsv13 alert {alert}"))
    assert "wants a client certificate" in str(explain_connection(error, "b:1", without))
    assert "wants a client certificate" not in str(explain_connection(error, "b:1", with_one))


def _every_error() -> list[type[KafkaError]]:
    found = [value for _, value in inspect.getmembers(kafka.errors, inspect.isclass)]
    return [
        value for value in found if issubclass(value, KafkaError) and value.__name__ != "LogTruncationError"
    ]


@pytest.mark.parametrize("kind", _every_error())
def test_no_line_ever_says_none(kind: type[KafkaError]) -> None:
    """The client raises many of its errors without a message, or with None for one."""
    for arguments in ((), (None,), ("",)):
        with contextlib.suppress(TypeError, AttributeError):  # a few take other arguments
            line = describe(kind(*arguments))
            assert "None" not in line
            assert kind.__name__ in line
