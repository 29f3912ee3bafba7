"""The embedded broker: one small process that speaks the Kafka protocol on 127.0.0.1.

It is meant for the demo and for quick tests. It has idempotent producers, transactions and transactional
offsets, but not everything of Apache Kafka: a dead member of a group never leaves, and the group
stands still at the next join until another one takes its `group_instance_id`; transactions never time out,
a fetch is answered at once even when there is nothing (`guards.rest_between_empty_answers` is for that), and
what it acknowledged reaches the disk a second later.
"""

import importlib.resources
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.errors import BrokerError, BrokerFolder

_HOST = "127.0.0.1"
_POLL_S = 0.01
_PORT_ATTEMPTS = 5


class EmbeddedBroker:
    """Starts the broker's binary itself, so that signals reach it, and stops it by its own process id.

    Args:
        data_dir: folder for its data; a temporary one, removed at the end, when None. In a folder of the
            caller the data outlives the process, so that `kill()` and `start()` are a crash and a restart.
        port: where it listens; a free port, the same over restarts of one object, when None.
        start_timeout_s: how long a start may take, in seconds. Usually it takes 0.02.

    As a context manager it starts on entry and stops on exit, and removes what it made.
    """

    def __init__(
        self, *, data_dir: Path | None = None, port: int | None = None, start_timeout_s: float = 10.0
    ) -> None:
        self._own_dir = data_dir is None
        self._dir = data_dir if data_dir is not None else Path(tempfile.mkdtemp(prefix="moodstream-broker-"))
        self._port = port
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on. Raises BrokerError before the first start, if none was given."""
        if self._port is None:
            raise BrokerError("the embedded broker has no port yet: it was never started")
        return self._port

    @property
    def bootstrap(self) -> str:
        """`host:port`, as Kafka clients take it."""
        return f"{_HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Its process id, None while it does not run."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it printed, over all its starts."""
        path = self._dir / "broker.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Start it and wait until it listens. Nothing happens when it runs already.

        Raises:
            BrokerError: the binary is missing, the port is taken, or it does not listen in time.
            BrokerFolder: its folder cannot be written.
        """
        if self.running:
            return self
        if self._port is not None:
            self._launch(self._port)
            return self
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            port = _free_port()
            try:
                self._launch(port)
            except BrokerError:  # another process may have taken the free port in between
                if attempt == _PORT_ATTEMPTS:
                    raise
            else:
                self._port = port
                break
        return self

    def stop(self, timeout_s: float = 5.0) -> None:
        """SIGTERM, then SIGKILL after `timeout_s` seconds. Nothing happens when it does not run."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """SIGKILL: a crash. `start()` brings it back on the same port with the same data."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Stop it, and remove its data if the folder is a temporary one."""
        self.stop()
        if self._own_dir:
            shutil.rmtree(self._dir, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _launch(self, port: int) -> None:
        try:
            self._dir.mkdir(parents=True, exist_ok=True)
            (self._dir / "broker.log").open("ab").close()
        except OSError as error:
            raise BrokerFolder(f"{self._dir} cannot be written: {error.strerror or error}") from None
        already = len(self.log)
        command = [str(_binary()), "start", "--only", "kafka", "--kafka-port", str(port)]
        command += ["--host", _HOST, "--data-dir", str(self._dir / "data")]
        with (self._dir / "broker.log").open("ab") as log:
            # A session of its own: Ctrl-C in the terminal is for the demo, which stops the broker last.
            self._process = subprocess.Popen(  # noqa: S603 - the binary of the pinned package, no shell
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            code = self._process.poll()
            if code is not None:
                raise BrokerError(
                    f"the embedded broker ended with code {code}: {_reason(self.log[already:])}"
                )
            # The line in its log shows that it is our own broker, and not another process on that port.
            if f"{_HOST}:{port}" in self.log[already:] and _listening(port):
                return
            time.sleep(_POLL_S)
        self.kill()
        raise BrokerError(f"the embedded broker did not listen within {self._start_timeout_s:g} s")


def _binary() -> Path:
    try:
        path = Path(str(importlib.resources.files("noida_db"))) / "noida-db"
    except ModuleNotFoundError:
        raise BrokerError("the embedded broker is not installed: pip install 'moodstream[demo]'") from None
    if not path.is_file():
        raise BrokerError(f"the embedded broker's package has no binary for this system: {path}")
    if not os.access(path, os.X_OK):
        path.chmod(0o755)  # some installers drop the bit
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def _listening(port: int) -> bool:
    try:
        with socket.create_connection((_HOST, port), timeout=1.0):
            return True
    except OSError:
        return False


def _reason(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["it said nothing"])[-1]
