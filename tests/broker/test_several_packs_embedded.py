"""A worker with two packs on the embedded broker: one output for each message, with the columns of both."""

import json
import time
from pathlib import Path

import pytest
from kafka import KafkaProducer

from tests.support.checkpoints import ONE_HEAD, SIZES, TWO_HEADS, random_tensors, write_checkpoint
from tests.support.proof import read_all
from tests.support.topics import Topics
from worker.errors import ExitCode
from worker.lab.convert.writer import convert_checkpoint

POSTS = [f"the film was great {number}".encode() for number in range(40)]


def packs(folder: Path) -> list[Path]:
    """Two packs from two small checkpoints, as `moodstream model import` makes them."""
    found = []
    for seed, (name, heads) in enumerate({"moods": {"heads": TWO_HEADS}, "stars": ONE_HEAD}.items()):
        config = {**SIZES, **heads}
        checkpoint = write_checkpoint(folder / f"{name}-checkpoint", config, random_tensors(config, seed))
        convert_checkpoint(checkpoint, folder / name, name=name)
        found.append(folder / name)
    return found


@pytest.mark.timeout(120)
def test_each_message_gets_one_output_with_the_columns_of_both(
    embedded: str, unique: str, tmp_path: Path
) -> None:
    topics = Topics(embedded, unique)
    topics.create()
    producer = KafkaProducer(bootstrap_servers=embedded)
    for value in POSTS:
        producer.send(topics.posts, value=value)
    producer.close()
    worker = topics.worker("0", tmp_path, MOODSTREAM_MODEL__PATH=",".join(map(str, packs(tmp_path))))
    worker.start()
    deadline = time.monotonic() + 60
    while len(read_all(embedded, topics.moods)) < len(POSTS):
        assert time.monotonic() < deadline, worker.tail()
        time.sleep(0.3)
    _, metrics = worker.get("/metrics")
    assert worker.terminate() == ExitCode.OK

    outputs = [json.loads(value or b"") for _, _, value, _ in read_all(embedded, topics.moods)]
    assert len({output["event_id"] for output in outputs}) == len(outputs) == len(POSTS)
    for output in outputs:
        assert {"moods_sentiment_label", "stars_sentiment_label", "emotion_labels"} < output.keys()
        assert [part.partition("@")[0] for part in output["model"].split("+")] == ["moods", "stars"]
    for name in ("moods", "stars"):
        assert f'moodstream_pack_duration_seconds_count{{pack="{name}"}}' in metrics
    assert 'moodstream_model_info{name="moods+stars"' in metrics
