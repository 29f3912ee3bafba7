"""The demo's worker: `moodstream run` as a process of its own, as anybody would start it."""

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import worker

_OWN_VARIABLES = "MOODSTREAM_"
_URL = re.compile(r"http://127\.0\.0\.1:\d+")
_TAIL_LINES = 12
_PROBE_S = 1.0


class WorkerDied(Exception):
    """The worker ended though nobody asked it to; `str()` holds its exit code and its last lines."""


class WorkerProcess:
    """A worker that writes its log into a file.

    It gets the settings that are handed over and none of the user's own `MOODSTREAM_` variables, nor their
    `.env`: a demo that went to somebody's real brokers would be no demo.

    Args:
        settings: dotted names and values, as `{"observe.port": "0"}`.
        folder: its working folder; the log goes there.
    """

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        self.log_path = folder / "worker.log"
        own = {_variable(name): value for name, value in settings.items()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
        # The working folder is another one, so a worker that runs from a checkout must be found from there.
        package = str(Path(worker.__file__).parent.parent)
        paths = [package, *filter(None, [inherited.get("PYTHONPATH")])]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker", "run"],
                cwd=folder,
                env={**inherited, **own, "PYTHONPATH": os.pathsep.join(paths)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops the worker in its turn
            )
        self._url: str | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ready(self) -> bool:
        """Whether its `/readyz` is green. The address, with a port that the system chose, is in its log."""
        if self._url is None:
            found = _URL.search(self.log_path.read_text(errors="replace"))
            if found is None:
                return False
            self._url = found.group()
        try:
            with urllib.request.urlopen(f"{self._url}/readyz", timeout=_PROBE_S) as answer:  # noqa: S310 - http
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def check(self) -> None:
        """Raises WorkerDied when it does not run any more."""
        code = self._process.poll()
        if code is not None:
            raise WorkerDied(f"the worker ended with exit code {code}. Its last lines:\n{self.tail()}")

    def stop(self, timeout_s: float = 30.0) -> int:
        """Ask it to drain (SIGTERM) and return its exit code; after `timeout_s` seconds it is killed (-9)."""
        self._process.terminate()
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def kill(self) -> None:
        """SIGKILL, whatever it is at."""
        self._process.kill()
        self._process.wait()

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-_TAIL_LINES:])


def _variable(name: str) -> str:
    return _OWN_VARIABLES + name.replace(".", "__").upper()
