"""PostgreSQL on 127.0.0.1 with a database of its own, from the server that the system has."""

import csv
import io
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_READY_S = 60.0
_USER = "moods"


class PostgresMissing(Exception):
    """PostgreSQL cannot be run here; `str()` says what is missing."""


class Postgres:
    """A server that runs.

    Args:
        programs: the folder with its programs.
        port: where it listens.
    """

    user = _USER

    def __init__(self, programs: Path, port: int) -> None:
        self._programs = programs
        self.port = port

    @property
    def jdbc_url(self) -> str:
        """Its address for JDBC. It takes any password."""
        return f"jdbc:postgresql://127.0.0.1:{self.port}/postgres"

    def query(self, sql: str) -> list[dict[str, str]]:
        """Ask it something. No rows while the table is not there."""
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", _USER, "-d", "postgres"]
        command = [f"{self._programs}/psql", "--no-psqlrc", "--csv", *address, "-c", sql]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            assert "does not exist" in done.stderr, done.stderr
            return []
        return list(csv.DictReader(io.StringIO(done.stdout)))


def _programs() -> Path:
    """The folder with `initdb`, `postgres` and `psql`.

    Raises:
        PostgresMissing: there is none.
    """
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    # Debian keeps the server's programs of each version apart.
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not versions:
        raise PostgresMissing("PostgreSQL's server is missing (Debian's package postgresql)")
    return versions[-1].parent


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server that forgets everything in the end.

    Raises:
        PostgresMissing: there is no server on this machine.
    """
    programs = _programs()
    # It refuses to run as root, and pytest's folders are closed to everybody else.
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="moodstream-postgres-") as name, socket.socket() as free:
        folder = Path(name)
        if user is not None:
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        data = str(folder / "data")
        make = [f"{programs}/initdb", "-D", data, "-U", _USER, "--auth=trust", "--no-sync", "-E", "UTF8"]
        made = subprocess.run(
            [*make, "--locale=C"], user=user, cwd=folder, capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stderr
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", name, "-F"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [f"{programs}/postgres", "-D", data, *options], user=user, cwd=folder, stdout=log, stderr=log
            )
        try:
            server = Postgres(programs, port)
            _wait(programs, port, folder / "log")
            yield server
        finally:
            process.terminate()
            process.wait()


def _wait(programs: Path, port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    command = [f"{programs}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(command, check=False).returncode != 0:
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.1)
