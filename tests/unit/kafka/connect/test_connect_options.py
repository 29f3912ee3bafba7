"""The settings as the client takes them."""

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from pydantic import SecretStr

from worker.kafka.options import client_options, slot_name
from worker.settings.groups import KafkaSettings


@pytest.mark.parametrize("client", [KafkaAdminClient, KafkaConsumer, KafkaProducer])
def test_every_client_knows_every_option(client: type) -> None:
    assert set(client_options(KafkaSettings())) <= set(client.DEFAULT_CONFIG)  # type: ignore[attr-defined]


def test_the_password_reaches_the_client() -> None:
    settings = KafkaSettings(
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username="alice",
        sasl_plain_password=SecretStr("secret"),
    )
    options = client_options(settings)
    assert options["sasl_plain_password"] == "secret"
    assert options["security_protocol"] == "SASL_PLAINTEXT"


def test_a_slot_keeps_its_name_over_restarts_and_differs_from_others() -> None:
    assert slot_name("moods", "a") == slot_name("moods", "a")
    assert len({slot_name("moods", "a"), slot_name("moods", "b"), slot_name("other", "a")}) == 3
