"""Messages of several languages through one pipeline: each to its pack, each answered once, in order."""

import json
import shutil
from pathlib import Path
from typing import cast

import pytest

from tests.support.decoding import decoder
from tests.support.packs import with_config
from worker.kafka.checkpoint import Checkpoint
from worker.kafka.limits import TopicLimits
from worker.messages.deadletter import DeadLetters, Origin
from worker.messages.encode import OutputEncoder
from worker.model.pack import bundled_pack
from worker.model.several import PackSet
from worker.observe.metrics import Metrics
from worker.settings.groups import LanguageSettings
from worker.stream.fitting import Fitter
from worker.stream.isolation import Isolation
from worker.stream.languages import Languages
from worker.stream.pipeline import Pipeline
from worker.stream.router import LoadedPack, PackRouter
from worker.types import Failure, Prediction, Record, Tombstone


def desk(path: Path, name: str) -> LoadedPack:
    packs = PackSet.load([path], threads=1)
    encoder = OutputEncoder(packs.packs[0].heads, model=f"{name}@0", topic="moods", include_text=True)
    return LoadedPack(packs, encoder)


@pytest.fixture(scope="module")
def second_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packs") / "italian"
    shutil.copytree(bundled_pack(), folder)
    return with_config(folder, lambda config: config.update(languages=["it"]))


def pipeline(settings: LanguageSettings, second_pack: Path) -> Pipeline:
    languages = Languages(settings)
    others = {folder: desk(Path(folder), "second") for folder in languages.packs}
    return Pipeline(
        decoder=decoder(),
        router=PackRouter(desk(bundled_pack(), "first"), languages, others),
        dead_letters=DeadLetters("dead", "connect", Origin("test", "0")),
    )


def records(*values: bytes | None) -> list[Record]:
    return [
        Record("posts", 0, number, 1_700_000_000_000, str(number).encode(), value)
        for number, value in enumerate(values)
    ]


def test_each_message_goes_to_the_pack_of_its_language_and_order_stays(second_pack: Path) -> None:
    route = {"en": "default", "it": str(second_pack), "*": "unsupported", "und": "default"}
    lines = pipeline(LanguageSettings(route=route), second_pack)
    values = [
        b'{"text": "what a day", "lang": "it"}',
        b'{"text": "what a night", "lang": "en-US"}',
        b'{"text": "quel jour", "lang": "fr"}',
        None,
        b'{"text": "no language said"}',
        b'{"text": "another day", "lang": "it"}',
        b'{"text": ',
        b'{"text": "the last", "lang": "en"}',
    ]
    processed = lines.process(records(*values))
    assert [output.key for output in processed.outputs] == [str(n).encode() for n in range(len(values))]
    bodies = [
        json.loads(output.value) if output.topic == "moods" and output.value else None
        for output in processed.outputs
    ]
    assert [body and body.get("model") for body in bodies] == [
        *("second@0", "first@0", None, None, "first@0", "second@0", None, "first@0")
    ]
    assert [body and body.get("lang") for body in bodies] == [
        "it",
        "en-US",
        None,
        None,
        "und",
        "it",
        None,
        "en",
    ]
    assert [body["text"] for body in bodies if body] == [
        *("what a day", "what a night", "no language said", "another day", "the last")
    ]
    kinds = [type(answer) for answer in processed.answers]
    assert kinds == [Prediction, Prediction, Failure, Tombstone, Prediction, Prediction, Failure, Prediction]
    dead = processed.outputs[2]
    assert (dead.topic, dead.value) == ("dead", values[2])
    headers = dict(dead.headers)
    assert headers["moodstream.reason"] == b"language_unsupported"
    assert headers["__connect.errors.stage"] == b"classify"
    assert b"fr" in (headers["__connect.errors.exception.message"] or b"")


def test_what_is_detected_is_in_the_output(second_pack: Path) -> None:
    lines = pipeline(LanguageSettings(detect=True, candidates=["en", "it"]), second_pack)
    values = (
        '{"text": "non mi piace per niente"}',
        '{"text": "where is my parcel?"}',
        '{"text": "😍😍"}',
        '{"text": "where is my parcel?", "lang": "fr"}',
        "che bella giornata",
    )
    processed = lines.process(records(*(value.encode() for value in values)))
    langs = [json.loads(output.value or b"").get("lang") for output in processed.outputs]
    assert langs == ["it", "en", "und", "fr", "it"]


def test_switched_off_nothing_is_named(second_pack: Path) -> None:
    lines = pipeline(LanguageSettings(detect=False), second_pack)
    (output,) = lines.process(records(b'{"text": "che bella giornata"}')).outputs
    body = json.loads(output.value or b"")
    assert "lang" not in body
    assert body["supported"] is True


@pytest.mark.parametrize("lang", ["", "und", "xx", "qme", "zxx", "mul", "english", "E", 7, None, ["en"]])
def test_a_language_that_is_none_means_that_it_is_looked_for(lang: object, second_pack: Path) -> None:
    lines = pipeline(LanguageSettings(), second_pack)
    texts = ("che bella giornata, sono davvero contento", "what a lovely day")
    values = (json.dumps({"text": text, "lang": lang}).encode() for text in texts)
    bodies = [json.loads(output.value or b"") for output in lines.process(records(*values)).outputs]
    assert [(body["lang"], body["supported"]) for body in bodies] == [("it", False), ("en", True)]


def test_what_the_pack_does_not_read_is_labelled_and_marked(second_pack: Path) -> None:
    values = (
        '{"text": "das gefällt mir gar nicht, nie wieder"}',
        '{"text": "so good", "lang": "de"}',
        '{"text": "das gefällt mir gar nicht, nie wieder", "lang": "en"}',
        '{"text": "non mi piace per niente", "lang": "it"}',
        '{"text": "so good"}',
    )
    lines = pipeline(LanguageSettings(route={"it": str(second_pack)}), second_pack)
    bodies = [
        json.loads(output.value or b"")
        for output in lines.process(records(*(value.encode() for value in values))).outputs
    ]
    assert [body["supported"] for body in bodies] == [False, False, True, True, True]
    assert all("sentiment_label" in body for body in bodies)
    refusing = pipeline(LanguageSettings(unsupported="dead_letter"), second_pack)
    outputs = refusing.process(records(*(value.encode() for value in values))).outputs
    assert [output.topic for output in outputs] == ["dead", "dead", "moods", "dead", "moods"]
    assert dict(outputs[0].headers)["moodstream.reason"] == b"language_unsupported"


def test_the_languages_reach_the_metrics_also_through_the_isolation(second_pack: Path) -> None:
    route = {"it": str(second_pack), "fr": "unsupported", "*": "default"}
    lines, metrics = pipeline(LanguageSettings(route=route), second_pack), Metrics()
    letters = DeadLetters("dead", "connect", Origin("test", "0"))
    limits = {"moods": TopicLimits(1_000_000), "dead": TopicLimits(1_000_000)}
    fitter = Fitter(limits, letters.to_dead_letter, dead_letter_topic="dead", compression="lz4")
    isolation = Isolation(lines, cast("Checkpoint", None), fitter, metrics=metrics)
    processed = isolation.process(
        records(
            b'{"text": "what a day", "lang": "it"}',
            b'{"text": "what a night", "lang": "EN-us"}',
            b'{"text": "quel jour", "lang": "fr"}',
            b'{"text": "bon dia", "lang": "qxz"}',
            None,
            b'{"text": "no language said"}',
        )
    )
    metrics.committed([result for results in processed.results for result in results])

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"moodstream_{name}", labels)

    counts = {
        name: value("languages_total", language=name) for name in ("it", "en", "fr", "other", "unknown")
    }
    assert counts == {"it": 1, "en": 1, "fr": None, "other": 1, "unknown": 1}
    assert value("messages_total", outcome="labelled") == 4
    assert value("text_tokens_total") == sum(
        answer.token_count for answer in processed.answers if isinstance(answer, Prediction)
    )
