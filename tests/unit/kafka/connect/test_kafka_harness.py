"""The tests of tests/kafka where Kafka cannot run: skipped with a reason, or failed where demanded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.libs import VERSION, KafkaMissing, kafka_libs

_ROOT = Path(__file__).parents[4]
_ONE_TEST = "tests/kafka/test_connect_guards.py::test_topics_are_not_made_by_asking_for_them"


def _run(tmp_path: Path, **variables: str) -> str:
    environment = {**os.environ, "PATH": str(tmp_path), **variables}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", _ONE_TEST]
    result = subprocess.run(
        command, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return result.stdout


def test_without_java_the_tests_are_skipped_with_the_reason(tmp_path: Path) -> None:
    told = _run(tmp_path, MOODSTREAM_REQUIRE_KAFKA="0")
    assert "1 skipped" in told
    assert "java is missing" in told


def test_without_java_they_fail_where_kafka_is_demanded(tmp_path: Path) -> None:
    told = _run(tmp_path, MOODSTREAM_REQUIRE_KAFKA="1")
    assert "MOODSTREAM_REQUIRE_KAFKA=1, but java is missing" in told
    assert "skipped" not in told


def test_the_folder_with_the_jars_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "java").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    libs = tmp_path / "libs"
    monkeypatch.setenv("MOODSTREAM_KAFKA_LIBS", str(libs))
    with pytest.raises(KafkaMissing, match="mvn is missing"):
        kafka_libs()
    libs.mkdir()
    (libs / f"kafka_2.13-{VERSION}.jar").touch()
    assert kafka_libs() == libs
