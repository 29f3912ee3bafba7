"""Files to output messages, with the bundled model."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from worker.messages.fields import Fields
from worker.messages.schema import output_schema
from worker.model.classifier import Classifier
from worker.settings.groups import LanguageSettings, ModelSettings, Settings
from worker.stream.labeller import Labeller, RowResult
from worker.stream.router import PackRouter
from worker.tables.lines import LineReader, line_rows
from worker.tables.open import Input, open_input
from worker.types import Prediction

TEXTS = ["I love this so much!", "worst day ever, never again", "the bus leaves at 9"]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load(threads=1)


@pytest.fixture(scope="module")
def labeller() -> Labeller:
    return made(Settings(model=ModelSettings(threads=1)))


def made(settings: Settings, *, include_text: bool = True) -> Labeller:
    return Labeller(PackRouter.load(settings, topic="", include_text=include_text), Fields.at("text"))


def answers(labeller: Labeller, name: str) -> list[RowResult]:
    source = open_input(name, labeller.wanted)
    try:
        return [answer for window in labeller.label(source) for answer in window]
    finally:
        source.close()


def message(answer: RowResult) -> dict[str, Any]:
    assert answer.line is not None, answer.message
    assert answer.line.endswith(b"\n")
    fields: dict[str, Any] = json.loads(answer.line)
    return fields


def jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))


def csv(path: Path) -> None:
    path.write_text("id,text\n" + "".join(f'{number},"{text}"\n' for number, text in enumerate(TEXTS)))


def txt(path: Path) -> None:
    path.write_text("\n".join(TEXTS))


def parquet_file(path: Path) -> None:
    parquet.write_table(arrow.table({"text": TEXTS}), path)


@pytest.mark.parametrize(
    ("suffix", "make"), [("jsonl", jsonl), ("csv", csv), ("txt", txt), ("parquet", parquet_file)]
)
def test_every_format_gives_the_same_labels_as_the_classifier(
    tmp_path: Path, suffix: str, make: Callable[[Path], None], classifier: Classifier, labeller: Labeller
) -> None:
    path = tmp_path / f"posts.{suffix}"
    make(path)
    messages = [message(answer) for answer in answers(labeller, str(path))]
    expected = classifier.classify(TEXTS)
    assert [fields["text"] for fields in messages] == TEXTS
    for number, (fields, prediction) in enumerate(zip(messages, expected, strict=True)):
        assert isinstance(prediction, Prediction)
        assert fields["sentiment_label"] == prediction.heads["sentiment"].label
        assert fields["sentiment_score"] == pytest.approx(prediction.heads["sentiment"].score, abs=1e-5)
        assert fields["emotion_label"] == prediction.heads["emotion"].label
        assert fields["source_topic"] == str(path)
        assert fields["source_offset"] == number
        assert fields["event_id"] == f"{path}:0:{number}"


def test_a_line_validates_as_an_output_message(
    tmp_path: Path, classifier: Classifier, labeller: Labeller
) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_text('{"text":"so good","lang":"en"}\n')
    (answer,) = answers(labeller, str(path))
    fields = message(answer)
    jsonschema.validate(fields, output_schema(classifier.pack.outputs))
    assert fields["lang"] == "en"


def test_a_bad_row_costs_no_other_row(tmp_path: Path, labeller: Labeller) -> None:
    path = tmp_path / "posts.jsonl"
    lines = [b'{"text":"good"}', b"{broken", b'{"txt":1}', b'{"text":7}', b'{"text":" "}', b"\xff", b'"bare"']
    path.write_bytes(b"\n".join(lines))
    found = answers(labeller, str(path))
    assert [answer.line is not None for answer in found] == [True, False, False, False, False, False, True]
    assert [answer.place for answer in found] == [1, 2, 3, 4, 5, 6, 7]
    assert all(answer.message and "good" not in answer.message for answer in found if answer.line is None)
    assert message(found[-1])["source_offset"] == 6


def test_the_text_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "posts.txt"
    path.write_text("so good")
    private = made(Settings(model=ModelSettings(threads=1)), include_text=False)
    assert "text" not in message(answers(private, str(path))[0])


def test_more_rows_than_one_window_come_out_in_order(tmp_path: Path, labeller: Labeller) -> None:
    path = tmp_path / "posts.txt"
    path.write_text("\n".join(f"post {number}" for number in range(600)))
    found = answers(labeller, str(path))
    assert [message(answer)["text"] for answer in found] == [f"post {number}" for number in range(600)]


def test_a_pipe_is_answered_before_it_ends(labeller: Labeller) -> None:
    ours, theirs = os.pipe()
    reader = LineReader(ours)
    source = Input("stdin", None, line_rows("stdin", reader, None), reader)
    os.write(theirs, b"so good\n")
    windows = labeller.label(source)
    (first,) = next(windows)
    assert message(first)["text"] == "so good"

    def write() -> None:
        os.write(theirs, b'{"text":"bad"}')
        os.close(theirs)

    writer = threading.Thread(target=write)
    writer.start()
    (second,) = next(windows)
    assert message(second)["text"] == "bad"
    assert next(windows, None) is None
    writer.join()
    os.close(ours)


def test_languages_are_named_and_routed_as_in_the_worker(tmp_path: Path) -> None:
    language = LanguageSettings(detect=True, candidates=["en", "it"], route={"it": "unsupported"})
    path = tmp_path / "posts.jsonl"
    path.write_text('{"text": "where is my parcel?"}\n{"text": "non mi piace per niente"}\n')
    english, italian = answers(made(Settings(model=ModelSettings(threads=1), language=language)), str(path))
    assert message(english)["lang"] == "en"
    assert italian.line is None
    assert "no pack for the language it" in italian.message
