"""Where a value comes from: precedence, origins, and names that nobody knows."""

from pathlib import Path

import pytest

from worker.errors import SettingsError
from worker.settings.fields import all_fields
from worker.settings.groups import Settings
from worker.settings.load import load_settings

FLAG = "kafka.client_id"
VARIABLE = "MOODSTREAM_KAFKA__CLIENT_ID"


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "worker.toml"
    path.write_text('[kafka]\nclient_id = "from toml"\n')
    return path


@pytest.fixture
def dotenv(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.write_text(f"{VARIABLE}='from dotenv'\nDATABASE_URL=none of our business\n")
    return path


def lines(**places: object) -> tuple[str, ...]:
    arguments: dict[str, object] = {"env": {}, "dotenv": None} | places
    with pytest.raises(SettingsError) as caught:
        load_settings(**arguments)  # type: ignore[arg-type]  # each test passes what its name says
    assert str(caught.value) == "\n".join(caught.value.lines)
    return caught.value.lines


def test_each_place_wins_over_those_behind_it(toml: Path, dotenv: Path) -> None:
    env = {VARIABLE: "from env"}
    cases = [
        (load_settings({FLAG: "from flag"}, toml, env, dotenv), "from flag", "flag --kafka.client-id"),
        (load_settings({}, toml, env, dotenv), "from env", f"environment {VARIABLE}"),
        (load_settings({}, toml, {}, dotenv), "from toml", str(toml)),
        (load_settings({}, None, {}, dotenv), "from dotenv", str(dotenv)),
        (load_settings({}, None, {}, None), "moodstream", "default"),
    ]
    for loaded, value, origin in cases:
        assert loaded.settings.kafka.client_id == value
        assert loaded.origins["kafka.client_id"] == origin


def test_a_group_is_put_together_from_several_places(toml: Path) -> None:
    loaded = load_settings(
        {"kafka.ssl-check-hostname": "false"}, toml, {"MOODSTREAM_KAFKA__CONNECT_LIMIT_S": "7"}, None
    )
    assert loaded.settings.kafka.client_id == "from toml"
    assert loaded.settings.kafka.connect_limit_s == 7
    assert not loaded.settings.kafka.ssl_check_hostname
    assert loaded.settings.kafka.security_protocol == "PLAINTEXT"


def test_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "from the process")
    assert load_settings(dotenv=None).settings.kafka.client_id == "from the process"


def test_settings_built_by_hand_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "from the process")
    assert Settings().kafka.client_id == "moodstream"


def test_every_setting_has_an_origin_and_a_description() -> None:
    loaded = load_settings(env={}, dotenv=None)
    assert loaded.origins.keys() == all_fields().keys()
    assert all(field.description for field in all_fields().values())


def test_every_setting_can_be_set_by_its_flag_and_its_variable() -> None:
    for field in all_fields().values():
        if field.default is None:
            continue
        by_flag = load_settings({field.flag: field.default_text}, None, {}, None)
        by_variable = load_settings({}, None, {field.variable: field.default_text}, None)
        assert by_flag.settings == by_variable.settings == Settings(), field.name
        assert by_flag.origins[field.name] == f"flag {field.flag}"
        assert by_variable.origins[field.name] == f"environment {field.variable}"


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("MOODSTREAM_KAFKA__BOOTSTRAP_SERVER", "MOODSTREAM_KAFKA__BOOTSTRAP_SERVERS"),
        ("MOODSTREAM_KAFKA_BOOTSTRAP_SERVERS", "MOODSTREAM_KAFKA__BOOTSTRAP_SERVERS"),
        ("MOODSTREAM_BOOTSTRAP_SERVERS", "MOODSTREAM_KAFKA__BOOTSTRAP_SERVERS"),
        ("MOODSTREAM_PORT", "MOODSTREAM_OBSERVE__PORT"),
        ("moodstream_sink__topik", "MOODSTREAM_SINK__TOPIC"),
    ],
)
def test_a_variable_that_is_no_setting_is_refused_with_the_nearest(variable: str, meant: str) -> None:
    assert lines(env={variable: "1"}) == (f"environment {variable}: no such setting; did you mean {meant}?",)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MOODSTREAM_KAFKA_LIBS", "/opt/kafka"),
        ("MOODSTREAM_REQUIRE_KAFKA", "1"),
        ("MOODSTREAM_DATA", "data"),
        ("MOODSTREAM_SERVICE_HOST", "10.0.0.7"),
        ("MOODSTREAM_SERVICE_PORT_METRICS", "9464"),
        ("MOODSTREAM_PORT", "tcp://10.0.0.7:9464"),
        ("MOODSTREAM_KAFKA_PORT_9092_TCP_ADDR", "10.0.0.7"),
        ("_MOODSTREAM_COMPLETE", "bash_source"),
        ("PATH", "/bin"),
    ],
)
def test_variables_of_others_are_left_alone(variable: str, value: str) -> None:
    assert load_settings(env={variable: value}, dotenv=None).settings == Settings()


def test_an_unknown_flag_is_refused_with_the_nearest() -> None:
    assert lines(flags={"observe.prt": "1"}) == (
        "--observe.prt: no such setting; did you mean --observe.port?",
    )


def test_unknown_names_in_toml_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    path.write_text(
        'topics = ["a"]\nqqqq = 1\nsink = 3\n[kafka]\nbootstrap-servers = "a:1"\n[modl]\npath = "x"\n'
    )
    assert lines(config=path) == (
        f"{path}: topics: no such setting; did you mean source.topics?",
        f"{path}: qqqq: no such setting; `moodstream config reference` lists them",
        f"{path}: sink: is a group of settings; set one of them, as in sink.topic",
        f"{path}: kafka.bootstrap-servers: no such setting; did you mean kafka.bootstrap_servers?",
        f"{path}: modl.path: no such setting; did you mean model.path?",
    )


def test_a_whole_group_in_one_variable_is_refused() -> None:
    (line,) = lines(env={"MOODSTREAM_KAFKA": "{}"})
    assert "is a group of settings" in line


def test_unknown_names_in_dotenv_are_refused(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("MOODSTREAM_SINK__TOPICS=a\nOTHER=1\n")
    assert lines(dotenv=path) == (
        f"{path} MOODSTREAM_SINK__TOPICS: no such setting; did you mean MOODSTREAM_SINK__TOPIC?",
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"[kafka", "is not TOML: "), (b"\xff", "is not UTF-8"), (None, "no such file")],
)
def test_a_toml_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "worker.toml"
    if content is not None:
        path.write_bytes(content)
    (line,) = lines(config=path)
    assert line.startswith(f"{path}: {reason}")


def test_a_folder_is_no_toml_file(tmp_path: Path) -> None:
    (line,) = lines(config=tmp_path)
    assert line == f"{tmp_path}: cannot be read: Is a directory"


def test_a_dotenv_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"MOODSTREAM_SINK__TOPIC=\xff\n")
    assert lines(dotenv=path) == (f"{path}: is not UTF-8",)
