"""Worker processes as a user starts them, for tests that kill them."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

_READY_S = 90.0
_STOP_S = 60.0


class WorkerProcess:
    """One slot of a group: the worker that runs in it, and the exit codes of those that ran there before.

    Args:
        slot: `delivery.slot`.
        environment: settings as environment variables.
        folder: where its log goes.
        module: what Python runs; `worker` is the command as users have it.
    """

    def __init__(
        self, slot: str, environment: Mapping[str, str], folder: Path, module: str = "worker"
    ) -> None:
        self.slot = slot
        self.log = folder / f"worker-{slot}.log"
        self.exit_codes: list[int] = []
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MOODSTREAM_")},
            "MOODSTREAM_DELIVERY__SLOT": slot,
            "MOODSTREAM_OBSERVE__PORT": "0",
            "MOODSTREAM_OBSERVE__LOG_FORMAT": "json",
            **environment,
        }
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def running(self) -> bool:
        """Whether a worker runs in the slot now."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the worker that runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start a worker, unless one runs."""
        if self.running:
            return
        if self._process is not None:
            self.exit_codes.append(self._process.wait())
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, "run"],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """Ask it to drain and return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        code = self._process.wait(timeout=_STOP_S)
        self.exit_codes.append(code)
        self._process = None
        return code

    def wait(self, timeout_s: float = _READY_S) -> int:
        """Wait for it to end by itself and return its exit code."""
        assert self._process is not None
        code = self._process.wait(timeout=timeout_s)
        self.exit_codes.append(code)
        self._process = None
        return code

    def events(self) -> list[dict[str, object]]:
        """Log lines since the last start. The last one may be half written; it is left out then."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().split(b"\n")
        return [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]

    def url(self) -> str | None:
        """Where it serves health and metrics, once it says so."""
        # The line has had other words; benchmarks/stream.py runs older checkouts too.
        urls = [str(event["url"]) for event in self.events() if "url" in event]
        return urls[-1] if urls else None

    def get(self, path: str) -> tuple[int, str]:
        """Ask its HTTP server. (0, "") while it does not answer."""
        url = self.url()
        if url is None:
            return 0, ""
        try:
            with urllib.request.urlopen(url + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_started(self, timeout_s: float = _READY_S) -> None:
        """Wait until it takes signals, as it does before it serves; until then SIGTERM ends it with -15."""
        deadline = time.monotonic() + timeout_s
        while self.running and self.url() is None and time.monotonic() < deadline:
            time.sleep(0.05)

    def wait_handlers(self, timeout_s: float = _READY_S) -> None:
        """Wait until it handles SIGTERM: from then on it drains; before that, no program could."""
        deadline = time.monotonic() + timeout_s
        while self.running and not self._handles(signal.SIGTERM):
            assert time.monotonic() < deadline, self.tail()
            time.sleep(0.001)

    def _handles(self, number: signal.Signals) -> bool:
        status = Path(f"/proc/{self.pid}/status").read_text()
        [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
        return bool(int(caught, 16) >> (number - 1) & 1)

    def wait_ready(self, timeout_s: float = _READY_S) -> None:
        """Wait until `/readyz` is green."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.running:
                raise AssertionError(f"worker {self.slot} ended:\n{self.tail()}")
            if self.get("/readyz")[0] == 200:
                return
            time.sleep(0.1)
        raise AssertionError(f"worker {self.slot} not ready in {timeout_s:.0f} s:\n{self.tail()}")

    def committed(self) -> float:
        """How many messages it has committed since its start, by its own metrics."""
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in self.get("/metrics")[1].splitlines()
            if line.startswith("moodstream_messages_total{")
        )

    def wait_committed(self, count: int, timeout_s: float = _READY_S) -> None:
        """Wait until it has committed so many messages."""
        deadline = time.monotonic() + timeout_s
        while self.committed() < count:
            assert self.running, f"worker {self.slot} ended:\n{self.tail()}"
            assert time.monotonic() < deadline, self.tail()
            time.sleep(0.1)

    def tail(self, lines: int = 25) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
