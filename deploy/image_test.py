"""What `deploy/image-test.sh` asks of a built image: user, contents, `label`, `run`, health check.

    image_test.py INSPECT.json PORT PYTHON-IN-IMAGE… --then MOODSTREAM-IN-IMAGE…

The two command lines start Python and Moodstream inside the image, sharing this machine's network; PORT is
where the worker then serves its health. Exits with 1 at the first thing that is not as it should be.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import click

from worker.demo.broker import EmbeddedBroker
from worker.demo.feeder import Feeder, Sent
from worker.demo.ledger import Ledger
from worker.demo.reader import Reader, read_answer
from worker.demo.samples import load_samples
from worker.kafka.topics import TopicSpec, create_topics
from worker.settings.groups import KafkaSettings

_WHO = "import importlib.util as u, os; print(os.getuid(), os.getgid(), u.find_spec('torch'))"
_SAMPLES = "from worker.demo.samples import load_samples; print(len(load_samples()))"
_TEXTS = "What a wonderful morning, thank you all!\nThe worst service I have ever had.\n"
_READY_S = 60.0
_ANSWERS_S = 60.0


def main(arguments: Sequence[str]) -> int:
    """Run every check, and say what was found."""
    inspect, port, *commands = arguments
    cut = commands.index("--then")
    python, moodstream = commands[:cut], commands[cut + 1 :]
    config = image_config(json.loads(Path(inspect).read_text(encoding="utf-8")))
    try:
        check_contents(python, config)
        check_label(moodstream)
        check_run(python, moodstream, config, int(port))
    except CheckError as error:
        click.echo(f"FAILED: {error}", err=True)
        return 1
    return 0


class CheckError(Exception):
    """Something is not as it should be."""


def expect(holds: bool, otherwise: str) -> None:
    """Raise CheckError with `otherwise` unless `holds`."""
    if not holds:
        raise CheckError(otherwise)


def image_config(inspected: object) -> dict[str, object]:
    """The image's configuration, from what `docker image inspect` or `buildah inspect` printed."""
    if isinstance(inspected, list):
        return dict(inspected[0]["Config"])
    if isinstance(inspected, dict):
        return dict(json.loads(inspected["Config"])["config"])
    raise CheckError("the image cannot be inspected")


def check_contents(python: Sequence[str], config: dict[str, object]) -> None:
    """Not root, no torch, and the entry point that people expect."""
    uid, gid, torch = _output([*python, "-c", _WHO]).split()
    expect(uid != "0" and gid != "0", f"it runs as user {uid}, group {gid}")
    expect(torch == "None", f"torch is in it: {torch}")
    expect(
        config["Entrypoint"] == ["moodstream"] and config["Cmd"] == ["run"], f"wrong entry point: {config}"
    )
    expect(_output([*python, "-c", _SAMPLES]) == "400\n", "the feeder of compose.yaml lacks its samples")
    click.echo(f"user {uid}:{gid}, torch absent, entry point `moodstream run`")


def check_label(moodstream: Sequence[str]) -> None:
    """`moodstream label -` labels two texts."""
    lines = [json.loads(line) for line in _output([*moodstream, "label", "-"], _TEXTS).splitlines()]
    labels = [line["sentiment_label"] for line in lines]
    expect(labels == ["positive", "negative"], f"`label` says {labels}")
    click.echo(f"`moodstream label`: {labels[0]}, {labels[1]}; model {lines[0]['model']}")


def check_run(python: Sequence[str], moodstream: Sequence[str], config: dict[str, object], port: int) -> None:
    """`moodstream run` answers every sample exactly once, is healthy meanwhile, and drains on SIGTERM."""
    with EmbeddedBroker() as broker, tempfile.NamedTemporaryFile("w+", encoding="utf-8") as log:
        kafka = KafkaSettings(bootstrap_servers=[broker.bootstrap])
        create_topics(kafka, [TopicSpec(name, 2, 1) for name in ("posts", "moods", "moods.dead-letter")])
        command = [*moodstream, "run", "--kafka.bootstrap-servers", broker.bootstrap]
        process = subprocess.Popen(  # noqa: S603 - the image's own command line
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            _wait_ready(process, port)
            ledger = _feed_and_read(kafka)
            health = config["Healthcheck"]
            expect(isinstance(health, dict), "the image has no health check")
            _output([*python, *health["Test"][2:]])  # type: ignore[index] # what CMD, python stand before
            os.kill(_innermost(process.pid), signal.SIGTERM)
            code = process.wait(30)
            expect(code == 0, f"it ended with {code} after SIGTERM")
            expect(not ledger.faults(), "; ".join(ledger.faults()))
        except CheckError:
            log.seek(0)
            click.echo(log.read(), err=True)
            raise
        finally:
            process.kill()
    click.echo(f"`moodstream run`: {ledger.summary()}")
    click.echo("health check passed, drained on SIGTERM with exit code 0")


def _feed_and_read(kafka: KafkaSettings) -> Ledger:
    ledger, reader, sent = Ledger(), Reader(kafka, ["moods", "moods.dead-letter"]), list[Sent]()
    with Feeder(kafka, "posts") as feeder:
        feeder.feed(load_samples(), rate=None, stop=threading.Event(), on_sent=sent.append)
    for entry in sent:
        ledger.sent(entry)
    deadline = time.monotonic() + _ANSWERS_S
    while not ledger.complete() and time.monotonic() < deadline:
        for record in reader.read(0.2):
            now_ms = time.time_ns() // 1_000_000
            ledger.answered(read_answer(record, dead_letter_topic="moods.dead-letter", now_ms=now_ms))
    reader.close()
    return ledger


def _wait_ready(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        expect(process.poll() is None, f"it ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise CheckError(f"not ready after {_READY_S:g} s")


def _innermost(pid: int) -> int:
    """The process at the end of the chain of children: the worker itself, behind whatever started it.

    `docker run` has no children here and hands signals on; buildah's chroot has some and does not.
    """
    while True:
        children = [
            int(folder.parent.name)
            for folder in Path("/proc").glob("[0-9]*/stat")
            if _parent(folder) == pid
        ]  # fmt: skip
        if not children:
            return pid
        pid = children[0]


def _parent(stat: Path) -> int:
    try:
        return int(stat.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[1])
    except OSError:  # it has ended in between
        return -1


def _output(command: Sequence[str], given: str = "") -> str:
    done = subprocess.run(  # noqa: S603 - the image's own command line
        command, input=given, capture_output=True, text=True, timeout=120, check=False
    )
    expect(done.returncode == 0, f"`{' '.join(command[-4:])}` ended with {done.returncode}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
