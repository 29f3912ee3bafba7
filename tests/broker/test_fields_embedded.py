"""Filter, fields and a setting that matches nothing, by a worker on the embedded broker."""

import json
import time
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.support.proof import read_all
from tests.support.topics import PARTITIONS, Topics
from worker.errors import ExitCode

COUNT = 1_200


@pytest.mark.timeout(180)
def test_what_the_filter_drops_is_counted_and_committed(embedded: str, unique: str, tmp_path: Path) -> None:
    topics = Topics(embedded, unique)
    topics.create()
    producer = KafkaProducer(bootstrap_servers=embedded)
    for number in range(COUNT):
        body = {"id": number, "title": "Great", "body": "I love it.", "stars": number % 100}
        producer.send(topics.posts, value=json.dumps(body).encode(), partition=number % PARTITIONS)
    producer.flush()
    producer.close()
    worker = topics.worker(
        "0",
        tmp_path,
        MOODSTREAM_SOURCE__TEXT_FIELD="title, body",
        MOODSTREAM_SOURCE__ID_FIELD="id",
        MOODSTREAM_SOURCE__TIME_FIELD="sent_at",
        MOODSTREAM_SOURCE__FILTER="stars == `7`",
        MOODSTREAM_SINK__INCLUDE_TEXT="true",
    )
    worker.start()
    worker.wait_ready()
    counted = f'moodstream_messages_total{{outcome="filtered"}} {COUNT - COUNT // 100:.1f}'
    deadline = time.monotonic() + 90
    while counted not in worker.get("/metrics")[1]:
        assert time.monotonic() < deadline, worker.tail()
        time.sleep(0.3)
    assert worker.terminate() == ExitCode.OK

    outputs = [json.loads(value or b"") for _, _, value, _ in read_all(embedded, topics.moods)]
    assert {output["event_id"] for output in outputs} == {str(n) for n in range(7, COUNT, 100)}
    assert {output["text"] for output in outputs} == {"Great\nI love it."}
    assert read_all(embedded, topics.dead) == []
    consumer = KafkaConsumer(bootstrap_servers=embedded, group_id=f"{topics.name}.group")
    places = [TopicPartition(topics.posts, number) for number in range(PARTITIONS)]
    assert [consumer.committed(place) for place in places] == [COUNT // PARTITIONS] * PARTITIONS
    consumer.close()
    (warning,) = [event for event in worker.events() if "matched none" in str(event.get("event"))]
    assert warning["settings"] == ["source.time_field `sent_at`"]
    assert warning["fields_seen"] == ["id", "title", "body", "stars"]
