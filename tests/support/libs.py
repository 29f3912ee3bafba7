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
    if shutil.which("java") is None:
        raise KafkaMissing("java is missing (Java 17 or newer)")
    folder = cache_folder()
    if _complete(folder):
        return folder
    if shutil.which("mvn") is None:
        raise KafkaMissing(f"mvn is missing, and {folder} has no Apache Kafka {VERSION}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        folder.with_suffix(".lock").open("w") as lock,
        tempfile.TemporaryDirectory(dir=folder.parent) as scratch,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side, and Maven's own cache takes one at a time
        if _complete(folder):
            return folder
        # Maven writes beside its pom.xml; the checkout stays clean.
        shutil.copy(_POM, scratch)
        fetched = Path(scratch) / "libs"
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={fetched}"]
        result = subprocess.run(
            command, cwd=scratch, capture_output=True, text=True, timeout=_FETCH_LIMIT_S, check=False
        )
        if result.returncode != 0 or not _complete(fetched):
            raise KafkaMissing(f"Maven could not fetch Apache Kafka {VERSION}: {result.stdout[-800:]}")
        shutil.rmtree(folder, ignore_errors=True)
        fetched.rename(folder)
    return folder


def _complete(folder: Path) -> bool:
    return (folder / f"kafka_2.13-{VERSION}.jar").is_file()
