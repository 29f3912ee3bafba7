"""The image, built and run for real: `make image-test` as a test."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _can_build() -> bool:
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0:
        return True
    return os.geteuid() == 0 and all(shutil.which(tool) for tool in ("buildah", "debootstrap"))


@pytest.mark.container
@pytest.mark.timeout(1_800)
@pytest.mark.skipif(not _can_build(), reason="needs a Docker engine, or root with buildah and debootstrap")
def test_the_image_builds_and_works_as_its_own_user() -> None:
    env = {**os.environ, "MOODSTREAM_PYTHON": sys.executable}
    done = subprocess.run(
        [ROOT / "deploy" / "image-test.sh"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    assert "user 10001:10001, torch absent" in done.stdout
    assert "`moodstream label`: positive, negative" in done.stdout
    assert "400 in = 385 labelled + 2 passed through + 13 dead letters · nothing lost" in done.stdout
    assert "health check passed, drained on SIGTERM with exit code 0" in done.stdout
