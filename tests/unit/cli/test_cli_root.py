"""Help, version, completion, and how every command ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from worker import __version__
from worker.cli.errors import report
from worker.cli.main import COMMANDS, cli, main
from worker.errors import (
    BrokerRefused,
    BrokerUnavailable,
    CheckpointError,
    ExitCode,
    InputError,
    PackError,
    PortInUse,
    SettingsError,
)
from worker.settings.fields import all_fields

ROOT = Path(__file__).parents[3]


def test_version(moodstream: Any) -> None:
    assert moodstream("--version").out == f"moodstream {__version__}\n"


def test_help_lists_every_command_with_its_purpose(moodstream: Any) -> None:
    ended = moodstream("--help")
    assert ended.code == 0
    for name, entry in COMMANDS.items():
        assert f"  {name}" in ended.out
        assert entry.summary in ended.out
    assert moodstream("-h").out == ended.out


def test_help_of_every_command_has_text_and_the_summary_is_its_own(moodstream: Any) -> None:
    for name, entry in COMMANDS.items():
        ended = moodstream(name, "--help")
        assert ended.code == 0
        assert ended.out.startswith(f"Usage: moodstream {name}")
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert (command.help or "").split()[0] == entry.summary.split()[0]


def test_help_of_run_shows_every_setting_under_its_group(moodstream: Any) -> None:
    out = moodstream("run", "--help").out
    for field in all_fields().values():
        assert f"  {field.flag} " in out, field.flag
    assert "kafka (how to reach the brokers):" in out
    order = ["source (what to read):", "  --source.topics", "sink (what to write):", "  --sink.topic"]
    assert [out.index(text) for text in order] == sorted(out.index(text) for text in order)
    assert "`" not in out.partition("Options:")[2]


def test_help_loads_neither_settings_nor_model_nor_kafka() -> None:
    code = (
        "import sys; from worker.cli import main; main(['--help']); main(['--version']);"
        "print([m for m in ('pydantic', 'onnxruntime', 'kafka', 'rich', 'structlog') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_settings_commands_load_neither_model_nor_kafka() -> None:
    code = (
        "import sys; from worker.cli import main; main(['run', '--help']); main(['config', 'show']);"
        "print([m for m in ('onnxruntime', 'kafka', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["lable"], "Did you mean label?"),
        (["config", "chek"], "Did you mean check?"),
        (["config", "check", "--kafka.bootstrap-server", "a:1"], "--kafka.bootstrap-servers"),
        (["config", "check", "--kafka.bootstrap-servers"], "requires an argument"),
        (["topics", "create", "--partitions", "0"], "0 is not in the range"),
        (["label"], "Missing argument"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2_with_a_hint(moodstream: Any, args: list[str], hint: str) -> None:
    ended = moodstream(*args)
    assert ended.code == 2
    assert hint in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError(["kafka.x: a", "kafka.y: b"]), ExitCode.USAGE),
        (InputError("a.csv: b"), ExitCode.USAGE),
        (PortInUse("a"), ExitCode.USAGE),
        (PackError("a"), ExitCode.MODEL),
        (CheckpointError("a"), ExitCode.MODEL),
        (BrokerUnavailable("a"), ExitCode.BROKER_UNAVAILABLE),
        (BrokerRefused("a"), ExitCode.BROKER_REFUSED),
    ],
)
def test_known_errors_are_their_lines_and_their_exit_code(
    error: Exception, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert report(error) == code
    assert capfd.readouterr().err == "".join(f"moodstream: {line}\n" for line in str(error).splitlines())


def break_config_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise LookupError("first line\nsecond line")

    monkeypatch.setattr("worker.cli.flags.load_settings", broken)


def test_an_unexpected_error_is_one_line_and_the_way_to_the_traceback(
    moodstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_config_check(monkeypatch)
    ended = moodstream("config", "check")
    assert ended.code == ExitCode.INTERNAL
    assert ended.lines == [
        "moodstream: internal error: LookupError: first line",
        "moodstream: run again with MOODSTREAM_OBSERVE__LOG_LEVEL=debug for the traceback",
    ]
    monkeypatch.setenv("MOODSTREAM_OBSERVE__LOG_LEVEL", "debug")
    ended = moodstream("config", "check")
    assert ended.code == ExitCode.INTERNAL
    assert "Traceback (most recent call last)" in ended.err
    assert "in broken" in ended.err


def test_an_interrupt_is_130_and_quiet(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("worker.cli.flags.load_settings", interrupted)
    assert main(["config", "check"]) == 130
    assert not capfd.readouterr().err.strip()


def test_ctrl_c_while_labelling_is_130_and_quiet() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "label", "-"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell's background jobs, CI among them, ignore SIGINT, and hand that down to their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"so good\n")
    process.stdin.flush()
    assert process.stdout.readline().startswith(b"{"), "it is at work"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err.strip()) == (130, b"")


@pytest.mark.parametrize("args", [["config", "reference"], ["label", "many.txt"], ["completion", "zsh"]])
def test_a_reader_that_goes_away_is_no_error(args: list[str]) -> None:
    Path("many.txt").write_text("so good\n" * 400)
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "worker", *args],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=theirs,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(moodstream: Any, shell: str) -> None:
    ended = moodstream("completion", shell)
    assert ended.code == 0
    assert f"_MOODSTREAM_COMPLETE={shell}_complete" in ended.out


def complete(process: Any, *words: str) -> set[str]:
    line = " ".join(["moodstream", *words])
    ended = process(_MOODSTREAM_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words)))
    return {item.partition(",")[2] for item in ended.out.splitlines()}


def test_completion_knows_commands_flags_and_values(process: Any) -> None:
    assert complete(process, "") >= set(COMMANDS)
    assert complete(process, "topics", "") == {"create"}
    assert "--kafka.bootstrap-servers" in complete(process, "run", "--kafka.b")
    assert complete(process, "run", "--delivery.guarantee", "e") == {"exactly_once"}
    assert complete(process, "run", "--observe.log-level", "") == {"debug", "info", "warning", "error"}
