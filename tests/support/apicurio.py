"""Apicurio Registry on 127.0.0.1, fetched with Maven into its own cache: a real registry for the tests."""

import contextlib
import fcntl
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.support.libs import KafkaMissing

VERSION = "2.6.13.Final"
_ARTIFACT = "io.apicurio:apicurio-registry-app"
_READY_S = 120.0


def registry_folder() -> Path:
    """The folder with the unpacked registry, fetched if need be (142 MB).

    Raises:
        KafkaMissing: no `java`, or no registry and no way to fetch it.
    """
    if shutil.which("java") is None:
        raise KafkaMissing("java is missing (Java 17 or newer)")
    folder = Path.home() / ".cache" / "moodstream" / f"apicurio-{VERSION}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if (folder / _jar()).exists():
            return folder
        if shutil.which("mvn") is None:
            raise KafkaMissing(f"mvn is missing, and {folder} has no Apicurio Registry {VERSION}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        what = f"-Dartifact={_ARTIFACT}:{VERSION}:tar.gz:all"
        for goal in (
            ("dependency:get", "-Dtransitive=false", what),
            ("dependency:copy", what, f"-DoutputDirectory={folder}"),
        ):
            result = subprocess.run(
                ["mvn", "-q", "-B", *goal],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
            if result.returncode != 0:
                raise KafkaMissing(f"Maven could not fetch Apicurio {VERSION}: {result.stdout[-800:]}")
        [packed] = folder.glob("*.tar.gz")
        with tarfile.open(packed) as archive:
            archive.extractall(folder, filter="data")
        packed.unlink()
    return folder


@contextlib.contextmanager
def apicurio(scratch: Path) -> Iterator[str]:
    """Run a registry that keeps its schemas in memory; gives the URL of Confluent's API."""
    folder = registry_folder()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    options = ["-Xmx300m", "-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={port}"]
    with (scratch / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            ["java", *options, "-jar", str(folder / _jar())], cwd=folder, stdout=log, stderr=log
        )
        try:
            _wait(url, process)
            yield f"{url}/apis/ccompat/v7"
        finally:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _READY_S
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(f"{url}/health/ready", timeout=2).close()
            return
        time.sleep(0.3)
    raise RuntimeError("the schema registry did not start")


def _jar() -> str:
    return f"apicurio-registry-app-{VERSION}-runner.jar"
