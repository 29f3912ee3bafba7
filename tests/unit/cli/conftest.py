"""Commands run in a folder and an environment of their own."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from worker.cli.main import main

ROOT = Path(__file__).parents[3]


@dataclass
class Ended:
    """How a command ended. `lines` are those of standard error."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


Moodstream = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of the test; the current folder is empty."""
    for name in list(os.environ):
        if name.startswith("MOODSTREAM_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def moodstream(capfd: pytest.CaptureFixture[str]) -> Moodstream:
    """Run a command in this process."""

    def run(*args: str) -> Ended:
        code = main(list(args))
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    return run


@pytest.fixture
def process() -> Moodstream:
    """Run a command as a process of its own, with `text` on its standard input."""

    def run(*args: str, text: bytes = b"", **env: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "worker", *args],
            input=text,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            timeout=60,
            check=False,
        )
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run
