"""What a value may be, and the line that says what is wrong with it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from worker.errors import SettingsError
from worker.settings.groups import KafkaSettings, Settings
from worker.settings.load import load_settings
from worker.settings.values import split_list


def load(**values: Any) -> Settings:
    flags = {name.replace("__", "."): value for name, value in values.items()}
    return load_settings(flags, None, {}, None).settings


def mistakes(**values: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(**values)
    return caught.value.lines


TOPIC = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True).filter(lambda name: name not in {".", ".."})
TOPICS = st.lists(TOPIC, min_size=1, max_size=5, unique=True).filter(
    lambda names: not {"moods", "moods.dead-letter"} & set(names)
)


@given(TOPICS)
def test_a_list_reads_the_same_from_commas_json_and_toml(topics: list[str]) -> None:
    for written in (",".join(topics), " , ".join(topics) + ",", json.dumps(topics)):
        assert load(source__topics=written).source.topics == topics
    assert Settings.model_validate({"source": {"topics": topics}}).source.topics == topics


@given(st.text())
def test_any_text_is_a_list_without_blanks_or_empty_parts(text: str) -> None:
    assume(not text.strip().startswith("["))
    parts = split_list(text)
    assert parts == [part.strip() for part in text.split(",") if part.strip()]


@given(st.text(max_size=30))
def test_any_text_is_valid_or_gives_one_readable_line(text: str) -> None:
    assume(
        text.strip() not in {"moods", "moods.dead-letter"}
    )  # as an input topic they conflict with another setting
    for name in ("kafka.bootstrap_servers", "source.topics", "observe.port", "batch.max_padding_share"):
        lines: tuple[str, ...] = ()
        try:
            load_settings({name: text}, None, {}, None)
        except SettingsError as error:
            lines = error.lines
        assert len(lines) == len(set(lines))
        assert all(line.startswith(f"{name} (flag") and line.isprintable() for line in lines)


@pytest.mark.parametrize("broker", ["a:1", "kafka-1.example.com:9092", "10.0.0.7:65535", "[::1]:9092"])
def test_brokers(broker: str) -> None:
    assert load(kafka__bootstrap_servers=broker).kafka.bootstrap_servers == [broker]


def test_several_brokers_with_ipv6() -> None:
    written = "[::1]:9092,[fe80::1]:9092"
    assert load(kafka__bootstrap_servers=written).kafka.bootstrap_servers == written.split(",")


@pytest.mark.parametrize("broker", ["a", "a:", ":9092", "a:b", "PLAINTEXT://a:9092", "a b:1", "::1:9092"])
def test_a_broker_without_host_or_port_is_refused(broker: str) -> None:
    (line,) = mistakes(kafka__bootstrap_servers=f"ok:1,{broker}")
    assert line.startswith("kafka.bootstrap_servers (flag --kafka.bootstrap-servers): ")
    assert line.endswith(f"{broker!r} is not host:port, as in broker1:9092")


def test_a_port_beyond_the_last_is_refused() -> None:
    (line,) = mistakes(kafka__bootstrap_servers="a:65536")
    assert line.endswith("'a:65536' has a port outside 1 to 65535")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("observe__port", "x", "'x' is not a whole number"),
        ("observe__port", "70000", "'70000' must be at most 65535"),
        ("source__session_timeout_ms", "5", "'5' must be at least 6000"),
        ("kafka__connect_limit_s", "0", "'0' must be more than 0"),
        ("kafka__connect_limit_s", "inf", "'inf' is not a finite number"),
        ("batch__max_padding_share", "a", "'a' is not a number"),
        ("sink__include_text", "maybe", "'maybe' is neither true nor false"),
        ("source__topics", "", "must not be empty"),
        ("source__topics", "[1, ]", 'is not a JSON list; write a,b or ["a", "b"]'),
        ("source__topics", "a b", "'a b' is not a topic name; Kafka takes"),
        ("sink__topic", "..", "'..' is not a topic name; Kafka takes"),
        ("source__group_id", "", "must not be empty"),
        ("delivery__slot", "a/b", "'a/b' does not match ^[A-Za-z0-9._-]{1,64}$"),
        ("delivery__guarantee", "exactly-once", "did you mean exactly_once?"),
        ("observe__log_level", "WARN", "did you mean warning?"),
        ("model__long_text", "window", "did you mean windows?"),
        ("model__long_text", "all", "'all'"),
        ("kafka__ssl_cafile", "/no/such.pem", "'/no/such.pem' does not exist"),
        ("kafka__ssl_cafile", "/", "'/' is a folder, not a file"),
    ],
)
def test_each_kind_of_mistake_has_its_line(name: str, value: str, reason: str) -> None:
    (line,) = mistakes(**{name: value})
    dotted = name.replace("__", ".")
    assert line.startswith(f"{dotted} (flag --{dotted.replace('_', '-')}): ")
    assert reason in line


def test_all_mistakes_come_at_once() -> None:
    found = mistakes(
        kafka__bootstrap_servers="a",
        kafka__security_protocol="SASL_SSL",
        source__topics="moods",
        observe__port="x",
        observe__log_level="y",
        observe__prt="1",
    )
    assert [line.split(" ")[0].rstrip(":") for line in found] == [
        "--observe.prt",
        "kafka.bootstrap_servers",
        "kafka.sasl_mechanism",
        "kafka.sasl_plain_username",
        "kafka.sasl_plain_password",
        "observe.port",
        "observe.log_level",
        "sink.topic",
    ]


def test_a_value_that_is_wrong_itself_makes_no_second_mistake() -> None:
    found = mistakes(kafka__security_protocol="SASL", kafka__sasl_plain_username="u")
    assert len(found) == 1
    assert "did you mean SASL_SSL?" in found[0]


@pytest.mark.parametrize(
    ("values", "setting", "reason"),
    [
        (
            {"kafka__sasl_plain_username": "u"},
            "kafka.sasl_plain_username",
            "would be ignored: kafka.security_protocol is PLAINTEXT, and only SASL_… logs in",
        ),
        (
            {"kafka__security_protocol": "SSL", "kafka__ssl_keyfile": __file__},
            "kafka.ssl_certfile",
            "is needed with kafka.ssl_keyfile",
        ),
        (
            {"kafka__ssl_cafile": __file__},
            "kafka.ssl_cafile",
            "would be ignored: kafka.security_protocol is PLAINTEXT, and only SSL and SASL_SSL encrypt",
        ),
        ({"source__topics": "a,b,a"}, "source.topics", "'a' is named more than once"),
        (
            {"kafka__security_protocol": "SSL", "kafka__ssl_password": "p"},
            "kafka.ssl_password",
            "would be ignored without kafka.ssl_certfile",
        ),
        (
            {"language__detect": "false", "language__candidates": "en,zzz"},
            "language.candidates",
            "would be ignored: language.detect is false",
        ),
        (
            {"language__detect": "false", "language__min_confidence": "0.9"},
            "language.min_confidence",
            "would be ignored: language.detect is false",
        ),
        (
            {"batch__max_window_s": "30"},
            "batch.max_window_s",
            "must be below delivery.drain_timeout_s (20 s): otherwise a stop could not finish a window",
        ),
        (
            {"batch__max_window_s": "5", "observe__stall_after_s": "5"},
            "batch.max_window_s",
            "must be below observe.stall_after_s (5 s): otherwise a window would look like a stall",
        ),
        (
            {"batch__max_window_s": "15", "source__max_poll_interval_ms": "12000"},
            "batch.max_window_s",
            "must be below source.max_poll_interval_ms (12 s): otherwise a window could cost partitions",
        ),
        (
            {"source__session_timeout_ms": "400000"},
            "source.max_poll_interval_ms",
            "must not be below source.session_timeout_ms (400000)",
        ),
        (
            {"source__topics": "a,moods"},
            "sink.topic",
            "'moods' is an input topic too: it would feed on itself",
        ),
        (
            {"sink__dead_letter_topic": "posts"},
            "sink.dead_letter_topic",
            "'posts' is an input topic too: it would feed on itself",
        ),
        (
            {"sink__dead_letter_topic": "moods"},
            "sink.dead_letter_topic",
            "'moods' is sink.topic as well: dead letters need a topic of their own",
        ),
        (
            {"source__max_in_flight_messages": "10"},
            "source.max_in_flight_messages",
            "must not be below batch.max_messages (256)",
        ),
    ],
)
def test_settings_that_do_not_fit_one_another(values: dict[str, str], setting: str, reason: str) -> None:
    given_by_flag = setting.replace(".", "__") in values
    origin = f" (flag --{setting.replace('_', '-')})" if given_by_flag else ""
    assert mistakes(**values) == (f"{setting}{origin}: {reason}",)


def test_a_certificate_needs_its_key_unless_the_file_holds_both(tmp_path: Path) -> None:
    alone, both = tmp_path / "alone.pem", tmp_path / "both.pem"
    certificate = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
    key = "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n"
    alone.write_text(certificate)
    both.write_text(certificate + key)
    found = mistakes(kafka__security_protocol="SSL", kafka__ssl_certfile=str(alone))
    assert found == ("kafka.ssl_keyfile: is needed: kafka.ssl_certfile holds no private key",)
    assert load(kafka__security_protocol="SSL", kafka__ssl_certfile=str(both)).kafka.ssl_certfile == both


REGISTRY = {"kafka__schema_registry_url": "https://r"}


@pytest.mark.parametrize("setting", ["kafka.schema_registry_url", "kafka.sasl_oauth_token_url"])
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://registry:80810", "has a port that is not a number from 1 to 65535"),
        ("https://registry:8o81", "has a port that is not a number from 1 to 65535"),
        ("http://registry:0", "has a port that is not a number from 1 to 65535"),
        ("https://reg..example.com", "not a host name"),
        ("https://a..b/t", "not a host name"),
        ("http://[::1/x", "has brackets around something that is not an IPv6 address"),
        ("https://:8081", "not a host name"),
    ],
)
def test_an_address_that_nothing_can_be_reached_at(setting: str, url: str, says: str) -> None:
    lines = mistakes(**{setting.replace(".", "__"): url})
    assert any(line.startswith(setting) and says in line for line in lines), lines


@pytest.mark.parametrize("url", ["http://r", "https://r:8081/a?b", "http://[::1]:8081", "http://10.0.0.1:1/"])
def test_addresses_that_can_be_used(url: str) -> None:
    assert load(kafka__schema_registry_url=url).kafka.schema_registry_url == url


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        (
            {"kafka__schema_registry_token": "t"},
            ("kafka.schema_registry_token", "would be ignored without kafka.schema_registry_url"),
        ),
        (
            {**REGISTRY, "kafka__schema_registry_username": "u"},
            ("kafka.schema_registry_password", "is needed with kafka.schema_registry_username"),
        ),
        (
            {
                **REGISTRY,
                "kafka__schema_registry_username": "u",
                "kafka__schema_registry_password": "p",
                "kafka__schema_registry_token": "t",
            },
            (
                "kafka.schema_registry_token",
                "cannot be used together with kafka.schema_registry_username: choose one of them",
            ),
        ),
        (
            {"kafka__schema_registry_url": "http://r", "kafka__schema_registry_ca_file": __file__},
            (
                "kafka.schema_registry_ca_file",
                "would be ignored: kafka.schema_registry_url is not an https address",
            ),
        ),
        (
            {**REGISTRY, "kafka__schema_registry_cert_file": pytest.__file__},
            (
                "kafka.schema_registry_key_file",
                "is needed: kafka.schema_registry_cert_file holds no private key",
            ),
        ),
        (
            {**REGISTRY, "kafka__schema_registry_key_password": "p"},
            (
                "kafka.schema_registry_key_password",
                "would be ignored without kafka.schema_registry_cert_file",
            ),
        ),
        (
            {**REGISTRY, "kafka__schema_registry_key_file": __file__},
            ("kafka.schema_registry_cert_file", "is needed with kafka.schema_registry_key_file"),
        ),
    ],
    ids=["no url", "no password", "two logins", "no TLS", "no key", "password alone", "no certificate"],
)
def test_settings_of_the_registry_that_do_not_fit_one_another(
    values: dict[str, str], lines: tuple[str, str]
) -> None:
    setting, reason = lines
    [line] = mistakes(**values)
    assert line.startswith(setting)
    assert line.endswith(f": {reason}")


def test_an_empty_value_means_none_where_none_is_the_default() -> None:
    settings = load(model__path="", kafka__sasl_plain_password="", kafka__ssl_cafile="")
    assert settings.model.path == []
    assert settings.kafka.sasl_plain_password is None
    assert settings.kafka.ssl_cafile is None


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(model__path="~/pack").model.path == [tmp_path / "pack"]


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ("compact, ./mine", ["compact", "mine"]),
        ('["a,b", "c"]', ["a,b", "c"]),
        (["a", "b"], ["a", "b"]),
        (Path("a"), ["a"]),
        ("a", ["a"]),
        ("", []),
    ],
)
def test_packs_are_one_path_or_several(given: object, paths: list[str]) -> None:
    assert load(model__path=given).model.path == [Path(path) for path in paths]


def test_packs_are_named_once_each() -> None:
    assert mistakes(model__path="a,b,./a") == ("model.path (flag --model.path): 'a' is named more than once",)


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("[language]\nmin_confidence = true", "language.min_confidence ({}): true is not a number"),
        ("[batch]\nmax_messages = true", "batch.max_messages ({}): true is not a whole number"),
        ("[model]\nthreads = false", "model.threads ({}): false is not a whole number"),
        ("[language]\ndetect = 1", "language.detect ({}): 1 is neither true nor false"),
        ("[language]\ndetect = 0.5", "language.detect ({}): 0.5 is neither true nor false"),
    ],
)
def test_true_is_no_number_and_a_number_is_not_true(tmp_path: Path, table: str, line: str) -> None:
    path = tmp_path / "t.toml"
    path.write_text(table, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings({}, path, {}, None)
    (found,) = caught.value.lines
    assert found == line.format(path)


def test_toml_may_write_a_slot_as_a_number(tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    path.write_text('[delivery]\nslot = 3\n[source]\ntopics = "a, b"\n')
    settings = load_settings({}, path, {}, None).settings
    assert settings.delivery.slot == "3"
    assert settings.source.topics == ["a", "b"]


def test_no_mistake_and_no_printout_shows_a_secret() -> None:
    found = mistakes(kafka__sasl_plain_password="hunter2", kafka__ssl_password="hunter2")
    assert len(found) == 2
    assert "hunter2" not in "".join(found)
    settings = load(
        kafka__security_protocol="SASL_PLAINTEXT",
        kafka__sasl_mechanism="PLAIN",
        kafka__sasl_plain_username="u",
        kafka__sasl_plain_password="hunter2",
    )
    assert settings.kafka.sasl_plain_password is not None
    assert settings.kafka.sasl_plain_password.get_secret_value() == "hunter2"
    assert "hunter2" not in f"{settings!r} {settings.model_dump_json()}"


def test_a_group_built_by_hand_is_checked_too() -> None:
    with pytest.raises(ValidationError, match="sasl_plain_username is needed"):
        KafkaSettings(security_protocol="SASL_SSL")
    with pytest.raises(ValidationError, match="frozen"):
        KafkaSettings().client_id = "x"


def test_an_expression_that_does_not_parse_is_shown_with_a_caret() -> None:
    (line,) = mistakes(source__filter="verified and stars")
    assert line.split("\n") == [
        "source.filter (flag --source.filter): 'verified and stars' has the word `and`; JMESPath writes &&",
        "    verified and stars",
        "             ^",
    ]


@pytest.mark.parametrize("name", ["source__time_field", "source__id_field", "source__lang_field"])
def test_only_the_text_takes_several_paths(name: str) -> None:
    (line,) = mistakes(**{name: "a, b"})
    assert "only source.text_field takes several paths" in line
    assert load(source__text_field="a, b").source.text_field == "a, b"


def test_no_expression_is_the_same_as_an_empty_one() -> None:
    assert load(source__filter="", source__time_field="").source.filter is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source__max_poll_interval_ms", "9999999999"),
        ("source__session_timeout_ms", "2147483648"),
        ("delivery__transaction_timeout_ms", "9999999999"),
        ("delivery__drain_timeout_s", "1e10"),
        ("kafka__client_id", "x" * 40_000),
    ],
)
def test_what_kafka_cannot_be_sent_is_refused_at_the_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**{name: value})
    assert all(line.startswith(name.replace("__", ".")) for line in caught.value.lines)
    assert load(source__max_poll_interval_ms="2147483647").source.max_poll_interval_ms == 2_147_483_647
