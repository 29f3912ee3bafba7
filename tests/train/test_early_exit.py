"""The way out after an inner layer: who leaves has the early heads' logits, who stays the whole graph's."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import early_exit
from benchmarks.early_exit_heads import EXIT, agrees, early_scores, look, train
from tests.unit.convert.checkpoints import SIZES, TWO_HEADS, random_tensors, write_checkpoint
from worker.distill.folder import read_checkpoint

pytestmark = pytest.mark.train

CONFIG = {**SIZES, "heads": TWO_HEADS}
WORDS = ("the", "film", "train", "phone", "great", "lovely", "awful", "broken", "late", "happy")


def _texts(count: int) -> list[str]:
    rng = np.random.default_rng(count)
    return [" ".join(rng.choice(WORDS, rng.integers(2, 9))) for _ in range(count)]


def test_texts_leave_by_their_confidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_checkpoint(write_checkpoint(tmp_path / "whole", CONFIG, random_tensors(CONFIG)))
    seen = look(whole, _texts(600), 2)
    early = train(whole, seen, epochs=3)
    assert set(early.heads) == {*TWO_HEADS, EXIT}
    confidence = early.confidence(seen.inner)
    middle = float(np.median(confidence))
    monkeypatch.setattr(early_exit, "THRESHOLDS", (1e-6, middle, 1 - 1e-6))
    (tmp_path / "room").mkdir()
    runners = early_exit.build(whole, tmp_path / "room", early, 2)
    from worker.distill.texts import TextReader

    rows = [row.ids.tolist() for row in TextReader(whole)(_texts(24), 24)]
    plain, on = runners[1.0](rows)
    assert on == len(rows)
    all_left, none_on = runners[1e-6](rows)
    assert none_on == 0
    none_left, all_on = runners[1 - 1e-6](rows)
    assert all_on == len(rows)
    mixed, some_on = runners[middle](rows)
    assert 0 < some_on < len(rows)
    for name in TWO_HEADS:
        assert np.array_equal(none_left[name], plain[name])
        assert not np.array_equal(all_left[name], plain[name])
        from_early = np.all(mixed[name] == all_left[name], axis=1)
        from_whole = np.all(mixed[name] == plain[name], axis=1)
        assert (from_early | from_whole).all()
        assert from_whole.sum() == some_on


def test_early_heads_come_closer_to_the_model(tmp_path: Path) -> None:
    whole = read_checkpoint(write_checkpoint(tmp_path / "whole", CONFIG, random_tensors(CONFIG)))
    seen, apart = look(whole, _texts(1200), 2), look(whole, _texts(300), 2)
    little, more = (train(whole, seen, epochs=epochs) for epochs in (1, 30))
    shares = [
        float(agrees(whole.heads, early_scores(whole, each, apart.inner), apart.scores).mean())
        for each in (little, more)
    ]
    assert shares[1] > shares[0]
    same = agrees(whole.heads, early_scores(whole, more, apart.inner), apart.scores)
    confidence = more.confidence(apart.inner)
    assert confidence[same].mean() > confidence[~same].mean()


def test_the_verdict_wants_every_figure() -> None:
    def point(speed: float, one: float, two: float) -> dict[str, object]:
        return {"threshold": 0.9, "speed": speed, "figures": {"a": one, "b": two}}

    plain = point(1.0, 90, 50)
    assert "1.20 times as fast" in early_exit.verdict([plain, point(1.2, 89.8, 50.1), point(1.4, 89.0, 51)])
    assert "does not win" in early_exit.verdict([plain, point(0.95, 90, 50), point(1.4, 91, 49)])
