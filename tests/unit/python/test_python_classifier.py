"""`from moodstream import Classifier`: what it takes, what it gives, and in which processes it works."""

import asyncio
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from moodstream import Classifier, Failure, HeadResult, PackError, Prediction, SpanResult
from tests.support.checkpoints import write_marking_checkpoint
from tests.support.packs import vouch, with_config
from worker.errors import LanguageError
from worker.lab.convert.writer import convert_checkpoint
from worker.messages.encode import OutputEncoder
from worker.settings.groups import Settings
from worker.stream.router import PackRouter
from worker.types import LongText, Message, Record

ROOT = Path(__file__).parents[3]
BUNDLED = ROOT / "worker" / "packs" / "compact-fast"
TEXTS = ["so good!", "never again", "it arrived on monday"]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier("compact-fast", threads=2)


COLUMNS = [
    pytest.param(pd.Series, id="pandas"),
    pytest.param(lambda texts: pd.Series(texts, dtype="string"), id="pandas-strings"),
    pytest.param(lambda texts: pd.Series(texts, dtype="category"), id="pandas-category"),
    pytest.param(lambda texts: pd.Series(texts, dtype=pd.ArrowDtype(pa.string())), id="pandas-arrow"),
    pytest.param(pl.Series, id="polars"),
    pytest.param(pa.array, id="arrow"),
    pytest.param(lambda texts: pa.chunked_array([texts[:1], texts[1:]]), id="arrow-chunks"),
    pytest.param(lambda texts: pa.array(texts).dictionary_encode(), id="arrow-dictionary"),
    pytest.param(lambda texts: np.array(texts, dtype=object), id="numpy"),
    pytest.param(iter, id="generator"),
    pytest.param(tuple, id="tuple"),
]


@pytest.mark.parametrize("column", COLUMNS)
def test_any_column_of_texts_is_labelled(classifier: Classifier, column: Any) -> None:
    assert classifier.classify(column(TEXTS)) == classifier.classify(TEXTS)


def test_words_are_marked_where_it_is_asked_to(tmp_path: Path) -> None:
    checkpoint = write_marking_checkpoint(tmp_path / "checkpoint", "awful", flagged=False)
    pack = convert_checkpoint(checkpoint, tmp_path / "pack", name="marking").path
    texts = ["the film was awful"]
    every = Classifier(pack, threads=1, marks="gate")
    for model, spans in ((Classifier(pack, threads=1), []), (every, [[13, 18]])):
        for each in (model, pickle.loads(pickle.dumps(model))):
            assert each.to_dicts(texts)[0]["toxic_spans"] == spans
    with pytest.raises(ValueError, match="marks must be 'flagged' or 'gate', not 'all'"):
        Classifier(pack, marks="all")  # type: ignore[arg-type]


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_value_fails_in_its_place(classifier: Classifier, column: Any) -> None:
    before, missing, after = classifier.classify(column(["so good!", None, "never again"]))
    assert isinstance(missing, Failure)
    assert (missing.stage, missing.reason) == ("classify", "text_not_string")
    assert [before, after] == classifier.classify(["so good!", "never again"])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "text_not_string"),
        (float("nan"), "text_not_string"),
        (np.nan, "text_not_string"),
        (pd.NA, "text_not_string"),
        (pd.NaT, "text_not_string"),
        (5, "text_not_string"),
        (b"so good!", "text_not_string"),
        ("", "text_empty"),
        (" \t\n", "text_empty"),
        ("\u200b\u00a0", "text_empty"),
        (np.str_(""), "text_empty"),
    ],
)
def test_what_holds_no_text_gives_a_failure(classifier: Classifier, value: object, reason: str) -> None:
    before, failure, after = classifier.classify(["so good!", value, "never again"])
    assert isinstance(failure, Failure)
    assert failure.reason == reason
    assert [before, after] == classifier.classify(["so good!", "never again"])


@pytest.mark.parametrize(
    "value", ["so good!", b"so good!", np.str_("so good!"), None, pd.DataFrame({"text": TEXTS}), {"a": 1}]
)
@pytest.mark.parametrize("method", ["classify", "to_dicts", "predict_frame"])
def test_what_is_no_column_is_refused(classifier: Classifier, method: str, value: Any) -> None:
    with pytest.raises(TypeError, match="classify takes"):
        getattr(classifier, method)(value)


def wire(classifier: Classifier, text: str) -> dict[str, Any]:
    """What a worker with this pack writes about a text, without what it takes from the record."""
    pack = classifier.packs[0]
    encoder = OutputEncoder(
        pack.outputs, model=f"{pack.name}@{pack.revision}", topic="moods", include_text=False
    )
    (answer,) = classifier.classify([text])
    assert isinstance(answer, Prediction)
    record = Record("posts", 0, 0, 0, None, text.encode())
    value = encoder.encode(record, Message(text, "posts:0:0", 0), answer, 0).value
    of_record = ("event_id", "event_time_ms", "processed_time_ms")
    assert value is not None
    return {
        name: field
        for name, field in orjson.loads(value).items()
        if name not in of_record and not name.startswith("source_")
    }


def test_dicts_have_the_names_and_values_of_the_wire(classifier: Classifier) -> None:
    texts = [*TEXTS, "you absolute idiot, shut up"]
    dicts = classifier.to_dicts(texts)
    assert json.loads(json.dumps(dicts)) == [wire(classifier, text) for text in texts]
    (failed,) = classifier.to_dicts([""])
    assert failed == {
        "failure_reason": "text_empty",
        "failure_message": "the text is blank: nothing in it is visible",
    }


FOREIGN = "non mi piace per niente, che brutta giornata"


def test_each_text_gets_its_language_and_what_is_not_read_is_marked(classifier: Classifier) -> None:
    texts = ["what a lovely day, I love it", FOREIGN, None, "😍", "", "احس جستن بيبر ريحته صنان"]
    found = [
        None if isinstance(each, Failure) else (each.lang, each.supported)
        for each in classifier.classify(texts)
    ]
    assert found == [("en", True), ("it", False), None, ("und", True), None, ("und", False)]
    frame = classifier.predict_frame(pd.Series(texts))
    assert (
        frame["lang"].isna().tolist()
        == frame["supported"].isna().tolist()
        == [*(False, False, True, False, True, False)]
    )
    assert frame["supported"].dropna().tolist() == [True, False, True, False]


def test_detection_can_be_switched_off() -> None:
    plain = Classifier("compact-fast", threads=1, detect_language=False)
    (found,) = plain.classify([FOREIGN])
    assert isinstance(found, Prediction)
    assert (found.lang, found.supported) == (None, True)
    assert "lang" not in plain.to_dicts([FOREIGN])[0]
    (again,) = pickle.loads(pickle.dumps(plain)).classify([FOREIGN])
    assert again == found


def test_a_pack_that_does_not_say_what_it_reads_marks_nothing(tmp_path: Path) -> None:
    pack = tmp_path / "silent"
    shutil.copytree(BUNDLED, pack)
    with_config(pack, lambda config: config.pop("languages"))
    (found,) = Classifier(pack, threads=1).classify([FOREIGN])
    assert isinstance(found, Prediction)
    assert (found.lang, found.supported) == ("it", True)


def test_several_packs_support_what_all_of_them_read(tmp_path: Path) -> None:
    pack = tmp_path / "both"
    shutil.copytree(BUNDLED, pack)
    with_config(pack, lambda config: config.update(languages=["en", "it"]))
    assert [each.supported for each in _predictions(Classifier(pack, threads=1))] == [True, True]
    assert [each.supported for each in _predictions(Classifier([pack, BUNDLED], threads=1))] == [False, True]


def _predictions(classifier: Classifier) -> list[Prediction]:
    return [each for each in classifier.classify([FOREIGN, "so good"]) if isinstance(each, Prediction)]


def test_a_missing_identifier_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.model.identifier._Model.load", _missing)
    with pytest.raises(LanguageError, match="not installed"):
        Classifier("compact-fast")


def _missing() -> None:
    raise LanguageError("py3langid is not installed")


def test_a_frame_has_the_columns_of_the_wire(classifier: Classifier) -> None:
    names = [*wire(classifier, "so good!"), "failure_reason", "failure_message"]
    assert list(classifier.columns) == names
    columns: list[Any] = [TEXTS, pl.Series(TEXTS), pa.array(TEXTS)]
    for column in columns:
        frame = classifier.predict_frame(column)
        assert list(getattr(frame, "column_names", frame.columns)) == names


def test_a_pandas_frame_keeps_the_index_and_its_types(classifier: Classifier) -> None:
    texts = pd.Series(["so good!", None, ""], index=["a", "b", "c"])
    frame = classifier.predict_frame(texts)
    assert list(frame.index) == ["a", "b", "c"]
    assert frame["sentiment_label"].isna().tolist() == [False, True, True]
    assert frame["failure_reason"].tolist()[1:] == ["text_not_string", "text_empty"]
    sound = classifier.predict_frame(pd.Series(TEXTS))
    assert sound.dtypes.to_dict() == frame.dtypes.to_dict()
    assert sound["token_count"].tolist() == [row["token_count"] for row in classifier.to_dicts(TEXTS)]
    joined = texts.to_frame("text").join(frame)
    assert joined.loc["a", "sentiment_label"] == "positive"


@pytest.mark.parametrize("column", [pl.Series, pa.array])
def test_other_frames_have_the_same_types_whatever_fails(classifier: Classifier, column: Any) -> None:
    sound, mixed, none = (
        classifier.predict_frame(column(texts)) for texts in (TEXTS, ["so good!", None], [None])
    )
    assert sound.schema == mixed.schema == none.schema
    rows = mixed.to_dicts() if isinstance(mixed, pl.DataFrame) else mixed.to_pylist()
    first, second = classifier.to_dicts(["so good!", None])
    assert {name: value for name, value in rows[0].items() if value is not None} == first
    assert {name: value for name, value in rows[1].items() if value is not None} == second


def test_no_texts_give_an_empty_frame(classifier: Classifier) -> None:
    empty: list[Any] = [[], pl.Series([], dtype=pl.String), pa.array([], pa.string())]
    for column in empty:
        assert len(classifier.predict_frame(column)) == 0


def test_the_async_form_gives_the_same_and_leaves_the_loop_free(classifier: Classifier) -> None:
    async def both() -> tuple[list[Any], int]:
        turns = 0
        task = asyncio.create_task(classifier.classify_async(TEXTS * 100))
        while not task.done():
            await asyncio.sleep(0.005)
            turns += 1
        return await task, turns

    answers, turns = asyncio.run(both())
    assert answers == classifier.classify(TEXTS * 100)
    assert turns > 1


def test_several_threads_may_label_at_the_same_time(classifier: Classifier) -> None:
    expected = classifier.classify(TEXTS * 20)
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(classifier.classify(TEXTS * 20))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 6


def labels(classifier: Classifier, texts: list[str]) -> tuple[int, int, list[Any]]:
    """What a process of a pool does: its id, that of its classifier, and the answers."""
    return os.getpid(), id(classifier), classifier.classify(texts)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of a fork beside threads
def test_processes_of_a_pool_load_it_once_each(classifier: Classifier, method: str) -> None:
    expected = classifier.classify(TEXTS)
    with multiprocessing.get_context(method).Pool(2) as pool:
        asked = [pool.apply_async(labels, (classifier, TEXTS)) for _ in range(12)]
        found = [answer.get(timeout=120) for answer in asked]
    assert all(answers == expected for _, _, answers in found)
    loaded = {(process, place) for process, place, _ in found}
    assert len(loaded) == len({process for process, _ in loaded})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_that_is_forked_while_other_threads_label_goes_on(classifier: Classifier) -> None:
    expected = classifier.classify(TEXTS)
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            classifier.classify(TEXTS * 8)

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    context = multiprocessing.get_context("fork")
    try:
        for _ in range(20):
            queue: Any = context.Queue()
            child = context.Process(target=lambda q=queue: q.put(classifier.classify(TEXTS)))
            child.start()
            assert queue.get(timeout=60) == expected
            child.join(60)
            assert child.exitcode == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_fork_prints_nothing() -> None:
    code = (
        "import os, sys; from moodstream import Classifier\n"
        "classifier = Classifier('compact-fast'); classifier.classify(['so good!'] * 50)\n"
        "child = os.fork()\n"
        "classifier.classify(['so good!'] * 50)\n"
        "if child: assert os.waitpid(child, 0)[1] == 0; assert 'TOKENIZERS_PARALLELISM' not in os.environ\n"
        "os._exit(0)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("long_text", ["truncate", "head_tail", "windows"])
def test_long_texts_are_read_as_a_message_is(long_text: LongText) -> None:
    texts = ["so good! " * 180, "never again"]
    classifier = Classifier("compact-fast", threads=1, long_text=long_text)
    found = Settings.model_validate({"model": {"path": "compact-fast", "long_text": long_text, "threads": 1}})
    router = PackRouter.load(found, topic="moods", include_text=False)
    labelled = router.label([Message(text, str(number), 0) for number, text in enumerate(texts)])
    answers = classifier.classify(texts)
    assert [each.answer for each in labelled] == answers
    assert pickle.loads(pickle.dumps(classifier)).classify(texts) == answers
    counts = [(row["token_count"], row["truncated"]) for row in classifier.to_dicts(texts)]
    assert counts == [(512, True) if long_text == "truncate" else (542, False), (4, False)]


def test_an_unknown_way_to_read_long_texts_is_refused() -> None:
    with pytest.raises(ValueError, match="long_text is one of truncate, head_tail, windows, not 'tail'"):
        Classifier("compact-fast", long_text="tail")  # type: ignore[arg-type]


def test_a_text_of_which_nothing_is_left_is_not_called_neutral(classifier: Classifier) -> None:
    """The packs read HTML as its text: tags and comments alone are none."""
    empty = ["<br>", "<p></p>", "<img src=x alt=nice>", "<!-- so good -->", "<div><br/></div> <hr>"]
    read = ["<b>ok</b>", "<3", "a<b", "\N{GRINNING FACE}", "?", "<username>"]
    results = classifier.classify([*empty, *read])
    for failure in results[: len(empty)]:
        assert isinstance(failure, Failure)
        assert (failure.stage, failure.reason) == ("classify", "text_empty")
        assert "nothing is left of the text" in failure.message
    assert all(isinstance(result, Prediction) for result in results[len(empty) :])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": 5}, "path must be a folder, the name of a pack, or a list of these, not 5"),
        ({"path": b"compact"}, "path must be a folder, .* not b'compact'"),
        ({"path": ["compact", None]}, "path must be a list of folders or names of packs, not None"),
        ({"threads": "2"}, "threads must be a whole number, not '2'"),
        ({"threads": 1.5}, "threads must be a whole number, not 1.5"),
        ({"threads": True}, "threads must be a whole number, not True"),
        ({"batch": 5}, "batch must be BatchSettings or None, not 5"),
        ({"detect_language": "false"}, "detect_language must be True or False, not 'false'"),
    ],
)
def test_arguments_of_another_type_are_refused_at_once(arguments: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Classifier(**arguments)


def test_arguments_that_make_no_sense_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="threads must be 0 or more, not -1"):
        Classifier(threads=-1)
    with pytest.raises(ValueError, match="path is empty"):
        Classifier("")


def test_pickles_are_small_and_name_the_public_package(classifier: Classifier) -> None:
    pickled = pickle.dumps(classifier)
    assert len(pickled) < 1_000
    assert pickle.loads(pickled).classify(TEXTS) == classifier.classify(TEXTS)
    assert pickle.loads(pickled) is pickle.loads(pickled)
    answers = pickle.dumps(classifier.classify([*TEXTS, None]))
    assert pickle.loads(answers) == classifier.classify([*TEXTS, None])
    assert b"worker." not in pickle.dumps(classifier.classify(TEXTS))
    assert {kind.__module__ for kind in (Classifier, Failure, HeadResult, Prediction, SpanResult)} == {
        "moodstream"
    }


def test_a_pack_that_has_changed_since_is_not_taken_for_the_pickled_one(tmp_path: Path) -> None:
    own = Path(shutil.copytree(BUNDLED, tmp_path / "pack"))
    pickled = pickle.dumps(Classifier(own, threads=1))
    (own / "MODEL_CARD.md").write_text("# Another\n")
    vouch(own)
    with pytest.raises(PackError, match="when it was pickled"):
        pickle.loads(pickled)


def test_several_packs_label_side_by_side() -> None:
    packs: list[Path | str] = ["compact", BUNDLED]
    several = Classifier(packs, threads=2)
    assert [pack.name for pack in several.packs] == ["compact", "compact-fast"]
    first, second = (Classifier(pack, threads=2).to_dicts(TEXTS) for pack in packs)
    rows = several.to_dicts(TEXTS)
    assert [row["compact_sentiment_label"] for row in rows] == [row["sentiment_label"] for row in first]
    for row, fast in zip(rows, second, strict=True):
        for name, value in fast.items():
            if name.startswith(("sentiment_", "emotion_", "toxicity_")):
                assert row[f"compact_fast_{name}"] == value
    assert set(rows[0]) < set(several.columns)
    assert several.predict_frame(pd.Series(TEXTS))["model"][0] == rows[0]["model"]
    assert pickle.loads(pickle.dumps(several)).classify(TEXTS) == several.classify(TEXTS)
    with pytest.raises(PackError, match="twice"):
        Classifier(["compact", "compact"])
