"""Outputs and dead letters in each `sink.format`, read by the examples of docs/how-to/readers.md."""

import json
import re
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from tests.support.brokers import KafkaCluster
from tests.support.topics import Topics
from worker.kafka.options import client_options

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "readers.md"
FORMATS = ("json", "json_schema", "cloudevents", "avro")
TRACE = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
BROKEN = b'{"text": "cut off in the mid'
POSTS: tuple[tuple[bytes, bytes | None], ...] = (
    (b"good", b'{"text": "I love this kettle, it is brilliant", "product": "kettle", "price": "9.5"}'),
    (b"bad", '{"text": "terrible service, I hate it 🪔", "product": "phöne"}'.encode()),
    (b"gone", None),
    (b"broken", BROKEN),
)


@dataclass(frozen=True)
class Written:
    """What a worker has written with one `sink.format`."""

    topics: Topics
    form: str
    registry: str

    def example(self, language: str, *signs: str) -> str:
        """The first block of the page that has all signs in it, for these topics."""
        page = PAGE.read_text(encoding="utf-8")
        blocks = re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        block: str = next(block for block in blocks if all(sign in block for sign in signs))
        block = block.replace("localhost:9092", self.topics.bootstrap)
        block = block.replace("http://localhost:8081", self.registry)
        block = block.replace('reader"', f'{uuid.uuid4()}"')  # the consumer group
        topics = {"moods": self.topics.moods, "moods.dead-letter": self.topics.dead}
        return re.sub(r"(?<=[ \"])moods(\.dead-letter)?(?=[ \"])", lambda found: topics[found[0]], block)

    def run(self, language: str, *signs: str) -> list[str]:
        """What the example prints, line by line."""
        block = self.example(language, *signs)
        command = [sys.executable, "-c", block] if language == "py" else ["bash", "-c", block]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        return sorted(done.stdout.splitlines())


@pytest.fixture(scope="module", params=FORMATS)
def written(
    request: pytest.FixtureRequest, shared_cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory
) -> Written:
    form = request.param
    topics = Topics(shared_cluster.bootstrap, f"t-{uuid.uuid4().hex[:10]}")
    topics.create()
    registry = request.getfixturevalue("registry_url") if form == "avro" else ""
    _abort_ghosts(topics)
    producer = KafkaProducer(**client_options(topics.kafka))
    for key, value in POSTS:
        producer.send(topics.posts, key=key, value=value, headers=[TRACE])
    producer.flush()
    producer.close()
    more = {"MOODSTREAM_KAFKA__SCHEMA_REGISTRY_URL": registry} if registry else {}
    worker = topics.worker(
        "a",
        tmp_path_factory.mktemp(form),
        MOODSTREAM_SINK__FORMAT=form,
        MOODSTREAM_SINK__INCLUDE_TEXT="true",
        MOODSTREAM_SINK__KEEP="product, price:double",
        **more,
    )
    worker.start()
    worker.wait_committed(len(POSTS))
    assert worker.terminate() == 0
    return Written(topics, form, registry)


def _abort_ghosts(topics: Topics) -> None:
    """Leave an aborted transaction in both topics, which no reader may show."""
    producer = KafkaProducer(**client_options(topics.kafka), transactional_id=f"{topics.name}.ghost")
    producer.init_transactions()
    producer.begin_transaction()
    for topic in (topics.moods, topics.dead):
        for partition in range(4):
            producer.send(topic, key=b"ghost", value=b'{"event_id": "ghost"}', partition=partition)
    producer.flush()
    producer.abort_transaction()
    producer.close()


@pytest.fixture
def kcat() -> None:
    if shutil.which("kcat") is None:
        pytest.skip("kcat is missing (Debian's package of that name)")


def payload(form: str, value: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(value)
    return body["payload"] if form == "json_schema" else body


def only(*forms: str) -> pytest.MarkDecorator:
    """Run a test with these formats."""
    return pytest.mark.parametrize("written", forms, indirect=True)


@only("json", "json_schema", "cloudevents")
@pytest.mark.usefixtures("kcat")
def test_kcat_shows_outputs_with_key_and_headers(written: Written) -> None:
    bad, gone, good = written.run("sh", "kcat", "-t moods ", "value=")
    assert gone == f"key=gone headers=traceparent={TRACE[1].decode()} value="
    for line, label, product in ((bad, "negative", "phöne"), (good, "positive", "kettle")):
        found = re.fullmatch(r"key=(\w+) headers=(\S+) value=(.*)", line)
        assert found is not None
        key, headers, value = found.groups()
        assert f"traceparent={TRACE[1].decode()}" in headers
        assert "content-type=application/json" in headers
        assert ("ce_type=moodstream.labelled.v1" in headers) == (written.form == "cloudevents")
        body = payload(written.form, value)
        assert (body["sentiment_label"], body["product"]) == (label, product)
        assert body["price"] == (9.5 if key == "good" else None)


@only("avro")
@pytest.mark.usefixtures("kcat")
def test_kcat_shows_keys_and_headers_of_avro(written: Written) -> None:
    bad, gone, good = written.run("sh", "kcat", r"headers=%h\n")
    trace = f"traceparent={TRACE[1].decode()}"
    assert gone == f"key=gone headers={trace}"
    assert bad == f"key=bad headers={trace},content-type=application/vnd.apache.avro"
    assert good == bad.replace("bad", "good")


@only("json", "json_schema", "cloudevents")
@pytest.mark.usefixtures("kcat")
def test_kcat_wraps_outputs_in_json(written: Written) -> None:
    messages = {message["key"]: message for message in map(json.loads, written.run("sh", "kcat", "-J"))}
    assert messages.keys() == {"good", "bad", "gone"}
    assert messages["gone"]["payload"] is None
    assert messages["bad"]["headers"][:2] == ["traceparent", TRACE[1].decode()]
    assert payload(written.form, messages["bad"]["payload"])["text"].endswith("I hate it 🪔")


@pytest.mark.usefixtures("kcat")
def test_kcat_shows_dead_letters_as_they_came_in(written: Written) -> None:
    [line] = written.run("sh", "kcat", "moods.dead-letter")
    assert line.startswith(f"key=broken headers=traceparent={TRACE[1].decode()},__connect.errors.topic=")
    assert "moodstream.reason=not_json" in line
    assert line.endswith(f" value={BROKEN.decode()}")


@only("json", "json_schema", "cloudevents")
def test_confluent_kafka_reads_outputs(written: Written) -> None:
    bad, gone, good = written.run("py", "json.loads")
    assert re.match(r"b'bad' t-\S+:\d:\d+ negative \{'traceparent': b'00-0af7", bad)
    assert re.match(r"b'good' t-\S+:\d:\d+ positive ", good)
    assert ("'ce_id'" in good) == (written.form == "cloudevents")
    assert gone == "b'gone' deleted"


@only("avro")
@pytest.mark.parametrize("reader", ["AvroDeserializer", "fastavro.schemaless_reader"])
def test_avro_is_read_with_the_schema_in_the_registry(written: Written, reader: str) -> None:
    bad, gone, good = (line.split() for line in written.run("py", reader))
    assert (bad[0], bad[2]) == ("b'bad'", "negative")
    assert (good[0], good[2]) == ("b'good'", "positive")
    assert gone == ["b'gone'", "deleted"]


@only("json", "avro")
def test_confluent_kafka_reads_dead_letters(written: Written) -> None:
    [line] = written.run("py", "moods.dead-letter")
    assert line.startswith(f"b'broken' {BROKEN!r} b'not_json' b'the value is not JSON")


@only("cloudevents")
def test_the_sdk_of_cloudevents_reads_events(written: Written) -> None:
    gone, bad, good = sorted(written.run("py", "from_binary_event"), key=lambda line: line.split()[-1])
    assert gone == "b'gone' deleted"
    kind, source, event_id, label = good.split()
    assert (kind, source) == ("moodstream.labelled.v1", f"/moodstream/{written.topics.moods}")
    assert (event_id.rpartition(":")[0].rpartition(":")[0], label) == (written.topics.posts, "positive")
    assert bad.split()[-1] == "negative"
