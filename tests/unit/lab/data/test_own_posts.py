"""The posts of our own: every line is valid, and the held-out fifth stays apart and stays put."""

import json
from pathlib import Path

import pytest

from worker.errors import TrainingError
from worker.lab.data import own_posts
from worker.lab.data.labels import EMOTION, SENTIMENT, TOXIC
from worker.lab.data.sets import load

GOOD = {"text": "came back for a third", "sentiment": "positive", "emotions": ["joy"], "toxic": False}


def _write(folder: Path, rows: list[dict[str, object]], family: str = "facts") -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{family}.jsonl").write_text(lines, encoding="utf-8")


def test_about_a_fifth_of_each_family_is_held_out() -> None:
    held: dict[str, list[bool]] = {}
    for post in own_posts.read_posts():
        held.setdefault(post.family, []).append(post.held_out)
    assert len(held) >= 15
    shares = {family: sum(flags) / len(flags) for family, flags in held.items()}
    assert {family: share for family, share in shares.items() if not 0.08 < share < 0.35} == {}


def test_rows_of_a_pair_are_on_the_same_side(tmp_path: Path) -> None:
    _write(tmp_path, [{**GOOD, "text": f"row {n}", "pair": f"p-{n // 2}"} for n in range(200)])
    posts = list(own_posts.read_posts(tmp_path))
    assert all(posts[n].held_out == posts[n + 1].held_out for n in range(0, 200, 2))
    assert 20 < sum(post.held_out for post in posts) < 60


def test_more_rows_move_none_to_the_other_side(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{**GOOD, "text": f"row {n}"} for n in range(100)]
    _write(tmp_path, rows[50:])
    before = {post.text: post.held_out for post in own_posts.read_posts(tmp_path)}
    _write(tmp_path, rows)
    after = {post.text: post.held_out for post in own_posts.read_posts(tmp_path)}
    assert before.items() <= after.items()


@pytest.mark.parametrize("head", own_posts.TRAINS)
def test_both_splits_together_are_all_posts(head: str, tmp_path: Path) -> None:
    train, dev = (load(f"posts_{head}", split, tmp_path) for split in ("train", "dev"))
    assert not set(train.texts) & set(dev.texts)
    posts = list(own_posts.read_posts())
    if head == "emotion":
        posts = [post for post in posts if post.emotions]
    if head == "toxic_spans":
        posts = [post for post in posts if post.marked is not None]
    assert len(train) + len(dev) == len(posts)


def test_the_labels_are_those_of_the_heads(tmp_path: Path) -> None:
    toxic = {
        **GOOD,
        "text": "you absolute walnut",
        "toxic": True,
        "spans": ["walnut"],
        "emotions": ["anger", "joy"],
    }
    _write(tmp_path, [toxic])
    given = {
        head: [row for split in ("train", "dev") for row in own_posts.rows(head, split, tmp_path)]
        for head in own_posts.TRAINS
    }
    text = "you absolute walnut"
    emotions = tuple(sorted(EMOTION.labels.index(name) for name in ("anger", "joy")))
    assert given == {
        "sentiment": [(text, (SENTIMENT.labels.index("positive"),))],
        "emotion": [(text, emotions)],
        "toxicity": [(text, (TOXIC,))],
        "toxic_spans": [(text, tuple(range(13, 19)))],
    }


@pytest.mark.parametrize(
    ("change", "left_out"), [({"emotions": []}, "emotion"), ({"toxic": True, "spans": None}, "toxic_spans")]
)
def test_a_post_trains_no_head_that_it_says_nothing_about(
    change: dict[str, object], left_out: str, tmp_path: Path
) -> None:
    _write(tmp_path, [{**GOOD, **change}])
    given = {
        head: [row for split in ("train", "dev") for row in own_posts.rows(head, split, tmp_path)]
        for head in own_posts.TRAINS
    }
    assert {head: len(rows) for head, rows in given.items()} == {
        head: int(head != left_out) for head in own_posts.TRAINS
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text": " "}, "no text"),
        ({"sentiment": "good"}, "no sentiment 'good'"),
        ({"emotions": [""]}, "no emotion ''"),
        ({"emotions": ["envy"]}, "no emotion 'envy'"),
        ({"spans": ["fourth"]}, "'fourth' is not in the text"),
    ],
)
def test_a_bad_post_is_named_with_its_line(change: dict[str, object], says: str, tmp_path: Path) -> None:
    _write(tmp_path, [GOOD, {**GOOD, **change}])
    with pytest.raises(TrainingError, match=f"line 2: not a valid post: {says}"):
        list(own_posts.read_posts(tmp_path))
