"""Languages on the embedded broker: each input gets one output of its pack or one dead letter."""

import json
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
from kafka import KafkaProducer

from tests.support.proof import read_all
from tests.support.topics import Topics
from tests.support.workers import WorkerProcess
from worker.errors import ExitCode
from worker.model.pack import bundled_pack

POSTS = {
    "en": "where is my parcel, it should have come today",
    "it": "non mi piace per niente, che brutta giornata",
    "fa": "قطار باز هم دیر کرد و من خیلی خسته‌ام",
}


def feed(topics: Topics, values: list[bytes]) -> None:
    producer = KafkaProducer(bootstrap_servers=topics.bootstrap)
    for number, value in enumerate(values):
        producer.send(topics.posts, key=str(number).encode(), value=value, partition=number % 4)
    producer.flush()
    producer.close()


def answered(topics: Topics) -> int:
    return len(read_all(topics.bootstrap, topics.moods)) + len(read_all(topics.bootstrap, topics.dead))


def wait_for(topics: Topics, count: int, worker: WorkerProcess) -> None:
    deadline = time.monotonic() + 90
    while answered(topics) < count:
        assert time.monotonic() < deadline, f"{answered(topics)} of {count}\n{worker.tail()}"
        time.sleep(0.3)


def copied_pack(folder: Path) -> Path:
    """A second pack with the same weights and a name of its own."""
    shutil.copytree(bundled_pack(), folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "name": "italian"}))
    return folder


@pytest.mark.timeout(240)
def test_each_input_is_answered_once_by_its_pack_or_by_a_dead_letter_through_kills(
    embedded: str, unique: str, tmp_path: Path
) -> None:
    topics = Topics(embedded, unique)
    topics.create()
    pack = copied_pack(tmp_path / "italian")
    worker = topics.worker(
        "0",
        tmp_path,
        MOODSTREAM_LANGUAGE__DETECT="true",
        MOODSTREAM_LANGUAGE__CANDIDATES="en,it,fa",
        MOODSTREAM_LANGUAGE__ROUTE=f"en=default,it={pack},*=unsupported",
        MOODSTREAM_BATCH__MAX_MESSAGES="64",
    )
    languages = list(POSTS)
    values = [
        json.dumps({"text": f"{POSTS[languages[number % 3]]} ({number})"}).encode() for number in range(900)
    ]
    # The message's own language goes before what its text looks like.
    values += [json.dumps({"text": POSTS["en"], "lang": "fr"}).encode()] * 8
    feed(topics, values)
    worker.start()
    for share in (0.05, 0.4):
        wait_for(topics, int(len(values) * share), worker)
        worker.kill()
        worker.start()
    wait_for(topics, len(values), worker)
    assert worker.terminate() == ExitCode.OK

    seen: Counter[bytes] = Counter()
    models: dict[str, Counter[str]] = {}
    rows = read_all(embedded, topics.moods)
    for _, _, value, _ in rows:
        body = json.loads(value or b"")
        seen[f"{body['source_partition']}:{body['source_offset']}".encode()] += 1
        models.setdefault(body["lang"], Counter())[body["model"].partition("@")[0]] += 1
    letters = read_all(embedded, topics.dead)
    reasons = Counter(headers["moodstream.reason"] for _, _, _, headers in letters)
    for _, _, _, headers in letters:
        place = (headers["__connect.errors.partition"], headers["__connect.errors.offset"])
        seen[b":".join(place)] += 1
    assert reasons == {b"language_unsupported": 308}
    assert models == {"en": {"compact": 300}, "it": {"italian": 300}}
    assert len(seen) == len(values)
    assert set(seen.values()) == {1}


def ends_with(worker: WorkerProcess, code: int) -> str:
    """The one line with which a worker ends before it reaches a broker."""
    worker.start()
    assert worker.wait() == code
    text = worker.log.read_text()
    assert "Traceback" not in text
    ends = [event for event in worker.events() if event["event"] == "stopped"]
    if ends:
        assert len(ends) == 1
        return str(ends[0]["reason"])
    (line,) = text.strip().splitlines()
    return line


def test_an_unknown_language_code_is_one_line(tmp_path: Path) -> None:
    worker = Topics("127.0.0.1:1", "nobody").worker("0", tmp_path, MOODSTREAM_LANGUAGE__ROUTE="xx=default")
    assert "'xx' is not a language code" in ends_with(worker, ExitCode.USAGE)


def test_a_missing_pack_folder_is_one_line(tmp_path: Path) -> None:
    route = f"it={tmp_path / 'nowhere'}"
    worker = Topics("127.0.0.1:1", "nobody").worker("0", tmp_path, MOODSTREAM_LANGUAGE__ROUTE=route)
    line = ends_with(worker, ExitCode.USAGE)
    assert "MOODSTREAM_LANGUAGE__ROUTE" in line
    assert "nowhere" in line


def test_a_folder_that_is_no_pack_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    route = f"it={tmp_path / 'empty'}"
    worker = Topics("127.0.0.1:1", "nobody").worker("0", tmp_path, MOODSTREAM_LANGUAGE__ROUTE=route)
    assert "manifest.json is missing from the model pack" in ends_with(worker, ExitCode.MODEL)


def test_a_candidate_that_cannot_be_told_is_one_line(tmp_path: Path) -> None:
    worker = Topics("127.0.0.1:1", "nobody").worker(
        "0", tmp_path, MOODSTREAM_LANGUAGE__DETECT="true", MOODSTREAM_LANGUAGE__CANDIDATES="en,cu"
    )
    assert "language.candidates: the identifier does not know cu" in ends_with(worker, ExitCode.USAGE)


def test_a_missing_package_is_one_line(tmp_path: Path) -> None:
    # A package of the same name that is not the one: as if it were not installed.
    (tmp_path / "shadow" / "py3langid").mkdir(parents=True)
    (tmp_path / "shadow" / "py3langid" / "__init__.py").write_text("")
    worker = Topics("127.0.0.1:1", "nobody").worker("0", tmp_path, PYTHONPATH=str(tmp_path / "shadow"))
    assert "language.detect: py3langid is not installed: pip install 'py3langid" in ends_with(
        worker, ExitCode.USAGE
    )
