"""Predictions of a loaded pack, from one thread and from several."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from worker.classify import InferenceError, Model, Tokens
from worker.classify.session import cgroup_quota


def test_predictions_come_in_the_order_of_the_batch(tiny_model: Model) -> None:
    texts = ["great", "the train was late and the phone is broken", "it is a film"]
    rows = tiny_model.tokenize(texts)
    forward, backward = tiny_model.predict(rows), tiny_model.predict(rows[::-1])
    assert forward == backward[::-1]
    assert [prediction.token_count for prediction in forward] == [len(row.ids) for row in rows]


def test_an_empty_batch_gives_nothing(tiny_model: Model) -> None:
    assert tiny_model.predict([]) == []


@pytest.mark.parametrize("ids", [[], [2, 10_000, 3], [2] * 100])
def test_a_batch_that_cannot_be_run_is_a_typed_error(tiny_model: Model, ids: list[int]) -> None:
    with pytest.raises(InferenceError) as caught:
        tiny_model.predict([Tokens(ids, truncated=False), *tiny_model.tokenize(["great"])])
    assert "\n" not in str(caught.value)


def test_several_threads_may_predict_at_once(tiny_model: Model) -> None:
    batches = [
        tiny_model.tokenize([f"the film {word}" * (n % 5 + 1) for n in range(9)]) for word in "abcdefgh"
    ]
    expected = [tiny_model.predict(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(tiny_model.predict, batches * 5)) == expected * 5


def test_threads_are_as_asked_or_at_least_one(tiny_pack: Path) -> None:
    assert Model.load(tiny_pack, threads=3).threads == 3
    assert Model.load(tiny_pack).threads >= 1


def group(root: Path, name: str, **files: str) -> None:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / file.replace("__", ".")).write_text(content)


def test_the_smallest_cpu_quota_on_the_way_up_counts(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/pod/worker\n")
    group(tmp_path / "fs", "pod/worker", cpu__max="max 100000")
    group(tmp_path / "fs", "pod", cpu__max="150000 100000")
    group(tmp_path / "fs", ".", cpu__max="400000 100000")
    assert cgroup_quota(tmp_path / "fs", tmp_path / "membership") == 1.5


def test_the_older_form_of_a_cpu_quota_counts_too(tmp_path: Path) -> None:
    group(tmp_path / "fs", "cpu", cpu__cfs_quota_us="200000\n", cpu__cfs_period_us="100000\n")
    assert cgroup_quota(tmp_path / "fs", tmp_path / "none") == 2.0
    group(tmp_path / "fs", "cpu", cpu__cfs_quota_us="-1\n")
    assert cgroup_quota(tmp_path / "fs", tmp_path / "none") is None


def test_no_quota_is_none(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/\n")
    group(tmp_path, "fs", cpu__max="max 100000")
    assert cgroup_quota(tmp_path / "fs", tmp_path / "membership") is None
    group(tmp_path, "fs", cpu__max="nonsense")
    assert cgroup_quota(tmp_path / "fs", tmp_path / "membership") is None
