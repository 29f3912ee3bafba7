"""The settings as kafka-python's keyword arguments, the same for every client."""

from typing import Any

from pydantic import SecretStr

from worker.kafka.login import login_options
from worker.settings.groups import KafkaSettings

BOOTSTRAP_LIMIT_MS = 10_000
"""How long a client's constructor may look for a broker. The probe runs first, so it seldom waits."""


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments that KafkaConsumer, KafkaProducer and KafkaAdminClient all take.

    Raises:
        SettingsError: the packages or the environment that the login needs are missing.
    """
    return {
        "bootstrap_servers": list(kafka.bootstrap_servers),
        "client_id": kafka.client_id,
        "security_protocol": kafka.security_protocol,
        "sasl_mechanism": kafka.sasl_mechanism,
        "sasl_plain_username": kafka.sasl_plain_username,
        "sasl_plain_password": _reveal(kafka.sasl_plain_password),
        **login_options(kafka),
        "ssl_cafile": _text(kafka.ssl_cafile),
        "ssl_certfile": _text(kafka.ssl_certfile),
        "ssl_keyfile": _text(kafka.ssl_keyfile),
        # Without one, OpenSSL asks on the terminal for the password of an encrypted key.
        "ssl_password": _reveal(kafka.ssl_password) or "",
        "ssl_check_hostname": kafka.ssl_check_hostname,
        "bootstrap_timeout_ms": BOOTSTRAP_LIMIT_MS,
        # The default grows to 30 s between two attempts, long after a broker that restarts in 4 s is back.
        "reconnect_backoff_max_ms": 1_000,
    }


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _text(path: object) -> str | None:
    return None if path is None else str(path)


def slot_name(group_id: str, slot: str) -> str:
    """The name by which the brokers know a worker slot, the same across restarts.

    It is the transactional id and the group instance id. If each process had its own id, a killed worker's
    transaction would stay open until it times out, and nobody could read past it.

    A dot in the slot becomes `~`, which no slot contains: slot `eu.0` of group `app` and slot `0` of group
    `app.eu` are two workers. Slots without a dot keep the name they always had.
    """
    return f"{group_id}.{slot.replace('.', '~')}"
