"""`moodstream demo` as a user runs it: one command, everything real, and the truth in its exit code."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from worker.demo import run as demo_run
from worker.demo.samples import parse_samples

ROOT = Path(__file__).parents[2]
SUMMARY = re.compile(
    r"(\d+) in = (\d+) labelled \+ (\d+) passed through \+ (\d+) dead letters · "
    r"nothing lost, nothing doubled · [\d.]+ messages/s · latency p50 .+, p95 .+ · "
    r"(negative|neutral|positive) \d+%"
)


def _command(arguments: str) -> list[str]:
    return [sys.executable, "-c", f"import sys; from worker.demo import main; sys.exit(main({arguments}))"]


def _environment(folder: Path) -> dict[str, str]:
    # Settings of the user's own must not send the demo's worker to somebody's real brokers.
    own = {"MOODSTREAM_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "TMPDIR": str(folder)}
    return {**os.environ, **own, "PYTHONPATH": str(ROOT)}


def test_once_answers_every_sample_exactly_once(tmp_path: Path) -> None:
    done = subprocess.run(
        _command("once=True"), cwd=tmp_path, env=_environment(tmp_path), capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1
    found = SUMMARY.match(lines[0])
    assert found, lines[0]
    assert [int(count) for count in found.groups()[:4]] == [400, 385, 2, 13]
    assert list(tmp_path.glob("moodstream-*")) == []


def test_the_live_page_stands_beside_the_live_view(tmp_path: Path) -> None:
    process, terminal = _in_a_terminal("rate=30, page=True", tmp_path)
    try:
        shown = _read_until(terminal, re.compile(r"page http://127\.0\.0\.1:\d+ · metrics"), 60)
        found = re.search(r"page (http://127\.0\.0\.1:\d+)", shown)
        assert found is not None
        deadline, posts = time.monotonic() + 30, 0
        while posts == 0 and time.monotonic() < deadline:
            with urllib.request.urlopen(f"{found[1]}/api/view", timeout=10) as answer:
                posts = json.load(answer)["totals"]["posts"]
            _read_until(terminal, re.compile(r"messages/s"), 5)
        assert posts > 0
        os.write(terminal, b"\x03")
        _read_until(terminal, re.compile(r"nothing lost, nothing doubled"), 30)
        assert process.wait(30) == 0
    finally:
        _kill(process)


def test_ctrl_c_drains_and_ends_with_the_summary(tmp_path: Path) -> None:
    process, terminal = _in_a_terminal("rate=30", tmp_path)
    try:
        shown = _read_until(terminal, re.compile(r"dead letters: [1-9]"), 60)
        assert "positive" in shown
        os.write(terminal, b"\x03")
        rest = _read_until(terminal, re.compile(r"nothing lost, nothing doubled"), 30)
        assert process.wait(30) == 0, rest
    finally:
        _kill(process)
        os.close(terminal)
    assert list(tmp_path.glob("moodstream-*")) == []


def test_a_worker_that_dies_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    process = subprocess.Popen(
        _command("once=True, rate=20"), cwd=tmp_path, env=_environment(tmp_path), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        assert "worker ready" in process.stderr.readline()
        children = _children(process.pid)
        worker = next(pid for pid, command in children.items() if "worker run" in command)
        os.kill(worker, signal.SIGKILL)
        output, errors = process.communicate(timeout=30)
    finally:
        _kill(process)
    assert process.returncode == 1
    assert "the worker ended with exit code -9. Its last lines:" in errors
    assert '"event":' in errors
    assert "Traceback" not in errors
    assert "nothing lost" not in output
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


def test_without_a_terminal_the_live_view_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        _command(""),
        cwd=tmp_path,
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "the live view needs a terminal; `moodstream demo --once` needs none\n"


def test_an_answer_other_than_expected_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        {"id": "good", "key": "a", "json": {"text": "best day ever"}},
        {"id": "wrong", "key": "b", "json": {"text": 42}, "expected": "dead_letter:not_json"},
    ]
    samples = parse_samples("\n".join(map(json.dumps, lines)))
    monkeypatch.setattr(demo_run, "load_samples", lambda: samples)
    assert demo_run.run_demo(once=True, rate=None, svg=None) == 1
    captured = capsys.readouterr()
    assert "2 in = 1 labelled + 0 passed through + 1 dead letters · NOT as it should be" in captured.out
    assert "wrong is dead_letter:text_not_string and should be dead_letter:not_json" in captured.err


def _in_a_terminal(arguments: str, folder: Path) -> tuple["subprocess.Popen[bytes]", int]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        _command(arguments),
        cwd=folder,
        env={**_environment(folder), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "32"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: _take_terminal(theirs),  # noqa: PLW1509 - this test starts no thread
    )
    os.close(theirs)
    return process, ours


def _take_terminal(terminal: int) -> None:
    """Make it the controlling terminal, so that Ctrl-C typed into it becomes SIGINT."""
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def _read_until(terminal: int, wanted: re.Pattern[str], limit_s: float) -> str:
    seen = ""
    deadline = time.monotonic() + limit_s
    while not wanted.search(seen) and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 65_536).decode(errors="replace")
            except OSError:  # the other side is closed
                break
    assert wanted.search(seen), seen[-3_000:]
    return seen


def _kill(process: "subprocess.Popen[Any]") -> None:
    """End a demo that a test leaves behind, and what it has started, which would run on for ever."""
    left = _children(process.pid)
    process.kill()
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _children(parent: int) -> dict[int, str]:
    """Process ids and command lines of a process's children."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent_of = int(folder.joinpath("stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent_of == parent:
                found[int(folder.name)] = folder.joinpath("cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
