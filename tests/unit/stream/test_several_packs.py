"""Several packs behind one topic: the output's columns, the metrics, and routes by language."""

from pathlib import Path

import orjson
import pytest

from tests.support.checkpoints import ONE_HEAD, SIZES, TWO_HEADS, random_tensors, write_checkpoint
from tests.support.decoding import decoder
from worker.lab.convert.writer import convert_checkpoint
from worker.messages.schema import output_model
from worker.model.several import load_packs, named_heads
from worker.observe.metrics import Metrics
from worker.settings.groups import LanguageSettings, ModelSettings, Settings
from worker.stream.pipeline import Pipeline
from worker.stream.router import PackRouter
from worker.types import Record


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("packs")
    for seed, (name, heads) in enumerate(
        {"moods": {"heads": TWO_HEADS}, "stars": ONE_HEAD, "italian": ONE_HEAD}.items()
    ):
        config = {**SIZES, **heads}
        checkpoint = write_checkpoint(folder / f"{name}-checkpoint", config, random_tensors(config, seed))
        convert_checkpoint(checkpoint, folder / name, name=name)
    return [folder / "moods", folder / "stars", folder / "italian"]


def outputs(settings: Settings, metrics: Metrics, *values: bytes) -> list[dict[str, object]]:
    router = PackRouter.load(settings, topic="moods", include_text=False, listener=metrics)
    pipeline = Pipeline(decoder=decoder(), router=router, listener=metrics)
    records = [Record("posts", 0, place, 0, None, value) for place, value in enumerate(values)]
    answers = pipeline.process(records).outputs
    return [orjson.loads(answer.value or b"") for answer in answers]


def test_the_columns_of_all_packs_stand_in_one_output_as_its_schema_says(packs: list[Path]) -> None:
    metrics = Metrics()
    settings = Settings(model=ModelSettings(path=packs[:2], threads=1))
    (output,) = outputs(settings, metrics, b"the film was great")
    loaded = load_packs(packs[:2])
    heads, _ = named_heads(loaded)
    output_model(heads).model_validate(output)
    wanted = {"moods_sentiment_label", "moods_sentiment_neutral", "stars_sentiment_label", "emotion_labels"}
    assert wanted < output.keys()
    assert "sentiment_label" not in output
    assert output["model"] == "+".join(f"{pack.name}@{pack.revision}" for pack in loaded)
    for name in ("moods", "stars"):
        count = metrics.registry.get_sample_value(
            "moodstream_pack_duration_seconds_count", labels={"pack": name}
        )
        assert count == 1


def test_a_route_by_language_goes_to_one_pack_and_the_rest_to_all_of_the_path(packs: list[Path]) -> None:
    settings = Settings(
        model=ModelSettings(path=packs[:2], threads=1),
        language=LanguageSettings(route={"it": str(packs[2])}),
    )
    italian, english = outputs(
        settings,
        Metrics(),
        b'{"text": "the film was great", "lang": "it"}',
        b'{"text": "the film was great", "lang": "en"}',
    )
    assert str(italian["model"]).startswith("italian@")
    assert "sentiment_label" in italian
    assert "emotion_labels" not in italian
    assert str(english["model"]).startswith("moods@")
    assert "+stars@" in str(english["model"])
