"""`moodstream topics create` and `moodstream demo`, on the embedded broker."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource

from worker.demo.broker import EmbeddedBroker
from worker.errors import ExitCode

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(data_dir=tmp_path_factory.mktemp("broker")) as running:
        yield running


def table(out: str) -> list[list[str]]:
    return [line.replace("dead letters", "dead-letters").split() for line in out.splitlines()]


def test_create_makes_the_topics_and_says_so_and_does_it_only_once(
    moodstream: Any, broker: EmbeddedBroker
) -> None:
    args = ("topics", "create", "--kafka.bootstrap-servers", broker.bootstrap, "--source.topics", "a,b")
    first = moodstream(*args, "--partitions", "3")
    assert (first.code, first.err) == (0, "")
    assert table(first.out) == [
        ["TOPIC", "FOR", "PARTITIONS", "STATE"],
        ["a", "input", "3", "created"],
        ["b", "input", "3", "created"],
        ["moods", "output", "3", "created"],
        ["moods.dead-letter", "dead-letters", "3", "created"],
    ]
    again = moodstream(*args, "--partitions", "5")
    assert again.code == 0
    assert [row[2:] for row in table(again.out)[1:]] == [["3", "exists"]] * 4


def test_the_output_has_room_for_the_keys_of_an_input_that_exists(
    moodstream: Any, broker: EmbeddedBroker
) -> None:
    address = ("--kafka.bootstrap-servers", broker.bootstrap)
    moodstream(
        "topics",
        "create",
        *address,
        "--source.topics",
        "wide",
        "--partitions",
        "9",
        "--sink.topic",
        "x1",
        "--sink.dead-letter-topic",
        "x2",
    )
    ended = moodstream(
        "topics",
        "create",
        *address,
        "--source.topics",
        "wide",
        "--sink.topic",
        "y1",
        "--sink.dead-letter-topic",
        "y2",
    )
    assert [row[2:] for row in table(ended.out)[1:]] == [["9", "exists"], ["9", "created"], ["6", "created"]]


def test_retention_and_room_for_large_records(moodstream: Any, broker: EmbeddedBroker) -> None:
    names = {"input": "kept-in", "output": "kept-out", "dead": "kept-dead"}
    args = ["--source.topics", names["input"], "--sink.topic", names["output"]]
    args += ["--sink.dead-letter-topic", names["dead"], "--kafka.bootstrap-servers", broker.bootstrap]
    assert moodstream("topics", "create", *args).code == 0
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap)) as admin:
        resources = [ConfigResource("TOPIC", name) for name in names.values()]
        found = admin.describe_configs(resources)["topic"]
    days = {name: int(config["retention.ms"]["value"]) / 86_400_000 for name, config in found.items()}
    assert days == {"kept-in": 7, "kept-out": 7, "kept-dead": 30}
    assert {name for name, config in found.items() if "max.message.bytes" in config} == {
        "kept-out",
        "kept-dead",
    }


def test_no_broker_is_one_line_and_its_exit_code(moodstream: Any) -> None:
    ended = moodstream("topics", "create", "--kafka.bootstrap-servers", "127.0.0.1:1")
    assert ended.code == ExitCode.BROKER_UNAVAILABLE
    assert ended.lines == ["moodstream: 127.0.0.1:1 does not listen (kafka.bootstrap_servers)"]


def test_a_broker_without_the_topics_is_exit_code_8(process: Any, broker: EmbeddedBroker) -> None:
    address = ("--kafka.bootstrap-servers", broker.bootstrap, "--observe.port", "0")
    ended = process("run", *address, "--source.topics", "not-there")
    assert ended.code == ExitCode.TOPIC_MISSING
    assert "moodstream topics create" in ended.lines[-1]


def test_demo_hands_its_options_on(moodstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, object]] = []

    def demo(**options: object) -> int:
        seen.append(options)
        return 1

    monkeypatch.setattr("worker.demo.main", demo)
    assert moodstream("demo", "--once", "--rate", "20", "--svg", "view.svg").code == 1
    assert seen == [{"once": True, "rate": 20.0, "svg": Path("view.svg"), "page": True}]
    assert moodstream("demo", "--rate", "0").code == 2


@pytest.mark.parametrize(
    ("module", "args", "line"),
    [
        ("noida_db", ["demo"], "Error: the demo needs: pip install 'moodstream[demo]'"),
        (
            "onnx",
            ["model", "import", "x", "-o", "y"],
            "Error: model import needs: pip install 'moodstream[import]'",
        ),
        (
            "pyarrow",
            ["label", "x.parquet"],
            "moodstream: x.parquet: reading Parquet needs: pip install 'moodstream[parquet]'",
        ),
    ],
)
def test_a_missing_extra_says_what_to_install(module: str, args: list[str], line: str) -> None:
    Path("x.parquet").touch()
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.modules[{module!r}] = None\n"
    code += f"from worker.cli import main; sys.exit(main({args!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.splitlines() == [line]


def test_a_folder_that_cannot_be_written_is_a_wrong_option(moodstream: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    ended = moodstream("broker", "--data", "file/x", "--port", "19555")
    assert ended.code == ExitCode.USAGE
    assert ended.lines == ["moodstream: --data: file/x cannot be written: Not a directory"]
