"""What nobody should write into a setting, and some do: one line, exit code 2, and no secret in it."""

import runpy
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from worker.cli.config import as_toml
from worker.errors import SettingsError
from worker.settings.groups import KafkaSettings, Settings, SourceSettings
from worker.settings.load import load_settings

ROOT = Path(__file__).parents[3]
SASL = {
    "kafka.security_protocol": "SASL_SSL",
    "kafka.sasl_mechanism": "PLAIN",
    "kafka.sasl_plain_username": "u",
}


def mistakes(
    flags: dict[str, str] | None = None, config: Path | None = None, env: dict[str, str] | None = None
) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags, config, env or {}, None)
    assert all(line.isprintable() for line in caught.value.lines)
    return caught.value.lines


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("model.path", "~nouser/x", "'~nouser/x' begins with the home folder of a user that does not exist"),
        ("kafka.ssl_cafile", "~nouser/x", "home folder of a user that does not exist"),
        ("language.route", "it=~nouser", "'it=~nouser' does not name a folder"),
        ("model.path", "a" * 5_000, "is too long for a path"),
        ("model.path", "a\x00b", "holds a NUL character"),
        ("model.path", "\udcff", "'\\udcff' is not UTF-8"),
        ("kafka.ssl_cafile", "x/" + "a" * 5_000, "is too long for a path"),
        ("language.route", "it=" + "a" * 5_000, "does not name a folder"),
        ("kafka.ssl_cafile", "/dev/zero", "'/dev/zero' is not a file"),
        ("source.topics", "[" * 50_000 + "]" * 50_000, "is not a JSON list"),
        ("source.topics", "[" * 300 + "]" * 300, "a list is not text"),
        ("source.topics", "[" + "1" * 5_000 + "]", "is not a JSON list"),
        ("language.route", '{"it":' * 50_000 + "1" + "}" * 50_000, "is not a JSON table"),
        ("observe.port", "1" * 5_000, "is too large a number"),
        ("batch.max_padding_share", "1" * 5_000, "is not a finite number"),
        ("kafka.client_id", "\udcff", "is not valid Unicode text"),
        ("language.candidates", "\ud800", "'\\ud800' is not a language code"),
        ("observe.host", "a..b", "'a..b' is not a host name or an address"),
        ("observe.host", "a" * 64, "is not a host name or an address"),
        ("kafka.bootstrap_servers", "a..b:1", "is not host:port"),
        ("kafka.bootstrap_servers", "a:\N{ARABIC-INDIC DIGIT THREE}", "is not host:port"),
        ("source.topic_pattern", "(?i)posts", "is not a regular expression: global flags not at the start"),
        ("source.topic_pattern", "((", "'((' is not a regular expression: missing )"),
    ],
)
def test_a_hostile_value_is_one_line(name: str, value: str, reason: str) -> None:
    (line,) = mistakes({name: value})
    assert line.startswith(f"{name} (flag --{name.replace('_', '-')}): ")
    assert reason in line
    assert len(line) < 400


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b"a=" + b"[" * 50_000 + b"]" * 50_000,
            "holds a number with too many digits, or is nested too deeply",
        ),
        (b"[observe]\nport=" + b"1" * 5_000, "holds a number with too many digits, or is nested too deeply"),
        (
            b"[delivery]\nslot=0x" + b"f" * 5_000,
            "holds a number with too many digits, or is nested too deeply",
        ),
        ("[sink]\ntopic='x'".encode("utf-16"), "is not UTF-8"),
        (b"[sink]\n\xef\xbb\xbftopic='x'", "is not TOML: "),
        (b"[kafka]\n'a\\nb' = 1", "kafka.a\\nb: no such setting"),
        (b'[kafka]\n"a\\nb\\u001b[31m" = 1', "kafka.a\\nb\\x1b[31m: no such setting"),
        (b"['" + b"a" * 100_000 + b"']\nb = 1", "...: no such setting"),
    ],
)
def test_a_hostile_toml_file_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "t.toml"
    path.write_bytes(content)
    (line,) = mistakes(config=path)
    assert line.startswith(f"{path}: ")
    assert reason.replace("'a\\nb'", "") in line.replace("\\\\n", "\\n")
    assert len(line) < 400


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    assert mistakes(config=Path("/dev/zero")) == (
        "/dev/zero: cannot be read: it is larger than 1048576 bytes",
    )


def test_a_byte_order_mark_in_front_is_passed_over(tmp_path: Path) -> None:
    toml, dotenv = tmp_path / "t.toml", tmp_path / ".env"
    toml.write_bytes(b"\xef\xbb\xbf[sink]\ntopic = 'from-toml'\n")
    dotenv.write_bytes(b"\xef\xbb\xbfMOODSTREAM_SOURCE__GROUP_ID=from-dotenv\n")
    settings = load_settings({}, toml, {}, dotenv).settings
    assert (settings.sink.topic, settings.source.group_id) == ("from-toml", "from-dotenv")


def test_a_dollar_in_dotenv_is_a_dollar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/expanded")
    path = tmp_path / ".env"
    path.write_text('MOODSTREAM_KAFKA__CLIENT_ID="a${HOME}$b"\nMOODSTREAM_SOURCE__GROUP_ID=${HOME:-x}\n')
    settings = load_settings({}, None, {}, path).settings
    assert settings.kafka.client_id == "a${HOME}$b"
    assert settings.source.group_id == "${HOME:-x}"


def test_a_line_of_dotenv_that_cannot_be_read_is_a_mistake_if_it_is_ours(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / ".env"
    path.write_text("what 'is this\n\nMOODSTREAM_SINK__TOPIC='moods\n")
    with pytest.raises(SettingsError) as caught:
        load_settings({}, None, {}, path)
    assert caught.value.lines == (f"{path}: line 3 cannot be read; write NAME=value",)
    path.write_text("what 'is this\n")
    assert load_settings({}, None, {}, path).settings == Settings()
    assert capfd.readouterr().err == ""


# Secrets.


@pytest.mark.parametrize(
    ("flags", "secret"),
    [
        ({"kafka.bootstrap_servers": "user:hunter2@host:9092"}, None),
        ({"kafka.bootstrap_servers": "SASL_SSL://user:hun,ter2@host:9092"}, None),
        ({"kafka.bootstrap_servers": "ok:1,user:hunter2@host:9092"}, None),
        ({"observe.host": "user:hunter2@host"}, None),
        ({"observe.port": "user:hunter2@host"}, None),
        ({"sink.topic": "https://user:hunter2@host/x"}, None),
        ({"kafka.sasl_mechanism": "hunter2"}, None),
        ({"kafka.security_protocol": "hunter2"}, None),
        ({"kafka.ssl_keyfile": "hunter2", "kafka.security_protocol": "SSL"}, None),
        ({"kafka.ssl_keyfile": "-----BEGIN PRIVATE KEY-----\nhunter2\n"}, None),
        ({"kafka.sasl_plain_password_file": "hunter2", **SASL}, None),
        ({"kafka.sasl_oauth_token_url": "https://user:hunter2@host/x"}, None),
        ({"observe.port": "hunter2"}, "hunter2"),
        ({"sink.topic": "a hunter2 b"}, "hunter2"),
        ({"source.topics": "hun ter2"}, "hun ter2"),
        ({"kafka.bootstrap_servers": "hun,ter2"}, "hun,ter2"),
        ({"language.route": "en=hunter2"}, "hunter2"),
        ({"source.topics": "hunter2", "sink.topic": "hunter2"}, "hunter2"),
    ],
)
def test_a_password_in_another_field_is_never_shown(flags: dict[str, str], secret: str | None) -> None:
    env = {} if secret is None else {"MOODSTREAM_KAFKA__SASL_PLAIN_PASSWORD": secret}
    told = "\n".join(mistakes({**(SASL if secret else {}), **flags}, env=env))
    assert not any(part in told for part in ("hunter2", "ter2", "hun,", "hun "))


@pytest.mark.parametrize("value", ["user:hunter2@host", "my-hunter2-name", "hunter2"])
def test_show_hides_a_password_in_another_field(value: str) -> None:
    flags = {**SASL, "kafka.sasl_plain_password": "hunter2", "kafka.client_id": value}
    shown = as_toml(load_settings(flags, None, {}, None))
    assert "hunter2" not in shown
    assert "client_id" not in tomllib.loads(shown)["kafka"]
    assert tomllib.loads(shown)["source"]["group_id"] == "moodstream"


def test_a_password_that_is_overridden_is_not_shown_either() -> None:
    env = {"MOODSTREAM_KAFKA__SASL_PLAIN_PASSWORD": "hunter2"}
    flags = {"observe.port": "hunter2", "kafka.sasl_plain_password": ""}
    assert mistakes(flags, env=env) == (
        "observe.port (flag --observe.port): the value is not a whole number",
    )


def test_what_python_raises_shows_no_value() -> None:
    with pytest.raises(ValueError, match="holds a login") as caught:
        KafkaSettings(bootstrap_servers=["user:hunter2@host:9092"])
    assert "hunter2" not in str(caught.value)


# Secrets from files.


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("hunter2\n")
    return path


def password(settings: Settings) -> str | None:
    secret = settings.kafka.sasl_plain_password
    return None if secret is None else secret.get_secret_value()


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b"hunter2", "hunter2"),
        (b"hunter2\n\n", "hunter2\n"),
        (b" hunter2 \n", " hunter2 "),
        (b"\xef\xbb\xbfhunter2\n", "hunter2"),
    ],
)
def test_one_line_break_at_the_end_of_a_secrets_file_is_dropped(
    secret_file: Path, content: bytes, secret: str
) -> None:
    secret_file.write_bytes(content)
    loaded = load_settings({**SASL, "kafka.sasl_plain_password_file": str(secret_file)}, None, {}, None)
    assert password(loaded.settings) == secret
    assert loaded.origins["kafka.sasl_plain_password"] == "flag --kafka.sasl-plain-password-file"


def test_a_secrets_file_may_be_named_in_every_place(secret_file: Path, tmp_path: Path) -> None:
    variable = "MOODSTREAM_KAFKA__SASL_PLAIN_PASSWORD_FILE"
    toml, dotenv = tmp_path / "t.toml", tmp_path / ".env"
    toml.write_text(f'[kafka]\nsasl_plain_password_file = "{secret_file}"\n')
    dotenv.write_text(f"{variable}={secret_file}\n")
    for loaded, origin in [
        (load_settings(SASL, None, {variable: str(secret_file)}, None), f"environment {variable}"),
        (load_settings(SASL, toml, {}, None), str(toml)),
        (load_settings(SASL, None, {}, dotenv), str(dotenv)),
    ]:
        assert password(loaded.settings) == "hunter2"
        assert loaded.origins["kafka.sasl_plain_password"] == origin


def test_a_secret_and_a_file_replace_one_another_by_place(secret_file: Path, tmp_path: Path) -> None:
    toml = tmp_path / "t.toml"
    toml.write_text(f'[kafka]\nsasl_plain_password_file = "{tmp_path / "not there"}"\n')
    env = {"MOODSTREAM_KAFKA__SASL_PLAIN_PASSWORD": "from env"}
    assert password(load_settings(SASL, toml, env, None).settings) == "from env"
    flags = {**SASL, "kafka.sasl_plain_password_file": str(secret_file)}
    assert password(load_settings(flags, None, env, None).settings) == "hunter2"


def test_a_secret_and_its_file_in_one_place_are_a_mistake(secret_file: Path) -> None:
    variable = "MOODSTREAM_KAFKA__SASL_PLAIN_PASSWORD"
    assert mistakes(SASL, env={variable: "x", f"{variable}_FILE": str(secret_file)}) == (
        (
            f"kafka.sasl_plain_password_file (environment {variable}_FILE): "
            "kafka.sasl_plain_password is given there too; drop one"
        ),
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "is empty"), (b"\n", "is empty"), (b"\xff", "is not UTF-8"), (None, "does not exist")],
)
def test_a_secrets_file_that_cannot_be_read_is_one_line(
    secret_file: Path, content: bytes | None, reason: str
) -> None:
    secret_file.unlink()
    if content is not None:
        secret_file.write_bytes(content)
    (line,) = mistakes({**SASL, "kafka.sasl_plain_password_file": str(secret_file)})
    assert line == (
        f"kafka.sasl_plain_password_file (flag --kafka.sasl-plain-password-file): '{secret_file}' {reason}"
    )


# Logins by token, and topics by pattern.


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        (
            {"sasl_mechanism": "OAUTHBEARER"},
            [
                (
                    "kafka.sasl_oauth_token_url: is needed with kafka.security_protocol SASL_SSL, or "
                    "kafka.sasl_oauth_token_command"
                )
            ],
        ),
        (
            {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_url": "https://idp/token"},
            [
                "kafka.sasl_oauth_client_id: is needed with kafka.security_protocol SASL_SSL",
                "kafka.sasl_oauth_client_secret: is needed with kafka.security_protocol SASL_SSL",
            ],
        ),
        (
            {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_command": "x", "sasl_oauth_scope": "y"},
            [
                (
                    "kafka.sasl_oauth_scope (flag --kafka.sasl-oauth-scope): would be ignored: "
                    "kafka.sasl_oauth_token_command is set"
                )
            ],
        ),
        (
            {"sasl_mechanism": "AWS_MSK_IAM", "security_protocol": "SASL_PLAINTEXT"},
            [
                (
                    "kafka.security_protocol (flag --kafka.security-protocol): must be SASL_SSL with "
                    "kafka.sasl_mechanism AWS_MSK_IAM"
                )
            ],
        ),
        (
            {"sasl_mechanism": "AWS_MSK_IAM", "sasl_plain_username": "u"},
            [
                (
                    "kafka.sasl_plain_username (flag --kafka.sasl-plain-username): would be ignored: "
                    "kafka.sasl_mechanism is AWS_MSK_IAM"
                )
            ],
        ),
    ],
)
def test_each_mechanism_has_its_own_settings(flags: dict[str, str], lines: list[str]) -> None:
    dotted = {f"kafka.{name}": value for name, value in flags.items()}
    assert mistakes({"kafka.security_protocol": "SASL_SSL", **dotted}) == tuple(lines)


def test_a_pattern_takes_the_place_of_the_default_topics() -> None:
    source = load_settings({"source.topic_pattern": "posts-.*"}, None, {}, None).settings.source
    assert (source.topics, source.topic_pattern) == ([], "posts-.*")
    assert SourceSettings(topic_pattern="a|ab").reads("ab")
    assert not SourceSettings(topic_pattern="posts").reads("posts-2")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            {"source.topic_pattern": "a", "source.topics": "b"},
            (
                "source.topic_pattern (flag --source.topic-pattern): cannot be used together with "
                "source.topics; give one of the two"
            ),
        ),
        (
            {"source.topic_pattern": "moo.*", "sink.dead_letter_topic": "dead"},
            "sink.topic: 'moods' is an input topic too: it would feed on itself",
        ),
        ({"source.topics": ""}, "source.topics (flag --source.topics): must not be empty"),
    ],
)
def test_topics_and_pattern_exclude_one_another(flags: dict[str, str], line: str) -> None:
    assert mistakes(flags) == (line,)


def test_settings_are_read_in_python_as_the_command_reads_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOODSTREAM_SINK__TOPIC", "from-env")
    (tmp_path / ".env").write_text("MOODSTREAM_SOURCE__GROUP_ID=from-dotenv\n")
    (tmp_path / "t.toml").write_text("[delivery]\nslot = 7\n")
    settings = Settings.load(tmp_path / "t.toml")
    assert settings.sink.topic == "from-env"
    assert settings.source.group_id == "from-dotenv"
    assert settings.delivery.slot == "7"
    assert Settings().sink.topic == "moods"


def test_a_table_is_shown_as_toml_that_can_be_read_again(tmp_path: Path) -> None:
    flags = {"language.route": "en=default,*=unsupported", "kafka.client_id": 'a\x7f"\\\u2028\U000e0001'}
    loaded = load_settings(flags, None, {}, None)
    path = tmp_path / "shown.toml"
    path.write_text(as_toml(loaded), encoding="utf-8")
    assert load_settings({}, path, {}, None).settings == loaded.settings


def test_any_text_anywhere_is_valid_or_a_line_without_the_secret() -> None:
    check = runpy.run_path(str(ROOT / "tests" / "fuzz" / "settings.py"))["check"]
    settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))(check)()
