"""The first tutorial, run as it stands: every command that needs neither Docker nor a cluster.

Commands that go on until Ctrl-C are started, and the next one runs once they say that they are there. A
block of text after commands is what they print; `…` stands for anything.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial" / "first-topic.md"
LOCAL = "## 6."
"""What stands before it runs here; what comes after needs Docker or a cluster."""

LASTING = ("broker", "run", "dashboard", "feed mine.csv --loop")
INSTALLING = ("python3 -m venv", ". .venv", "pip install")
READY_S = 60.0


def blocks() -> list[tuple[str, str]]:
    """The code blocks that run here, with their languages, in order."""
    text, found, _ = PAGE.read_text(encoding="utf-8").partition(LOCAL)
    assert found
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


class Terminal:
    """Runs the commands in a folder, with ports of their own: the test's machine may use the usual ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker, self.page, self.metrics = free_port(), free_port(), free_port()
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.printed = ""
        """What the commands of the last block have printed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MOODSTREAM_")}
        self._environment = kept | {
            "PYTHONPATH": str(ROOT),
            "MOODSTREAM_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{self.broker}",
            "MOODSTREAM_OBSERVE__PORT": str(self.metrics),
        }

    def run(self, command: str) -> None:
        """Run one command to its end, or start it if it has none."""
        words = command.removeprefix("moodstream ")
        lasting = next((name for name in LASTING if words.startswith(name)), None)
        if lasting is not None:
            self._start(lasting, words)
            return
        script = f'moodstream() {{ "{sys.executable}" -m worker "$@"; }}\n{command}'
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.printed += done.stdout + done.stderr
        assert done.returncode == 0, f"$ {command}\n{self.printed}"

    def _start(self, name: str, words: str) -> None:
        ports = {"broker": ["--port", str(self.broker)], "dashboard": ["--port", str(self.page)]}
        log = self.folder / f"{name.split(maxsplit=1)[0]}-{len(self.running)}.log"
        with log.open("wb") as file:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "worker", *words.split(), *ports.get(name, [])],
                cwd=self.folder,
                env=self._environment,
                stdout=file,
                stderr=file,
            )
        address = {
            "run": f"http://127.0.0.1:{self.metrics}/readyz",
            "dashboard": f"http://127.0.0.1:{self.page}/api/view",
        }
        deadline = time.monotonic() + READY_S
        while not (answers(address[name]) if name in address else log.stat().st_size or "--loop" in words):
            assert self.running[name].poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"{name} is not there: {log.read_text()}"
            time.sleep(0.1)
        self.printed += log.read_text()

    def view(self) -> Any:
        """What the page shows."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.page}/api/view", timeout=10) as answer:
            return json.load(answer)


def answers(address: str) -> bool:
    """Whether an address answers 200."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def terminal(folder: Path) -> Iterator[Terminal]:
    """A terminal whose commands are ended at the end, the last one first."""
    made = Terminal(folder)
    try:
        yield made
    finally:
        for process in reversed(made.running.values()):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_the_tutorial_leads_from_a_csv_to_the_page(tmp_path: Path) -> None:
    with terminal(tmp_path) as shell:
        for language, source in blocks():
            if language == "text":
                shown = source.replace("127.0.0.1:9092", f"127.0.0.1:{shell.broker}").replace(
                    "8765", str(shell.page)
                )
                for line in shown.splitlines():
                    assert re.search(".*".join(map(re.escape, line.split("…"))), shell.printed), (
                        f"{line!r} not in {shell.printed!r}"
                    )
                continue
            shell.printed = ""
            lines = source.splitlines()
            commands = (
                [line[2:] for line in lines if line.startswith("$ ")] if language == "console" else lines
            )
            for command in commands:
                if not command.startswith(INSTALLING):
                    shell.run(command)
            if source == "moodstream feed mine.csv\n":
                shows_the_file(shell)
        assert set(shell.running) == set(LASTING)
        deadline = time.monotonic() + READY_S
        while shell.view()["totals"]["posts"] < 15:  # the loop goes on
            assert time.monotonic() < deadline
            time.sleep(0.5)
        processes = [shell.running[name] for name in reversed(LASTING)]
        for process in processes:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0


def shows_the_file(shell: Terminal) -> None:
    """What the tutorial says of the page: five posts, breakdowns, a marked word and a dead letter."""
    deadline = time.monotonic() + READY_S
    while (view := shell.view())["totals"]["posts"] < 5 or not view["dead_letters"]:
        assert time.monotonic() < deadline, view
        time.sleep(0.2)
    assert {row["value"]: row["posts"] for row in view["breakdowns"]["field.product"]} == {
        "phone": 3,
        "kettle": 2,
    }
    assert {row["value"]: row["posts"] for row in view["breakdowns"]["field.source"]} == {
        "forum": 3,
        "web shop": 2,
    }
    marked = [
        post["text"][start:end] for post in view["posts"] for start, end in post["marks"] if post["toxic"]
    ]
    assert "idiots" in " ".join(marked)
    assert [row["reason"] for row in view["dead_letters"]] == ["text_empty"]


@pytest.mark.parametrize("word", ["docker", "kubectl", "make"])
def test_nothing_before_the_part_on_docker_needs_it(word: str) -> None:
    assert not [source for _, source in blocks() if source.startswith(word)]
