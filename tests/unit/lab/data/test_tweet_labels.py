"""Labels of our own for tweets of the public sets: found by digest, a fifth held out, bad lines named."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import TrainingError
from worker.lab.chain.rows import write_rows
from worker.lab.data.labels import EMOTION, SENTIMENT, TOXIC
from worker.lab.data.readers import text_key
from worker.lab.data.sets import SOURCES, held_out_from, load
from worker.lab.data.tweet_labels import FILE, digest_of, read_labels, rows

TWEET = "We're #1 again!! 🎉"


def _file(folder: Path, *lines: str) -> Path:
    path = folder / "labels.tsv"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _both(head: str, texts: list[str], path: Path) -> list[tuple[str, tuple[int, ...]]]:
    return [row for split in ("train", "dev") for row in rows(head, split, iter(texts), path)]


def test_the_file_that_ships_is_valid_and_a_fifth_is_held_out() -> None:
    known = read_labels()
    assert len(known) > 10_000
    held = sum(labels.held_out for labels in known.values()) / len(known)
    assert 0.17 < held < 0.23
    assert {labels.sentiment for labels in known.values()} == set(SENTIMENT.labels)
    assert {name for labels in known.values() for name in labels.emotions} == set(EMOTION.labels)


def test_a_tweet_is_found_by_its_letters_and_digits(tmp_path: Path) -> None:
    path = _file(tmp_path, f"{digest_of(TWEET)}\tpositive\tpride,joy\ttoxic")
    texts = ["we re 1 AGAIN", "We're #2 again!! 🎉", TWEET]
    emotions = tuple(sorted(EMOTION.labels.index(name) for name in ("joy", "pride")))
    assert _both("sentiment", texts, path) == [("we re 1 AGAIN", (SENTIMENT.labels.index("positive"),))]
    assert _both("emotion", texts, path) == [("we re 1 AGAIN", emotions)]
    assert _both("toxicity", texts, path) == [("we re 1 AGAIN", (TOXIC,))]


@given(st.lists(st.text(min_size=1), unique_by=digest_of, min_size=1, max_size=30), st.data())
def test_every_labelled_text_is_on_one_side(texts: list[str], data: st.DataObject) -> None:
    """And stays there, whichever other texts are labelled."""
    some = data.draw(st.lists(st.sampled_from(texts), unique=True))
    with tempfile.TemporaryDirectory() as folder:
        sides = []
        for number, labelled in enumerate((texts, some)):
            path = Path(folder) / f"{number}.tsv"
            lines = [f"{digest_of(text)}\tneutral\tneutral\tnot_toxic\n" for text in labelled]
            path.write_text("".join(lines), encoding="utf-8")
            sides.append(
                {
                    split: [text for text, _ in rows("emotion", split, iter(texts), path)]
                    for split in ("train", "dev")
                }
            )
    everything, part = sides
    assert sorted(everything["train"] + everything["dev"]) == sorted(texts)
    for split in ("train", "dev"):
        assert part[split] == [text for text in everything[split] if text in some]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("00ff\tpositive\tjoy", "expected 4 columns, found 3"),
        ("00ff\tgood\tjoy\ttoxic", "no sentiment 'good'"),
        ("00ff\tpositive\tjoy,envy\ttoxic", "no emotion 'envy'"),
        ("00ff\tpositive\t\ttoxic", "no emotion ''"),
        ("00ff\tpositive\tjoy\tyes", "toxic or not_toxic, not 'yes'"),
        ("a tweet\tpositive\tjoy\ttoxic", "no digest 'a tweet'"),
        ("", "expected 4 columns, found 1"),
    ],
)
def test_a_bad_line_is_named(line: str, says: str, tmp_path: Path) -> None:
    path = _file(tmp_path, "00ff\tpositive\tjoy\ttoxic", line)
    with pytest.raises(TrainingError, match=f"line 2: not valid labels: {says}"):
        read_labels(path)


def test_labels_in_the_data_folder_come_before_those_that_ship(tmp_path: Path) -> None:
    write_rows(tmp_path)
    train, dev = (load("tweets_emotion", split, tmp_path) for split in ("train", "dev"))
    assert len(train) > len(dev) > 0
    assert not set(train.texts) & set(dev.texts)


def _held_out_elsewhere(name: str, root: Path, texts: list[str]) -> set[str]:
    """The digests of the texts that another set holds out: made-up rows are short, so some are the same."""
    _own, *others = held_out_from(name, root)
    return {digest_of(text) for text in texts if any(text_key(text) in keys for keys in others)}


def test_the_sentiment_that_people_gave_a_tweet_is_kept(tmp_path: Path) -> None:
    """Tweets of TweetEval sentiment and to airlines learn our emotions and toxicity, not our sentiment."""
    write_rows(tmp_path)
    lines = (
        (tmp_path / "tweeteval/sentiment/train_reconstructed.tsv").read_text(encoding="utf-8").splitlines()
    )
    people = [line.split("\t")[3] for line in lines[1:]]
    with (tmp_path / "tweeteval/hate/train_text.txt").open("a", encoding="utf-8") as file:
        file.write(f"{people[0].upper()}\n{people[1]}!\n")  # these stand in another set too
    ours = (tmp_path / "tweeteval/hate/train_text.txt").read_text(encoding="utf-8").splitlines()
    ours = [text for text in ours if digest_of(text) not in set(map(digest_of, people))]
    labels = [f"{digest_of(text)}\tpositive\tjoy\tnot_toxic" for text in dict.fromkeys((*people, *ours))]
    _file(tmp_path, *dict.fromkeys(labels)).replace(tmp_path / FILE.name)
    read_labels.cache_clear()
    for head, theirs in (("sentiment", set()), ("emotion", set(people)), ("toxicity", set(people))):
        found = {text for split in ("train", "dev") for text in load(f"tweets_{head}", split, tmp_path).texts}
        elsewhere = _held_out_elsewhere(f"tweets_{head}", tmp_path, [*people, *ours])
        assert set(map(digest_of, found)) & set(map(digest_of, people)) <= set(map(digest_of, theirs))
        assert set(map(digest_of, found)) | elsewhere >= set(map(digest_of, [*theirs, *ours]))


def test_comments_keep_the_emotions_that_people_gave_them(tmp_path: Path) -> None:
    """Labelled comments learn sentiment and toxicity; those without a label of ours are left out."""
    write_rows(tmp_path)
    comments = (tmp_path / "goemotions/train.tsv").read_text(encoding="utf-8").splitlines()
    texts = list(dict.fromkeys(comment.split("\t")[0] for comment in comments))
    left_out = digest_of(texts[0])
    _file(
        tmp_path,
        *(f"{digest}\tnegative\tanger\ttoxic" for text in texts if (digest := digest_of(text)) != left_out),
    ).replace(tmp_path / FILE.name)
    read_labels.cache_clear()
    for head, label in (("sentiment", 0), ("toxicity", 1)):
        train, dev = (load(f"comments_{head}", split, tmp_path) for split in ("train", "dev"))
        assert set(train.labels) | set(dev.labels) == {(label,)}
        found = set(map(digest_of, (*train.texts, *dev.texts)))
        elsewhere = _held_out_elsewhere(f"comments_{head}", tmp_path, texts)
        assert (found | elsewhere) - {left_out} == set(map(digest_of, texts)) - {left_out}
        assert left_out not in found
    assert "comments_emotion" not in SOURCES
