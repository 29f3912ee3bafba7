"""A failed connection is told in one line that names the setting to look at."""

import ssl

import pytest
from kafka.errors import (
    ClusterAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaTimeoutError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)

from worker.errors import BrokerRefused, BrokerUnavailable
from worker.kafka.diagnose import explain

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
    problem = explain("broker:9092", error)
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
    problem = explain("broker:9092", error)
    assert isinstance(problem, BrokerUnavailable)
    assert words in str(problem)
    assert "broker:9092" in str(problem)
    assert "\n" not in str(problem)


def test_class_names_and_error_numbers_are_left_out() -> None:
    error = SaslAuthenticationFailedError("SaslAuthenticationFailedError: Invalid username or password")
    assert "Error" not in str(explain("b:1", error))
    assert "Invalid username or password" in str(explain("b:1", error))
