"""`moodstream config`, and the settings as every command takes them."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from worker.settings.groups import Settings
from worker.settings.load import load_settings
from worker.settings.reference import reference


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What `moodstream run` would have started with."""
    started: list[Settings] = []

    def run(settings: Settings) -> int:
        started.append(settings)
        return 6

    monkeypatch.setattr("worker.stream.app.run", run)
    return started


def test_run_takes_settings_from_all_places_and_ends_as_the_worker_does(
    moodstream: Any, ran: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".env").write_text("MOODSTREAM_SINK__TOPIC=from-dotenv\nMOODSTREAM_SOURCE__GROUP_ID=from-dotenv\n")
    Path("worker.toml").write_text('[source]\ngroup_id = "from-toml"\ntext_field = "from-toml"\n')
    monkeypatch.setenv("MOODSTREAM_SOURCE__TEXT_FIELD", "from-env")
    monkeypatch.setenv("MOODSTREAM_DELIVERY__SLOT", "from-env")
    ended = moodstream(
        "run", "--config", "worker.toml", "--delivery.slot", "from-flag", "--sink.include-text"
    )
    assert (ended.code, ended.err) == (6, "")
    (settings,) = ran
    assert settings.sink.topic == "from-dotenv"
    assert settings.source.group_id == "from-toml"
    assert settings.source.text_field == "from-env"
    assert settings.delivery.slot == "from-flag"
    assert settings.sink.include_text


def test_run_with_wrong_settings_starts_nothing(moodstream: Any, ran: list[Settings]) -> None:
    ended = moodstream("run", "--observe.port", "x", "--delivery.slot", "a b", "--sink.include-text=maybe")
    assert ended.code == 2
    assert ended.lines == [
        "moodstream: sink.include_text (flag --sink.include-text): 'maybe' is neither true nor false",
        "moodstream: delivery.slot (flag --delivery.slot): 'a b' does not match ^[A-Za-z0-9._-]{1,64}$",
        "moodstream: observe.port (flag --observe.port): 'x' is not a whole number",
    ]
    assert not ran


def test_check_says_how_many_are_given(moodstream: Any) -> None:
    ended = moodstream("config", "check", "--source.topics", "a,b")
    assert ended.code == 0
    assert ended.out.startswith("the settings are right: 1 given, ")


def test_a_yes_or_no_may_stand_alone_or_with_its_value(moodstream: Any) -> None:
    for args, value in [
        ([], "false"),
        (["--sink.include-text"], "true"),
        (["--sink.include-text", "no"], "false"),
    ]:
        out = moodstream("config", "show", *args).out
        assert f"include_text = {value} " in out


def test_check_says_what_is_wrong_with_exit_code_2(moodstream: Any) -> None:
    Path("worker.toml").write_text("[kafka]\nbootstrap_server = 1\n")
    ended = moodstream("config", "check", "--config", "worker.toml")
    assert ended.code == 2
    assert ended.out == ""
    (line,) = ended.lines
    assert line.startswith("moodstream: worker.toml: kafka.bootstrap_server: no such setting; ")
    assert line.endswith("did you mean kafka.bootstrap_servers?")


def test_a_config_file_that_is_not_there(moodstream: Any) -> None:
    ended = moodstream("config", "check", "--config", "no.toml")
    assert (ended.code, ended.lines) == (2, ["moodstream: no.toml: no such file"])


def test_show_names_the_origin_of_every_value(moodstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("MOODSTREAM_SINK__TOPIC=feelings\n")
    Path("worker.toml").write_text('[source]\ntopics = ["a", "b"]\n')
    monkeypatch.setenv("MOODSTREAM_DELIVERY__SLOT", "7")
    out = moodstream("config", "show", "--config", "worker.toml", "--observe.port", "0").out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert 'topic = "feelings" # .env' in lines
    assert 'topics = ["a", "b"] # worker.toml' in lines
    assert 'slot = "7" # environment MOODSTREAM_DELIVERY__SLOT' in lines
    assert "port = 0 # flag --observe.port" in lines
    assert 'group_id = "moodstream" # default' in lines
    assert "path = [] # default" in lines
    assert "# topic_pattern = # default" in lines


def test_what_show_prints_can_be_used_as_a_config_file(moodstream: Any, tmp_path: Path) -> None:
    args = ["--source.topics", "a,b", "--model.path", 'x "y",z', "--batch.max-padding-share", "0.25"]
    out = moodstream("config", "show", *args).out
    tomllib.loads(out)
    path = tmp_path / "shown.toml"
    path.write_text(out)
    flags = dict(zip((name.lstrip("-") for name in args[::2]), args[1::2], strict=True))
    assert load_settings({}, path, {}, None).settings == load_settings(flags, None, {}, None).settings


def test_show_masks_secrets(moodstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOODSTREAM_KAFKA__SASL_PLAIN_PASSWORD", "hunter2")
    args = ("--kafka.security-protocol", "SASL_SSL", "--kafka.sasl-mechanism", "PLAIN")
    ended = moodstream("config", "show", *args, "--kafka.sasl-plain-username", "u")
    assert ended.code == 0
    assert "hunter2" not in ended.out
    assert "sasl_plain_password = **********" in ended.out
    assert "environment MOODSTREAM_KAFKA__SASL_PLAIN_PASSWORD" in ended.out


def test_an_argument_that_is_no_flag_is_not_repeated(moodstream: Any) -> None:
    ended = moodstream("config", "check", "--kafka.sasl-plain-password", "my", "hunter2")
    assert ended.code == 2
    assert "this command takes only flags" in ended.err
    assert "hunter2" not in ended.err


def test_reference_prints_the_document(moodstream: Any) -> None:
    assert moodstream("config", "reference").out == reference()
