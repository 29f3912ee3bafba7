"""The settings as the client takes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
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


_NAMES = st.text("ab._-", min_size=1, max_size=5)


@given(st.tuples(_NAMES, _NAMES), st.tuples(_NAMES, _NAMES))
def test_no_two_slots_share_a_name(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (slot_name(*one) == slot_name(*other)) == (one == other)


def test_slots_without_a_dot_keep_their_names() -> None:
    """A successor must find what its predecessor of an older version has left open."""
    assert slot_name("app.eu", "0") == "app.eu.0"
    assert slot_name("app", "eu.0") != "app.eu.0"
