"""Containers for real: Docker where its engine answers, else Podman as root, with a store of its own.

Podman pulls no image here: a machine may reach package registries only. debootstrap makes the base: Debian 12
with its own Python 3.11, under the base's name. The second build is quick, since base and layers stay in
`~/.cache/moodstream/containers`.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
IMAGE = "docker.io/library/moodstream:test"
_BASE = "docker.io/library/python:3.11-slim-bookworm"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TOOLS = ("podman", "debootstrap", "netavark", "aardvark-dns")  # Debian's names of packages
# What the real base leaves out as well.
_LEFT_OUT = (
    "var/cache/apt",
    "var/lib/apt/lists",
    *(f"usr/share/{name}" for name in ("doc", "info", "locale", "man")),
)
_WEEK = "168h"
# By default Podman raises the first two, which root may not do in some sandboxes.
_PODMAN = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class EngineMissing(Exception):
    """No containers here; `str()` says what is missing."""


@dataclass(frozen=True)
class Engine:
    """How containers are started on this machine.

    Attributes:
        command: `docker`, or `podman` with the folders of its store.
        env: what it needs to be set.
        podman: whether it is Podman.
    """

    command: Sequence[str]
    env: Mapping[str, str]
    podman: bool

    def __call__(self, *arguments: str, given: str = "", timeout_s: float = 120.0) -> str:
        """Run one command of the engine and return what it printed; an AssertionError when it fails."""
        done = self.run(*arguments, given=given, timeout_s=timeout_s)
        assert done.returncode == 0, (
            f"{' '.join(arguments)[:300]}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
        return done.stdout

    def run(
        self, *arguments: str, given: str = "", timeout_s: float = 120.0
    ) -> "subprocess.CompletedProcess[str]":
        """Run one command of the engine, however it ends."""
        return subprocess.run(
            [*self.command, *arguments],
            env={**os.environ, **self.env}, input=given, capture_output=True, text=True, timeout=timeout_s,
            check=False,
        )  # fmt: skip

    def inspect(self, name: str) -> Any:
        """What the engine knows of a container or an image."""
        return json.loads(self("inspect", name))[0]

    def build(self) -> None:
        """Build the image as IMAGE."""
        with tempfile.TemporaryDirectory() as folder:
            more = ["--isolation", "chroot", "--network", "host", "--pull=never"] if self.podman else []
            if self.podman and self.run("image", "exists", _BASE).returncode:
                self._make_base(Path(folder))
            secrets = _pip_secrets(Path(folder))
            self("build", *more, "--format=docker", *secrets, "--tag", IMAGE, str(ROOT), timeout_s=1_500)
        self("image", "prune", "--force", "--filter", f"until={_WEEK}")

    def _make_base(self, folder: Path) -> None:
        base, archive = folder / "base", folder / "base.tar"
        include = "--include=ca-certificates,python3,python3-venv"
        _shell("debootstrap", "--variant=minbase", include, "bookworm", str(base))
        for name in _LEFT_OUT:
            shutil.rmtree(base / name, ignore_errors=True)
        (base / "usr/bin/python").symlink_to("python3")
        _shell("tar", "-C", str(base), "-cf", str(archive), ".")
        self("import", "--change", f"ENV={_PATH}", str(archive), _BASE, timeout_s=300)

    @contextlib.contextmanager
    def served(self) -> Iterator[dict[str, str]]:
        """Environment in which `docker-compose` reaches the engine."""
        if not self.podman:
            yield dict(os.environ)
            return
        with tempfile.TemporaryDirectory() as folder:
            socket = Path(folder) / "engine.sock"
            service = subprocess.Popen(
                [*self.command, "system", "service", "--time", "0", f"unix://{socket}"],
                env={**os.environ, **self.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                deadline = time.monotonic() + 30
                while not socket.exists():
                    assert time.monotonic() < deadline, "podman does not serve"
                    time.sleep(0.1)
                yield {**os.environ, "DOCKER_HOST": f"unix://{socket}"}
            finally:
                service.terminate()
                service.wait(30)


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """The engine of this machine, for one user at a time.

    Raises:
        EngineMissing: there is none.
    """
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0:
        yield Engine([docker], {"DOCKER_BUILDKIT": "1"}, podman=False)
        return
    missing = [name for name in _TOOLS if not _installed(name)]
    if os.geteuid() != 0 or missing:
        what = f"apt-get install {' '.join(missing)}" if missing else "root"
        raise EngineMissing(f"no Docker engine answers, and for Podman this needs: {what}")
    store = Path.home() / ".cache" / "moodstream" / "containers"
    store.mkdir(parents=True, exist_ok=True)
    with store.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        config = store / "containers.conf"
        config.write_text(_PODMAN)
        folders = [f"--root={store / 'root'}", "--runroot=/run/moodstream-containers"]
        folders.append(f"--network-config-dir={store / 'networks'}")
        found = Engine(["podman", *folders], {"CONTAINERS_CONF": str(config)}, podman=True)
        found("rm", "--all", "--force", "--time", "0")  # of a run that was killed
        yield found


def _installed(tool: str) -> bool:
    # The two that serve networks are not commands of the user.
    return any((Path(folder) / tool).exists() for folder in ("/usr/bin", "/usr/sbin", "/usr/lib/podman"))


def _pip_secrets(folder: Path) -> list[str]:
    """pip's settings as two files; empty ones change nothing."""
    settings = {
        "index-url": os.environ.get("PIP_INDEX_URL"),
        "extra-index-url": os.environ.get("PIP_EXTRA_INDEX_URL"),
        "trusted-host": os.environ.get("PIP_TRUSTED_HOST"),
        "cert": "/run/secrets/ca.pem" if "PIP_CERT" in os.environ else None,
    }
    lines = [f"{name} = {value}" for name, value in settings.items() if value]
    (folder / "pip.conf").write_text("\n".join(["[global]", *lines, ""]))
    certificates = os.environ.get("PIP_CERT")
    (folder / "ca.pem").write_bytes(Path(certificates).read_bytes() if certificates else b"")
    return [f"--secret=id={name},src={folder / name}" for name in ("pip.conf", "ca.pem")]


def _shell(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
