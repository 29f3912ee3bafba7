"""The readers on small files in each set's format, with made-up texts."""

import gzip
import json
import re
import tomllib
from pathlib import Path

import pytest

from worker.errors import TrainingError
from worker.lab.data import sets as data
from worker.lab.data import tweet_labels
from worker.lab.data.tweet_labels import digest_of

NEGATIVE, NEUTRAL, POSITIVE = 0, 1, 2
PHRASES = Path(data.__file__).with_name("phrases.toml")


def _write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def test_sst2_reads_both_headers_and_both_line_ends(tmp_path: Path) -> None:
    _write(tmp_path, "sst2/train.tsv", "label\tsentence\r\n1\ta warm little film \r\n0\tdull\r\n")
    _write(tmp_path, "sst2/dev.tsv", "content\tlabel\nnever again\t0\n")
    train, dev = data.load("sst2", "train", tmp_path), data.load("sst2", "dev", tmp_path)
    assert (train.texts, train.labels) == (["a warm little film", "dull"], [(POSITIVE,), (NEGATIVE,)])
    assert (dev.texts, dev.labels, dev.binary) == (["never again"], [(NEGATIVE,)], True)


def test_texts_of_dev_are_left_out_of_train(tmp_path: Path) -> None:
    _write(tmp_path, "sst2/train.tsv", "label\tsentence\n1\tIt works , really !\n0\tit broke\n1\t:-)\n")
    _write(tmp_path, "sst2/dev.tsv", "label\tsentence\n1\tit works, really\n0\t:-(\n")
    assert data.load("sst2", "train", tmp_path).texts == ["it broke", ":-)"]
    assert len(data.load("sst2", "dev", tmp_path)) == 2


def _comments(root: Path, name: str, *texts: str) -> None:
    _write(root, f"goemotions/{name}.tsv", "".join(f"{text}\t17\tx\n" for text in texts))


def _tweets(root: Path, part: str, *texts: str) -> None:
    _write(root, f"tweeteval/offensive/{part}_text.txt", "".join(f"{text}\n" for text in texts))
    _write(root, f"tweeteval/offensive/{part}_labels.txt", "1\n" * len(texts))


def test_what_one_set_holds_out_no_set_trains_on(tmp_path: Path) -> None:
    """Whatever its head, if it is a public dev split: one label gives another away."""
    _comments(tmp_path, "train", "good day", "see you", "what a goal", "\N{FIRE}")
    _comments(tmp_path, "dev", "what a goal!")
    _write(tmp_path, "sst2/train.tsv", "label\tsentence\n1\tWhat a Goal\n1\tgood day\n")
    _write(tmp_path, "sst2/dev.tsv", "label\tsentence\n1\tsee you .\n1\t\N{FIRE}\n")
    assert data.load("goemotions", "train", tmp_path).texts == ["good day", "\N{FIRE}"]
    assert data.load("sst2", "train", tmp_path).texts == ["good day"]
    assert data.load("goemotions_calm", "train", tmp_path).texts == ["good day", "\N{FIRE}"]


def test_held_out_labels_of_our_own_are_kept_from_their_head_alone(tmp_path: Path) -> None:
    texts = [f"tweet number {number}" for number in range(60)]
    held_out = {text for text in texts if int(digest_of(text), 16) % 5 == 0}
    lines = (f"{digest_of(text)}\tneutral\tneutral\ttoxic\n" for text in texts)
    _write(tmp_path, "tweet_labels.tsv", "".join(lines))
    _tweets(tmp_path, "train", *texts)
    _tweets(tmp_path, "val", "another")
    _comments(tmp_path, "train", *texts)
    _comments(tmp_path, "dev", "another one")
    assert 0 < len(held_out) < 30
    # The same head: its own split of these comments, and all of them as calm or offensive.
    for name in ("comments_toxicity", "goemotions_calm", "offensive"):
        assert set(data.load(name, "train", tmp_path).texts) == set(texts) - held_out
    # Emotions are those of GoEmotions' readers, of every comment.
    assert set(data.load("goemotions", "train", tmp_path).texts) == set(texts)
    # Files are read again when they change.
    _write(tmp_path, "tweet_labels.tsv", "00ff\tneutral\tneutral\ttoxic\n")
    tweet_labels.read_labels.cache_clear()
    assert set(data.load("goemotions_calm", "train", tmp_path).texts) == set(texts)


def test_tweets_lose_their_escapes_and_keep_three_classes(tmp_path: Path) -> None:
    rows = (
        "id\tlabel\tsource\ttext\n1\t2\ta\tSo good\\u002c isn\\u2019t it \\ud83d\\ude00\n2\t1\ta\ton Monday\n"
    )
    _write(tmp_path, "tweeteval/sentiment/train_reconstructed.tsv", rows)
    _write(tmp_path, "tweeteval/sentiment/val_text.txt", 'he said \\""no\\"" twice \nfine\u2028by me\n')
    _write(tmp_path, "tweeteval/sentiment/val_labels.txt", "0\n2\n")
    train = data.load("tweeteval_sentiment", "train", tmp_path)
    dev = data.load("tweeteval_sentiment", "dev", tmp_path)
    assert train.texts == ["So good, isn\u2019t it \N{GRINNING FACE}", "on Monday"]
    assert (train.labels, train.binary) == ([(POSITIVE,), (NEUTRAL,)], False)
    assert dev.texts == ['he said "no" twice', "fine\u2028by me"]


def test_goemotions_keeps_every_label_and_quotes(tmp_path: Path) -> None:
    _write(tmp_path, "goemotions/train.tsv", '"Quoted" start\t17,0\tx1\nplain\t27\tx2\n')
    _write(tmp_path, "goemotions/dev.tsv", "other\t2\tx3\n")
    train = data.load("goemotions", "train", tmp_path)
    assert (train.head, train.texts, train.labels) == (
        "emotion",
        ['"Quoted" start', "plain"],
        [(0, 17), (27,)],
    )


def test_reviews_span_lines_and_imdb_loses_its_markup(tmp_path: Path) -> None:
    for domain in ("airline", "books", "dvd", "electronics", "kitchen"):
        text = f'sentence\tlabel\r\nkept for dev {domain}\t0\r\n"{domain} ""ok""\nsecond line"\t1\r\n'
        _write(tmp_path, f"reviews_multidomain/{domain}_train.tsv", text)
    reviews = data.load("reviews", "train", tmp_path)
    assert len(reviews) == 5
    assert data.load("reviews_dvd", "dev", tmp_path).texts == ["kept for dev dvd"]  # every tenth of a file
    assert reviews.texts[0] == 'airline "ok"\nsecond line'
    (tmp_path / "imdb").mkdir()
    for name in ("train", "val"):
        rows = [{"label": n % 2, "text": f"{name} {n}<br /><br />end"} for n in range(4)]
        with gzip.open(tmp_path / f"imdb/{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))
    imdb = data.load("imdb", "train", tmp_path, rows=3)
    assert imdb.texts == ["train 0\nend", "train 1\nend", "train 2\nend"]


@pytest.mark.parametrize(
    ("name", "file", "text", "expected"),
    [
        ("sst2", "sst2/dev.tsv", "label\tsentence\n2\tx\n", "line 2: label must be 0 or 1, not '2'"),
        ("sst2", "sst2/dev.tsv", "label\tsentence\n1\n", "line 2: expected 2 columns, found 1"),
        ("sst2", "sst2/dev.tsv", "a\tb\n1\tx\n", "line 1: expected a column named label"),
        ("sst2", "sst2/dev.tsv", "label\tsentence\n", "sst2: no rows in its dev split"),
        ("goemotions", "goemotions/dev.tsv", "x\t28\ty\n", "line 1: label numbers go from 0 to 27"),
        ("goemotions", "goemotions/dev.tsv", "x\tjoy\ty\n", "line 1: labels must be whole numbers"),
    ],
)
def test_a_row_without_sense_is_named(tmp_path: Path, name: str, file: str, text: str, expected: str) -> None:
    _write(tmp_path, file, text)
    with pytest.raises(TrainingError) as caught:
        data.load(name, "dev", tmp_path)
    assert expected in str(caught.value)


def test_texts_and_labels_of_unlike_length_are_refused(tmp_path: Path) -> None:
    _write(tmp_path, "tweeteval/sentiment/val_text.txt", "a\nb\n")
    _write(tmp_path, "tweeteval/sentiment/val_labels.txt", "0\n")
    with pytest.raises(TrainingError, match=r"2 lines, .* has 1"):
        data.load("tweeteval_sentiment", "dev", tmp_path)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match=r"data set sst2: no file .*dev\.tsv"):
        data.load("sst2", "dev", tmp_path)
    with pytest.raises(TrainingError, match="unknown data set 'sst3': there is sst2"):
        data.load("sst3", "dev", tmp_path)
    with pytest.raises(TrainingError, match="imdb_sentences has no dev split"):
        data.load("imdb_sentences", "dev", tmp_path)
    monkeypatch.setenv("MOODSTREAM_DATA", str(tmp_path / "absent"))
    with pytest.raises(TrainingError, match=r"no data folder .*absent: name it with --data"):
        data.data_root(None)
    assert data.data_root(str(tmp_path)) == tmp_path


def test_the_data_folder_is_beside_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for `make`, which is run in the repository."""
    repository = Path(__file__).parents[4]
    (given,) = re.findall(
        r"^DATA \?= (.*)$", (repository / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    monkeypatch.delenv("MOODSTREAM_DATA", raising=False)
    monkeypatch.setattr(Path, "is_dir", lambda _path: True)
    assert data.data_root(None) == (repository / given).resolve()


def test_toxic_spans_are_places_and_make_a_post_toxic(tmp_path: Path) -> None:
    _write(
        tmp_path, "toxic_spans/tsd_train.csv", 'spans,text\n"[4, 5, 6]","you mug, hm"\n[],"fine, thanks"\n'
    )
    _write(tmp_path, "toxic_spans/tsd_trial.csv", 'spans,text\n"[0]",x y\n')
    spans = data.load("toxic_spans", "train", tmp_path)
    assert (spans.texts, spans.labels) == (["you mug, hm", "fine, thanks"], [(4, 5, 6), ()])
    posts = data.load("toxic_posts", "train", tmp_path)
    assert (posts.head, posts.texts, posts.labels) == ("toxicity", ["you mug, hm"], [(1,)])


@pytest.mark.parametrize("row", ['"[4, 50]",you mug', '"4, 5",', '"[x]",you mug'])
def test_a_span_that_makes_no_sense_is_named_by_its_line(tmp_path: Path, row: str) -> None:
    _write(tmp_path, "toxic_spans/tsd_train.csv", f"spans,text\n[],ok\n{row}\n")
    _write(tmp_path, "toxic_spans/tsd_trial.csv", "spans,text\n[],other\n")
    with pytest.raises(TrainingError, match=r"tsd_train\.csv, line 3"):
        data.load("toxic_spans", "train", tmp_path)


def test_offensive_tweets_calm_comments_sentences_and_six_emotions(tmp_path: Path) -> None:
    for split in ("train", "val"):
        _write(tmp_path, f"tweeteval/offensive/{split}_text.txt", f"{split} you lot\nhello {split}\n")
        _write(tmp_path, f"tweeteval/offensive/{split}_labels.txt", "1\n0\n")
        head = "text;label_name\n" if split == "val" else ""  # as some copies have it
        _write(tmp_path, f"emotion/{split}.txt", f"{head}i feel {split} calm;joy\na; b;fear\n")
    assert data.load("offensive", "train", tmp_path).labels == [(1,), (0,)]
    six = data.load("six_emotions", "train", tmp_path)
    assert (six.texts, six.labels) == (["i feel train calm"], [(1,)])  # the other is also in dev
    _write(tmp_path, "goemotions/train.tsv", "kind\t17\tx\nplain\t27\tx\nfurious\t2,17\tx\n")
    assert data.load("goemotions_calm", "train", tmp_path).texts == ["kind", "plain"]
    (tmp_path / "imdb").mkdir()
    review = {"label": 1, "text": "It was a fine film. Yes. I would see it again!<br />Go now, all of you."}
    with gzip.open(tmp_path / "imdb/train.jsonl.gz", "wt") as file:
        file.write(json.dumps(review))
    with gzip.open(tmp_path / "imdb/val.jsonl.gz", "wt") as file:
        file.write(json.dumps({"label": 0, "text": "Another one."}))
    films = data.load("imdb_calm", "train", tmp_path)
    assert (films.head, films.labels) == ("toxicity", [(0,)])
    sentences = data.load("imdb_sentences", "train", tmp_path)
    assert sentences.texts == ["It was a fine film.", "I would see it again!", "Go now, all of you."]
    assert sentences.labels == [()] * 3


def test_rows_of_our_own_need_no_files_and_are_always_the_same(tmp_path: Path) -> None:
    heads = {"sentiment": "sentiment", "toxicity": "toxicity", "spans": "toxic_spans", "emotion": "emotion"}
    for name, head in heads.items():
        rows = data.load(f"written_{name}", "train", tmp_path)
        assert (rows.head, len(rows) > 500) == (head, True)
        assert data.load(f"written_{name}", "train", tmp_path) == rows
        assert not [text for text in rows.texts if "{" in text]


def test_written_spans_mark_insults_and_neither_people_nor_harsh_words_about_things(tmp_path: Path) -> None:
    rows = data.load("written_spans", "train", tmp_path)
    every = list(zip(rows.texts, rows.labels, strict=True))
    marked = {text: "".join(text[place] for place in places) for text, places in every if places}
    insults = tomllib.loads(PHRASES.read_text(encoding="utf-8"))["parts"]["insults"]
    assert set(marked.values()) == set(insults)
    plain = [text for text, places in every if not places]
    assert len(plain) > len(marked)
    assert not [text for text in plain for insult in insults if insult in text]
    assert any("awful" in text or "terrible" in text for text in plain)
    assert any(text.startswith("we are ") for text in plain)


def test_reviews_count_as_not_toxic_without_those_that_judge_sentiment(tmp_path: Path) -> None:
    for name in ("airline", "books", "dvd", "electronics", "kitchen"):
        rows = "".join(f"{name} row {n}\t0\n" for n in range(20))
        _write(tmp_path, f"reviews_multidomain/{name}_train.tsv", "sentence\tlabel\n" + rows)
    calm, judged = (data.load(name, "train", tmp_path) for name in ("reviews_calm", "reviews"))
    assert (calm.head, set(calm.labels), calm.texts) == ("toxicity", {(0,)}, judged.texts)
    assert len(calm.texts) == 90


def test_groups_that_ought_to_get_one_answer_come_whole(tmp_path: Path) -> None:
    swaps = data.load("written_swaps", "train", tmp_path)
    assert swaps.group_size > 1
    assert len(swaps) % swaps.group_size == 0
    assert len(data.load("written_swaps", "train", tmp_path, rows=swaps.group_size + 3)) == swaps.group_size
    assert len(data.load("written_swaps", "train", tmp_path, rows=2)) == swaps.group_size
    first = [set(text.split()) for text in swaps.texts[: swaps.group_size]]
    assert len(set.intersection(*first)) == min(map(len, first)) - 1  # one word is swapped, the rest stays


def test_a_sentence_leads_its_own_misspellings(tmp_path: Path) -> None:
    slips = data.load("written_slips", "train", tmp_path)
    assert slips.first_leads
    plain, *mistyped = slips.texts[: slips.group_size]
    assert plain not in mistyped
    assert all(abs(len(text) - len(plain)) <= len(plain.split()) for text in mistyped)
