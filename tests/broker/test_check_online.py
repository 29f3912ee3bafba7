"""`moodstream config check --online` on a broker: what it finds, and what it does not touch."""

import subprocess
import sys

from tests.support.topics import Topics
from worker.errors import ExitCode


def check(topics: Topics, *flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "worker", "config", "check", *flags]
    return subprocess.run(
        command, env={"PATH": "", **topics.environment()}, capture_output=True, text=True, check=False
    )


def test_missing_topics_are_named_only_when_asked(embedded: str, unique: str) -> None:
    topics = Topics(embedded, unique)
    assert check(topics).returncode == ExitCode.OK
    found = check(topics, "--online")
    assert found.returncode == ExitCode.USAGE
    assert f"no such topic: {topics.posts}, {topics.moods}, {topics.dead}" in found.stderr
    topics.create()
    assert check(topics, "--online").returncode == ExitCode.OK


def test_a_broker_or_a_registry_that_does_not_answer_is_one_line(embedded: str, unique: str) -> None:
    topics = Topics(embedded, unique)
    topics.create()
    for flags in (
        ("--kafka.bootstrap-servers", "127.0.0.1:1"),
        ("--kafka.schema-registry-url", "http://127.0.0.1:1"),
    ):
        found = check(topics, "--online", *flags)
        assert found.returncode == ExitCode.USAGE
        [line] = found.stderr.splitlines()
        assert "127.0.0.1:1" in line
