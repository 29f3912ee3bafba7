"""Apache Kafka's jars, fetched once with Maven into a cache folder of the user's."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

VERSION = "4.4.0"
_POM = Path(__file__).with_name("pom.xml")
_FETCH_LIMIT_S = 600


class KafkaMissing(Exception):
    """Kafka cannot be run here; `str()` says what is missing."""


def cache_folder() -> Path:
    """Where the jars lie: `MOODSTREAM_KAFKA_LIBS`, or a folder named after the version in `~/.cache`."""
    chosen = os.environ.get("MOODSTREAM_KAFKA_LIBS")
    return Path(chosen) if chosen else Path.home() / ".cache" / "moodstream" / f"kafka-{VERSION}"


def kafka_libs() -> Path:
    """The folder with the jars, fetched if need be (45 files, 43 MB).

    Raises:
        KafkaMissing: no `java`, or no jars and no way to fetch them.
    """
    return _libs(cache_folder(), _POM, f"kafka_2.13-{VERSION}.jar")


def connect_libs() -> Path:
    """The folder with the jars of Kafka Connect, a JDBC sink and PostgreSQL's driver (78 files, 57 MB).

    Raises:
        KafkaMissing: no `java`, or no jars and no way to fetch them.
    """
    folder = cache_folder().with_name(f"connect-{VERSION}")
    return _libs(folder, _POM.parent / "connect" / "pom.xml", "postgresql-42.7.4.jar")


def _libs(folder: Path, pom: Path, last: str) -> Path:
    """Fetch what a pom.xml names into a folder, unless the jar `last` is there."""
    if shutil.which("java") is None:
        raise KafkaMissing("java is missing (Java 17 or newer)")
    if (folder / last).is_file():
        return folder
    if shutil.which("mvn") is None:
        raise KafkaMissing(f"mvn is missing, and {folder} has no {last}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        folder.with_suffix(".lock").open("w") as lock,
        tempfile.TemporaryDirectory(dir=folder.parent) as scratch,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side, and Maven's own cache takes one at a time
        if (folder / last).is_file():
            return folder
        # Maven writes beside its pom.xml; the checkout stays clean.
        shutil.copy(pom, Path(scratch) / "pom.xml")
        fetched = Path(scratch) / "libs"
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={fetched}"]
        result = subprocess.run(
            command, cwd=scratch, capture_output=True, text=True, timeout=_FETCH_LIMIT_S, check=False
        )
        if result.returncode != 0 or not (fetched / last).is_file():
            raise KafkaMissing(f"Maven could not fetch {last}: {result.stdout[-800:]}")
        shutil.rmtree(folder, ignore_errors=True)
        fetched.rename(folder)
    return folder
