"""`moodstream label` reads rows as a worker reads messages: presets, filter, time, id, language, fields."""

import json
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from worker.messages.decode import Decoder
from worker.messages.fields import Fields
from worker.settings.groups import ModelSettings, Settings, SinkSettings, SourceSettings
from worker.stream.pipeline import Pipeline
from worker.stream.router import PackRouter
from worker.types import Failure, Filtered, Record, Tombstone

POSTS: dict[str, list[dict[str, Any]]] = {
    "mastodon": [
        {
            "id": "1",
            "uri": "https://a.example/1",
            "created_at": "2024-07-01T12:00:00.000Z",
            "language": "en",
            "content": "<p>I <b>love</b> it &amp; you</p><p>so much</p>",
            "reblog": None,
            "account": {"acct": "ann", "bot": False},
        },
        {"id": "2", "created_at": "2024-07-01T12:00:01.000Z", "content": "<p>never again</p>"},
        {
            "event": "update",
            "payload": json.dumps(
                {"id": "3", "content": "", "reblog": {"content": "<p>so good</p>", "language": "fr"}}
            ),
        },
        {"event": "delete", "payload": "3"},
        {"id": "4", "content": "<p></p>"},
    ],
    "bluesky": [
        {
            "did": "did:plc:abc",
            "time_us": 1719835200500000,
            "kind": "commit",
            "commit": {
                "operation": "create",
                "collection": "app.bsky.feed.post",
                "rkey": "3kw",
                "record": {"text": "The trains are so quiet!", "langs": ["en"], "createdAt": "2024-07-01"},
            },
        },
        {
            "did": "d",
            "kind": "commit",
            "commit": {"operation": "create", "collection": "app.bsky.feed.like"},
        },
        {"uri": "at://x", "record": {"text": "terrible service", "langs": ["de"]}},
    ],
    "reddit": [
        {"kind": "t3", "data": {"name": "t3_1", "title": "My kettle sings", "selftext": "I love it."}},
        {"name": "t1_2", "body": "never again", "created_utc": 1719835200.0, "subreddit": "Tea"},
        {"name": "t1_3", "body": "[deleted]"},
    ],
    "debezium": [
        {
            "after": {"id": 7, "text": "Broke after two days.", "stars": 1},
            "source": {"table": "reviews", "ts_ms": 1719835200123},
            "op": "u",
        },
        {"before": {"id": 8}, "after": None, "op": "d"},
    ],
}
KEEP = {
    "mastodon": "account.acct as author, account, not_there",
    "bluesky": "did, commit.record.langs as langs",
    "reddit": "subreddit, title:string",
    "debezium": "__op, stars:double",
}
OF_PLACE: tuple[str, ...] = ("source_topic", "processed_time_ms")


def of_topic(preset: Any, keep: str, bodies: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int, int]:
    """What a worker writes for these messages, how many it filters, and how many get a dead letter."""
    settings = Settings(
        model=ModelSettings(threads=1),
        source=SourceSettings(preset=preset),
        sink=SinkSettings.model_validate({"keep": keep}),
    )
    pipeline = Pipeline(
        decoder=Decoder(Fields.of(settings.source, keep=settings.sink.keep)),
        router=PackRouter.load(settings, topic="moods", include_text=True),
    )
    values = [json.dumps(body).encode() for body in bodies]
    records = [Record("in.jsonl", 0, number, -1, None, value) for number, value in enumerate(values)]
    results = [result for each in pipeline.process(records).results for result in each]
    written = [
        json.loads(result.output.value)
        for result in results
        if result.output is not None and result.output.value is not None
    ]
    filtered = sum(isinstance(result.answer, Filtered | Tombstone) for result in results)
    return written, filtered, sum(isinstance(result.answer, Failure) for result in results)


def without(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


@pytest.mark.parametrize("preset", list(POSTS))
def test_a_file_of_posts_gives_what_the_topic_gives(moodstream: Any, preset: str) -> None:
    bodies, keep = POSTS[preset], KEEP[preset]
    Path("in.jsonl").write_text("".join(json.dumps(body) + "\n" for body in bodies))
    ended = moodstream("label", "in.jsonl", "--preset", preset, "--keep", keep)
    found = [json.loads(line) for line in ended.out.splitlines()]
    written, filtered, failed = of_topic(preset, keep, bodies)
    assert filtered
    assert ended.code == (1 if failed else 0)
    assert f"{len(written)} labelled, {filtered} filtered" in ended.lines[-1]
    assert len(found) == len(written)
    for row, wanted in zip(found, written, strict=True):
        own = OF_PLACE
        if wanted["event_time_ms"] == wanted["processed_time_ms"]:  # neither has a time of its own
            assert row["event_time_ms"] == row["processed_time_ms"]
            own = (*OF_PLACE, "event_time_ms")
        assert without(row, own) == without(wanted, own)


def test_the_filter_counts_and_drops_rows(moodstream: Any) -> None:
    Path("a.csv").write_text("id,text,stars\n1,so good,5\n2,never again,1\n3,so so,3\n")
    ended = moodstream("label", "a.csv", "--filter", "to_number(stars) > `2`", "-o", "o.csv")
    assert ended.code == 0
    assert ended.lines[-1].startswith("2 labelled, 1 filtered, ")
    assert [line.split(",")[0] for line in Path("o.csv").read_text().splitlines()] == ["id", "1", "3"]
    ended = moodstream("label", "a.csv", "--filter", "stars")
    assert ended.code == 1
    assert ended.lines[:-1] == [  # and no line that it matches nothing
        f"a.csv:{line}: source.filter gives a string for this message, not true or false"
        for line in (2, 3, 4)
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize("output", ["o.jsonl", "o.parquet"])
def test_time_id_and_language_are_read_from_every_format(moodstream: Any, name: str, output: str) -> None:
    row = {"key": "k7", "body": "so good", "at": "2024-07-01T12:00:00Z", "locale": "en_GB", "text": "x"}
    if name == "a.parquet":
        parquet.write_table(arrow.Table.from_pylist([row]), name)
    else:
        table = ",".join(row) + "\n" + ",".join(row.values())
        Path(name).write_text((json.dumps(row) if name == "a.jsonl" else table) + "\n")
    Path("worker.toml").write_text(
        '[source]\ntext_field = "body"\ntime_field = "at"\nid_field = "key"\nlang_field = "locale"\n'
    )
    ended = moodstream("label", name, "--config", "worker.toml", "-o", output)
    assert (ended.code, ended.err) == (0, "")
    (found,) = (
        parquet.read_table(output).to_pylist()
        if output == "o.parquet"
        else [json.loads(Path(output).read_text())]
    )
    told = {column: found[column] for column in ("event_id", "event_time_ms", "lang", "text")}
    assert told == {"event_id": "k7", "event_time_ms": 1_719_835_200_000, "lang": "en-GB", "text": "so good"}
    kept = {column: found[column] for column in ("key", "at", "locale", "input_text")}
    assert kept == {"key": "k7", "at": row["at"], "locale": "en_GB", "input_text": "x"}


def test_settings_of_the_worker_s_file_count_and_options_win(moodstream: Any) -> None:
    Path("worker.toml").write_text(
        '[source]\ntext_field = "body"\n[sink]\nkeep = ["id"]\ncolumns = "labels"\ninclude_text = false\n'
    )
    Path("a.jsonl").write_text('{"body": "so good", "id": 1, "n": 2, "other": "never again"}\n')

    def labelled(*args: str) -> dict[str, Any]:
        (line,) = moodstream("label", "a.jsonl", "--config", "worker.toml", *args).out.splitlines()
        row: dict[str, Any] = json.loads(line)
        return row

    row = labelled()
    assert (row["id"], "n" in row, "text" in row, "sentiment_positive" in row) == (1, False, False, False)
    row = labelled("--text-field", "other", "--keep", "n", "--include-text", "--sink.columns", "all")
    assert (row["text"], row["n"]) == ("never again", 2)
    assert ("id" in row, "sentiment_positive" in row) == (False, True)
    assert not {"id", "n"} & set(labelled("--no-keep"))
    ended = moodstream("label", "a.jsonl", "--text-field", "a", "--source.text-field", "b")
    assert (ended.code, ended.lines[-1]) == (
        2,
        "Error: --text-field and --source.text-field are the same setting",
    )
    ended = moodstream("label", "a.jsonl", "--filter", "stars >= 4")
    assert (ended.code, ended.lines[-1].split()) == (2, ["moodstream:", "^"])


def test_every_post_of_an_array_keeps_its_own_fields(moodstream: Any) -> None:
    Path("a.ndjson").write_text(
        '{"text": "first", "n": 0}\n[{"text": "so good", "n": 1}, {"text": "never again", "n": 2}]\n'
    )
    found = [json.loads(line) for line in moodstream("label", "a.ndjson").out.splitlines()]
    assert [(row["text"], row["n"], row["event_id"]) for row in found] == [
        ("first", 0, "a.ndjson:0:0"),
        ("so good", 1, "a.ndjson:0:1:0"),
        ("never again", 2, "a.ndjson:0:1:1"),
    ]


def test_html_is_read_as_text_and_its_column_stays(moodstream: Any) -> None:
    Path("a.csv").write_text("id,body\n1,<p>so <b>good</b></p>\n")
    (row,) = map(
        json.loads,
        moodstream("label", "a.csv", "--text-field", "body", "--source.html", "strip").out.splitlines(),
    )
    assert (row["text"], row["body"]) == ("so good", "<p>so <b>good</b></p>")


def test_parquet_columns_that_are_chosen_keep_their_types(moodstream: Any) -> None:
    table = arrow.table(
        {
            "id": arrow.array([1, 2], arrow.int16()),
            "text": ["so good", "never again"],
            "user": [{"name": "ann", "n": 1}, {"name": "bob", "n": 2}],
            "tags": [["a", "b"], []],
        }
    )
    parquet.write_table(table, "a.parquet")
    keep = "id, user.n as n, user"
    assert moodstream("label", "a.parquet", "-o", "o.parquet", "--keep", keep).code == 0
    schema = parquet.read_schema("o.parquet")
    assert [schema.field(name).type for name in ("id", "n", "user")] == [
        arrow.int16(),
        arrow.int64(),
        table.schema.field("user").type,
    ]
    # What no column of the file is comes through the messages, as it does from any other input.
    keep = "id, tags.0 as tag, tags[1] as second, id as key:string"
    assert moodstream("label", "a.parquet", "-o", "o.parquet", "--keep", keep).code == 0
    found = parquet.read_table("o.parquet").to_pylist()
    assert [(row["id"], row["tag"], row["second"], row["key"]) for row in found] == [
        (1, "a", "b", "1"),
        (2, None, None, "2"),
    ]


# Without the text


ENVELOPES = {
    "mastodon": {"event": "update", "payload": '{"content": "so secret"}', "n": 1},
    "reddit": {"kind": "t1", "data": {"body": "so secret"}, "n": 1},
    "x": {"data": {"text": "so secret"}, "n": 1},
    "connect": {"schema": {}, "payload": {"text": "so secret"}, "n": 1},
    "debezium": {"op": "u", "before": {"text": "so secret"}, "after": {"text": "so secret"}, "n": 1},
    "google_play": {"comments": [{"userComment": {"text": "so secret"}}], "n": 1},
}


@pytest.mark.parametrize("preset", list(ENVELOPES))
def test_without_the_text_no_envelope_gives_it_away(moodstream: Any, preset: str) -> None:
    Path("a.jsonl").write_text(json.dumps(ENVELOPES[preset]) + "\n")
    ended = moodstream("label", "a.jsonl", "--preset", preset, "--no-include-text")
    assert ended.code == 0
    assert "secret" not in ended.out
    assert json.loads(ended.out)["n"] == 1


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("join(' ', parts[*].text)", True),
        ("parts[?text].text | [0]", True),
        ("values(@)[0][0].text", False),
        ("join(' ', @.parts[*].text)", False),
    ],
)
def test_without_the_text_expressions_do_not_give_it_away(
    moodstream: Any, expression: str, kept: bool
) -> None:
    Path("a.jsonl").write_text('{"parts": [{"text": "so secret"}], "n": 1}\n')
    ended = moodstream("label", "a.jsonl", "--text-field", expression, "--no-include-text")
    assert ended.code == 0, ended.err
    assert "secret" not in ended.out
    assert ("n" in json.loads(ended.out)) is kept
    assert ("none of them is kept; choose with --keep" in ended.err) is not kept
    both = moodstream("label", "a.jsonl", "--text-field", expression, "--no-include-text", "--keep", "n")
    assert (json.loads(both.out)["n"], both.err) == (1, "")


# Settings that match nothing


@pytest.mark.parametrize(
    ("content", "args", "line"),
    [
        (
            '{"body": "a", "id": 1}\n' * 300,
            (),
            "none of the first 256 rows has a text at `text`; there are: body, id (choose with --text-field",
        ),
        ('{"body": "a"}\n', ("--text-field", "a.b"), "no row has a text at `a.b`; there are: body (choose"),
        (
            '{"body": "a", "id": 1}\n',
            ("--preset", "google_play"),
            "no row has a text where the preset google_play has it; there are: body, id (choose",
        ),
    ],
)
def test_a_file_whose_text_lies_elsewhere_is_one_line_that_names_its_fields(
    moodstream: Any, content: str, args: tuple[str, ...], line: str
) -> None:
    Path("a.jsonl").write_text(content)
    ended = moodstream("label", "a.jsonl", *args)
    assert (ended.code, ended.out, len(ended.lines)) == (2, "", 1)
    assert ended.err.startswith(f"moodstream: a.jsonl: {line}")
    # Who expects such rows gets them counted.
    assert moodstream("label", "a.jsonl", *args, "--skip-bad").code == 0


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_field_that_no_row_has_is_told_at_the_end(moodstream: Any, name: str) -> None:
    row = {"text": "so good", "created": "2024-01-01"}
    Path(name).write_text(
        json.dumps(row) + "\n" if name == "a.jsonl" else ",".join(row) + "\n" + ",".join(row.values()) + "\n"
    )
    ended = moodstream("label", name, "--source.time-field", "created_at")
    assert ended.code == 0
    assert ended.lines == [
        "moodstream: source.time_field `created_at` matches no row; there are: text, created"
    ]


def test_a_table_without_any_of_the_columns_names_those_that_it_has(moodstream: Any) -> None:
    Path("a.csv").write_text("id,comment\n1,so good\n")
    ended = moodstream("label", "a.csv", "--text-field", "title, body")
    assert ended.err == (
        "moodstream: a.csv: none of the columns that may hold the text (title, body); there are: id, comment "
        "(choose with --text-field)\n"
    )
    assert moodstream("label", "a.csv", "--text-field", "title, body | comment").code == 0
