"""What a worker says when it cannot work: one line, its own exit code, and never a traceback."""

import json
import shutil
import socket
import ssl
import time
from pathlib import Path

import pytest
from kafka import KafkaProducer

from tests.support.certificates import make_certificates
from tests.support.ports import free_port
from tests.support.proof import read_all
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.topics import Topics
from tests.support.workers import WorkerProcess
from tests.unit.messages.test_framed import BODY, POST, avro, framed
from worker.demo.broker import EmbeddedBroker
from worker.errors import ExitCode
from worker.model.pack import bundled_pack


def reason(worker: WorkerProcess) -> str:
    """The one line of the end, after checking that nothing else than lines is in the log."""
    assert "Traceback" not in worker.log.read_text()
    ends = [event for event in worker.events() if event["event"] == "stopped"]
    assert len(ends) == 1, worker.tail()
    text = str(ends[0]["reason"])
    assert "\n" not in text
    return text


def test_broker_not_there_retries_with_lines_then_gives_up(tmp_path: Path) -> None:
    port = free_port()
    worker = Topics(f"127.0.0.1:{port}", "nobody").worker(
        "0", tmp_path, MOODSTREAM_KAFKA__CONNECT_LIMIT_S="8"
    )
    worker.start()
    red = ""
    deadline = time.monotonic() + 30
    while worker.running and time.monotonic() < deadline:
        status, body = worker.get("/readyz")
        if status == 503 and '"brokers"' in body:
            red = body
        time.sleep(0.2)
    assert worker.wait() == ExitCode.BROKER_UNAVAILABLE
    assert red, "readyz was never seen red"
    retries = [event for event in worker.events() if event["event"] == "waiting for a broker to answer"]
    assert len(retries) >= 2
    assert str(port) in str(retries[0]["reason"])
    assert "kafka.connect_limit_s" in reason(worker)


def test_missing_topics_are_named(embedded: str, unique: str, tmp_path: Path) -> None:
    topics = Topics(embedded, unique)
    worker = topics.worker("0", tmp_path)
    worker.start()
    assert worker.wait() == ExitCode.TOPIC_MISSING
    said = reason(worker)
    assert all(name in said for name in (topics.posts, topics.moods, topics.dead))
    assert "moodstream topics create" in said


def test_model_folder_missing(embedded: str, unique: str, tmp_path: Path) -> None:
    worker = Topics(embedded, unique).worker(
        "0", tmp_path, MOODSTREAM_MODEL__PATH=str(tmp_path / "no-such-pack")
    )
    worker.start()
    assert worker.wait() in {ExitCode.MODEL, ExitCode.USAGE}
    assert "Traceback" not in worker.log.read_text()
    assert "no-such-pack" in worker.log.read_text()


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json"])
def test_model_with_one_changed_byte(embedded: str, unique: str, tmp_path: Path, name: str) -> None:
    pack = tmp_path / "pack"
    shutil.copytree(bundled_pack(), pack)
    content = bytearray((pack / name).read_bytes())
    content[len(content) // 2] ^= 1
    (pack / name).write_bytes(content)
    worker = Topics(embedded, unique).worker("0", tmp_path, MOODSTREAM_MODEL__PATH=str(pack))
    worker.start()
    assert worker.wait() == ExitCode.MODEL
    assert name in reason(worker)


def test_port_in_use(embedded: str, unique: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        topics = Topics(embedded, unique)
        worker = WorkerProcess("0", topics.environment() | {"MOODSTREAM_OBSERVE__PORT": str(port)}, tmp_path)
        worker.start()
        assert worker.wait() == ExitCode.USAGE
    assert "observe.port" in reason(worker)


def test_wrong_setting_is_one_line_with_the_nearest_name(tmp_path: Path) -> None:
    worker = WorkerProcess("0", {"MOODSTREAM_KAFKA__BOOTSTRAP_SERVER": "x:1"}, tmp_path)
    worker.start()
    assert worker.wait() == ExitCode.USAGE
    text = worker.log.read_text()
    assert "MOODSTREAM_KAFKA__BOOTSTRAP_SERVERS" in text
    assert "Traceback" not in text
    assert len(text.strip().splitlines()) <= 2


def test_stop_while_still_connecting_is_a_clean_end(tmp_path: Path) -> None:
    worker = Topics(f"127.0.0.1:{free_port()}", "nobody").worker("0", tmp_path)
    worker.start()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not any(
        e["event"] == "waiting for a broker to answer" for e in worker.events()
    ):
        time.sleep(0.1)
    assert worker.terminate() == ExitCode.OK


def test_a_megabyte_of_text_and_a_tombstone_are_answered(embedded: str, unique: str, tmp_path: Path) -> None:
    import json

    from kafka import KafkaProducer

    topics = Topics(embedded, unique)
    topics.create()
    producer = KafkaProducer(bootstrap_servers=embedded, max_request_size=2**21)
    long = json.dumps({"text": "what a lovely day " * 55_000}).encode()
    assert 900_000 < len(long) < 1_000_000
    producer.send(topics.posts, key=b"long", value=long, partition=0)
    producer.send(topics.posts, key=b"gone", value=None, partition=0)
    producer.send(topics.posts, key=b"not text", value=b"\xff" + bytes(900_000), partition=0)
    producer.flush()
    producer.close()
    worker = topics.worker("0", tmp_path)
    worker.start()
    worker.wait_ready()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(read_all(embedded, topics.dead)) < 1:
        time.sleep(0.3)
    assert worker.terminate() == ExitCode.OK
    (labelled, tombstone) = sorted(read_all(embedded, topics.moods), key=lambda row: row[1])
    body = json.loads(labelled[2] or b"")
    assert (body["truncated"], body["token_count"]) == (True, 2 * 510 + 2)  # its beginning and its end
    assert tombstone[2] is None
    ((_, _, value, headers),) = read_all(embedded, topics.dead)
    assert value == b"\xff" + bytes(900_000)
    assert headers["moodstream.reason"] == b"invalid_utf8"


def test_a_broker_that_goes_away_for_good_turns_readyz_red_and_ends_the_worker(
    own_broker: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    topics = Topics(own_broker.bootstrap, unique)
    topics.create()
    worker = topics.worker("0", tmp_path, MOODSTREAM_KAFKA__CONNECT_LIMIT_S="10")
    worker.start()
    worker.wait_ready()
    own_broker.kill()
    deadline = time.monotonic() + 60
    red = False
    while worker.running and time.monotonic() < deadline:
        red = red or worker.get("/readyz")[0] == 503
        time.sleep(0.2)
    assert worker.wait() == ExitCode.BROKER_UNAVAILABLE
    assert red
    assert "kafka.connect_limit_s" in reason(worker)


def test_a_schema_without_the_text_stops_the_worker_before_any_dead_letter(
    embedded: str, unique: str, tmp_path: Path
) -> None:
    topics = Topics(embedded, unique)
    topics.create()
    producer = KafkaProducer(bootstrap_servers=embedded)
    producer.send(topics.posts, value=framed(3, avro(POST, BODY)), partition=0)
    producer.flush(30)
    producer.close()
    with ScriptedRegistry({3: {"schema": json.dumps(POST)}}) as registry:
        worker = topics.worker(
            "0",
            tmp_path,
            MOODSTREAM_KAFKA__SCHEMA_REGISTRY_URL=registry.url,
            MOODSTREAM_SOURCE__TEXT_FIELD="body",
        )
        worker.start()
        assert worker.wait() == ExitCode.USAGE
    assert "has no field `body` (source.text_field), but `text`, `likes`, `at`" in reason(worker)
    assert read_all(embedded, topics.dead, isolation="read_uncommitted") == []


def test_a_registry_that_is_not_trusted_stops_the_worker(embedded: str, unique: str, tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "certificates")
    topics = Topics(embedded, unique)
    topics.create()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.broker_all)
    with ScriptedRegistry(tls=tls) as registry:
        worker = topics.worker(
            "0",
            tmp_path,
            MOODSTREAM_KAFKA__SCHEMA_REGISTRY_URL=registry.url,
            MOODSTREAM_KAFKA__SCHEMA_REGISTRY_CA_FILE=str(made.stranger),
        )
        worker.start()
        assert worker.wait() == ExitCode.BROKER_REFUSED
    assert "not signed by a trusted authority (kafka.schema_registry_ca_file)" in reason(worker)
