"""`sink.format`, `sink.columns`, `sink.keep` and `sink.offsets`: what is written, and its schemas."""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Literal

import fastavro
import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import SettingsError
from worker.heads import MULTI, SINGLE, TOKENS, Head
from worker.kafka.limits import TopicLimits
from worker.messages.avro_writer import AvroFormat, avro_schema
from worker.messages.columns import Layout
from worker.messages.deadletter import DeadLetters, Origin
from worker.messages.encode import OutputEncoder, make_output_format, utf16_ranges
from worker.messages.keep import read_keep, typed
from worker.messages.output_formats import ConnectFormat, OutputFormat
from worker.messages.schema import output_columns, output_schema
from worker.settings.groups import SinkSettings
from worker.stream.fitting import Fitter
from worker.types import (
    Headers,
    HeadResult,
    Message,
    OutputRecord,
    Prediction,
    Range,
    Record,
    Scalar,
    SpanResult,
)

Format = Literal["json", "json_schema", "avro", "cloudevents"]
FORMATS: tuple[Format, ...] = ("json", "json_schema", "avro", "cloudevents")

HEADS = (
    Head("sentiment", SINGLE, ("negative", "positive")),
    Head("emotion", MULTI, ("joy", "fear"), groups={"good": ("joy",), "bad": ("fear",)}),
    Head("toxic_spans", TOKENS, ("toxic",)),
)
TEXT = "you 👩‍👩‍👧 stupid 🤡 idiot"
RANGES: tuple[Range, ...] = ((10, 16), (19, 24))
PREDICTION = Prediction(
    heads={
        "sentiment": HeadResult("negative", 0.9, {"negative": 0.9, "positive": 0.1}),
        "emotion": HeadResult(
            "fear", 0.7, {"joy": 0.2, "fear": 0.7}, ("fear",), {"good": 0.2, "bad": 0.7}, "bad"
        ),
    },
    token_count=7,
    truncated=False,
    spans={"toxic_spans": SpanResult(RANGES, read=True)},
    lang="de",
    supported=False,
)
KEEP = ("product", "a.price:double", "n as count:long", "ok:boolean", "code:string", "other")
KEPT: dict[str, Scalar] = {
    "product": "lamp 🪔",
    "price": "9.5",
    "count": 3.0,
    "ok": True,
    "code": 7,
    "other": None,
}
TRACE: Headers = (("traceparent", b"00-ab-cd-01"), ("ce_id", b"1"), ("CE_traceparent", b"00-ef-01-01"))


class FakeRegistry:
    """Gives ids from 7 on."""

    def __init__(self) -> None:
        self.schemas: list[tuple[str, str, str]] = []

    def register(self, subject: str, schema: str, kind: str) -> int:
        self.schemas.append((subject, schema, kind))
        return 6 + len(self.schemas)


def sink(**values: Any) -> SinkSettings:
    return SinkSettings.model_validate({"topic": "moods", **values})


def encoder_of(settings: SinkSettings) -> tuple[OutputEncoder, OutputFormat]:
    output_format = make_output_format(settings)
    encoder = OutputEncoder(
        HEADS,
        model="compact@0123456789ab",
        topic=settings.topic,
        include_text=settings.include_text,
        layout=Layout.of(settings),
        output_format=output_format,
    )
    if isinstance(output_format, AvroFormat):
        output_format.register(FakeRegistry())
    return encoder, output_format


def output_of(
    settings: SinkSettings, kept: Mapping[str, Scalar] | None = None, time_ms: int = 1_700_000_000_123
) -> OutputRecord:
    message = Message(TEXT, "posts:3:41", time_ms, "en", kept or {})
    record = Record("posts", 3, 41, 1_700_000_000_000, b"k", b"{}", TRACE)
    return encoder_of(settings)[0].encode(record, message, PREDICTION, 1_700_000_000_500)


def body_in(value: bytes | None, settings: SinkSettings) -> dict[str, Any]:
    """The flat object, as a consumer of the format reads it."""
    assert value is not None
    if settings.format == "avro":
        assert value[:5] == b"\x00\x00\x00\x00\x07"
        columns = output_columns(HEADS, Layout.of(settings), include_text=settings.include_text)
        record: Any = fastavro.schemaless_reader(BytesIO(value[5:]), avro_schema(columns), None)
        # A column that is not there is null in Avro.
        return {name: item for name, item in record.items() if item is not None}
    body = orjson.loads(value)
    found: dict[str, Any] = body["payload"] if settings.format == "json_schema" else body
    return found


def body_of(settings: SinkSettings, kept: Mapping[str, Scalar] | None = None) -> dict[str, Any]:
    return body_in(output_of(settings, kept).value, settings)


@pytest.mark.parametrize("include_text", [False, True])
@pytest.mark.parametrize("columns", ["all", "labels"])
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_holds_the_same_message(form: Format, columns: str, include_text: bool) -> None:
    flat = sink(columns=columns, include_text=include_text)
    settings = sink(format=form, columns=columns, include_text=include_text)
    assert body_of(settings) == body_of(flat)
    assert ("text" in body_of(settings)) == include_text


@pytest.mark.parametrize("values", [{}, {"include_text": True}, {"columns": "labels"}, {"offsets": "utf16"}])
def test_the_schema_of_the_settings_holds_what_they_give_and_no_more(values: dict[str, Any]) -> None:
    settings = sink(keep=KEEP, **values)
    schema = output_schema(HEADS, Layout.of(settings), include_text=settings.include_text)
    jsonschema.Draft202012Validator.check_schema(schema)
    body = body_of(settings, KEPT)
    jsonschema.validate(body, schema)
    assert set(schema["properties"]) - {"text_omitted"} == set(body)
    assert "text_omitted" not in schema["properties"] or settings.include_text
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body | {"another": 1}, schema)


def test_labels_leaves_out_the_probabilities_of_single_labels_and_groups() -> None:
    everything, labels = body_of(sink()), body_of(sink(columns="labels"))
    assert everything.keys() - labels.keys() == {
        *("sentiment_negative", "sentiment_positive", "emotion_joy", "emotion_fear"),
        *("emotion_group_good", "emotion_group_bad"),
    }
    assert labels == {name: value for name, value in everything.items() if name in labels}


def test_marked_words_stand_beside_the_text_and_nowhere_else() -> None:
    assert body_of(sink(include_text=True))["toxic_words"] == ["stupid", "idiot"]
    assert "toxic_words" not in body_of(sink())


def test_ranges_count_utf16_units_where_the_setting_says_so() -> None:
    assert body_of(sink())["toxic_spans"] == [[10, 16], [19, 24]]
    settings = sink(offsets="utf16", include_text=True)
    body = body_of(settings)
    units = TEXT.encode("utf-16-le")
    cut = [units[2 * start : 2 * end].decode("utf-16-le") for start, end in body["toxic_spans"]]
    assert cut == body["toxic_words"] == ["stupid", "idiot"]


@given(st.text(), st.data())
def test_utf16_ranges_cut_the_same_text(text: str, data: st.DataObject) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    ranges = list(zip(places[::2], places[1::2], strict=False))
    units = text.encode("utf-16-le", "surrogatepass")
    cut = [units[2 * a : 2 * b].decode("utf-16-le", "surrogatepass") for a, b in utf16_ranges(text, ranges)]
    assert cut == [text[start:end] for start, end in ranges]


@pytest.mark.parametrize("form", FORMATS)
def test_kept_fields_are_columns_of_the_types_that_they_name(form: Format) -> None:
    body = body_of(sink(format=form, keep=KEEP), KEPT)
    assert (body["product"], body["price"], body["count"], body["ok"], body["code"]) == (
        *("lamp 🪔", 9.5, 3, True, "7"),
    )
    assert body.get("other") is None


def test_without_a_type_json_keeps_the_value_and_a_format_with_a_schema_writes_a_string() -> None:
    kept: dict[str, Scalar] = {"a": 1, "b": 1.5, "c": True, "d": None, "e": "x"}
    assert {name: body_of(sink(keep=list("abcde")), kept)[name] for name in kept} == kept
    for form in ("json_schema", "avro"):
        body = body_of(sink(format=form, keep=list("abcde")), kept)
        assert [body.get(name) for name in kept] == ["1", "1.5", "true", None, "x"]


def test_a_field_that_a_message_does_not_have_is_null() -> None:
    assert body_of(sink(keep=["product"]), {})["product"] is None


@pytest.mark.parametrize(
    ("value", "kind", "wanted"),
    [
        ("12", "long", 12),
        (" -3 ", "long", -3),
        (2.0, "long", 2),
        (2.5, "long", None),
        ("2.5", "long", None),
        (True, "long", None),
        (2**63, "long", None),
        ("9223372036854775808", "long", None),
        ("1e3", "double", 1000.0),
        (7, "double", 7.0),
        ("nan", "double", None),
        ("1e999", "double", None),
        ("cheap", "double", None),
        (False, "double", None),
        ("True", "boolean", True),
        ("yes", "boolean", None),
        (1, "boolean", None),
        (1.5, "string", "1.5"),
        (True, "string", "true"),
        (None, "string", None),
        ("x", "string", "x"),
    ],
)
def test_a_value_gets_the_type_of_its_column_or_is_null(value: Scalar, kind: Any, wanted: Scalar) -> None:
    found = typed(value, kind)
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    ("keep", "named"),
    [
        (["a.model"], ["`a.model`", "`model`"]),
        (["author as Lang"], ["`author as Lang`", "`lang`"]),
        (["text"], ["`text`"]),
        (["x as emotion_joy"], ["`emotion_joy`"]),
        (["x as emotion_group_bad:long"], ["`x as emotion_group_bad:long`", "`emotion_group_bad`"]),
        (["x as toxic_words"], ["`toxic_words`"]),
        (["a.name", "b.Name"], ["`a.name`", "`b.Name`"]),
    ],
)
@pytest.mark.parametrize("columns", ["all", "labels"])
def test_a_name_that_is_taken_is_refused_and_both_sides_are_named(
    keep: list[str], named: list[str], columns: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        encoder_of(sink(keep=keep, columns=columns))
    (line,) = refused.value.lines
    assert line.startswith("sink.keep: ")
    assert all(name in line for name in named)


def test_a_kept_value_never_replaces_a_column_of_ours() -> None:
    assert body_of(sink(), {"model": "mine", "extra": 1}) == body_of(sink()) | {"extra": 1}


def test_connects_envelope_has_a_field_for_every_column() -> None:
    settings = sink(format="json_schema", keep=KEEP, include_text=True)
    message = orjson.loads(output_of(settings, KEPT).value or b"")
    fields = {field["field"]: field for field in message["schema"]["fields"]}
    assert message["payload"].keys() <= fields.keys()
    assert fields["price"] == {"field": "price", "type": "double", "optional": True}
    assert fields["event_id"] == {"field": "event_id", "type": "string", "optional": False}
    assert not [
        name for name, field in fields.items() if name not in message["payload"] and not field["optional"]
    ]


def test_avro_is_registered_for_the_output_topic_and_reads_what_an_older_pack_wrote() -> None:
    settings = sink(format="avro", include_text=True)
    _, output_format = encoder_of(settings)
    assert isinstance(output_format, AvroFormat)
    registry = FakeRegistry()
    output_format.register(registry)
    ((subject, schema, kind),) = registry.schemas
    assert (subject, kind) == ("moods-value", "AVRO")
    other = avro_schema(output_columns([Head("mood", SINGLE, ("up", "down"))], Layout(), include_text=False))
    value = (output_of(settings).value or b"")[5:]
    read: Any = fastavro.schemaless_reader(BytesIO(value), json.loads(schema), other)
    assert (read["event_id"], read["mood_label"]) == ("posts:3:41", None)


def test_avro_names_are_ascii_and_different() -> None:
    heads = [Head("mein Gefühl", MULTI, ("größe", "grö ße", "gr__e"))]
    columns = output_columns(heads, include_text=False)
    schema: Any = avro_schema(columns)
    fastavro.parse_schema(schema)
    names = [field["name"] for field in schema["fields"]]
    assert len(set(names)) == len(names) == len(columns)
    output_format = AvroFormat("moods")
    encoder = OutputEncoder(
        heads, model="m@0", topic="moods", include_text=False, output_format=output_format
    )
    output_format.register(FakeRegistry())
    result = HeadResult("größe", 0.9, {"größe": 0.9, "grö ße": 0.5, "gr__e": 0.1}, ("größe",))
    prediction = Prediction({"mein Gefühl": result}, 1, False)
    value = encoder.encode(Record("t", 0, 0, 0, None, b""), Message("x", "e", 1), prediction, 2).value or b""
    read: Any = fastavro.schemaless_reader(BytesIO(value[5:]), schema, None)
    assert [
        read[name] for name in names if name.startswith("mein_Gef") and isinstance(read[name], float)
    ] == [
        *(0.9, 0.9, 0.5, 0.1),
    ]


def test_an_output_that_avro_cannot_hold_fails_as_one_that_json_cannot_hold() -> None:
    for form in FORMATS:
        encoder, _ = encoder_of(sink(format=form))
        with pytest.raises(TypeError):
            encoder.encode(Record("\ud83d", 0, 0, 0, None, b""), Message("x", "e", 1), PREDICTION, 2)


def test_a_cloudevent_has_its_attributes_in_headers_and_none_of_the_inputs() -> None:
    headers = output_of(sink(format="cloudevents")).headers
    assert dict(headers) == {
        "traceparent": b"00-ab-cd-01",
        "content-type": b"application/json",
        "ce_specversion": b"1.0",
        "ce_source": b"/moodstream/moods",
        "ce_type": b"moodstream.labelled.v1",
        "ce_id": b"posts:3:41",
        "ce_time": b"2023-11-14T22:13:20.123Z",
        "ce_traceparent": b"00-ef-01-01",
    }
    assert len(headers) == len(dict(headers))


@pytest.mark.parametrize("time_ms", [2**62, -(2**62), 253_402_300_800_000])
def test_a_time_that_rfc_3339_does_not_know_is_left_out(time_ms: int) -> None:
    output = output_of(sink(format="cloudevents"), time_ms=time_ms)
    assert "ce_time" not in dict(output.headers)
    assert body_in(output.value, sink())["event_time_ms"] == time_ms


@pytest.mark.parametrize("form", FORMATS)
def test_an_output_that_is_too_large_loses_its_text_and_the_marked_words(form: Format) -> None:
    settings = sink(format=form, include_text=True, keep=["product"])
    encoder, output_format = encoder_of(settings)
    record = Record("posts", 3, 41, 1_700_000_000_000, b"k", b"{}")
    small = encoder.encode(record, Message(TEXT, "e", 1, None, {"product": "lamp"}), PREDICTION, 2)
    long = encoder.encode(
        record, Message(TEXT + "x" * 9000, "e", 1, None, {"product": "lamp"}), PREDICTION, 2
    )
    letters = DeadLetters("dead", "connect", Origin("group", "0"))
    fitter = Fitter(
        {"moods": TopicLimits(len(small.value or b"") + 2_000)},
        letters.to_dead_letter,
        dead_letter_topic="dead",
        output_format=output_format,
    )
    fitted, answer = fitter.fit(record, long, PREDICTION)
    assert (answer, fitted.headers) == (PREDICTION, long.headers)
    body = body_in(fitted.value, settings)
    assert body["text_omitted"] is True
    assert not {"text", "toxic_words"} & body.keys()
    assert body["product"] == "lamp"
    rest = {name: value for name, value in body.items() if name != "text_omitted"}
    assert rest.items() <= body_in(long.value, settings).items()
    assert output_format.without_text(fitted.value or b"") is None


def test_tombstones_and_the_json_of_the_defaults_are_as_before() -> None:
    record = Record("posts", 0, 1, 5, b"k", None, (("content-type", b"x"),))
    for form in FORMATS:
        output = encoder_of(sink(format=form))[0].passed_through(record)
        assert (output.value, output.headers) == (None, record.headers)
    plain = OutputEncoder(HEADS, model="compact@0123456789ab", topic="moods", include_text=False)
    message = Message(TEXT, "posts:3:41", 1_700_000_000_123, "en")
    written = plain.encode(
        Record("posts", 3, 41, 1_700_000_000_000, b"k", b"{}", TRACE), message, PREDICTION, 1_700_000_000_500
    )
    assert written == output_of(sink())
    assert written.value == (
        b'{"event_id":"posts:3:41","event_time_ms":1700000000123,"processed_time_ms":1700000000500,'
        b'"sentiment_label":"negative","sentiment_score":0.9,"sentiment_negative":0.9,"sentiment_positive":0.1,'
        b'"emotion_label":"fear","emotion_score":0.7,"emotion_labels":["fear"],"emotion_joy":0.2,'
        b'"emotion_fear":0.7,"emotion_group":"bad","emotion_group_good":0.2,"emotion_group_bad":0.7,'
        b'"toxic_spans":[[10,16],[19,24]],"token_count":7,"truncated":false,"supported":false,'
        b'"model":"compact@0123456789ab",'
        b'"schema_version":1,"lang":"de","source_topic":"posts","source_partition":3,"source_offset":41}'
    )


@pytest.mark.parametrize(
    ("entry", "name", "kind"),
    [
        ("product", "product", None),
        ("author.name", "name", None),
        ("author.name as author", "author", None),
        ("price : double", "price", "double"),
        ("a.price as p:long", "p", "long"),
        ("ns:string", "ns", "string"),
    ],
)
def test_an_entry_names_a_column_and_perhaps_its_type(entry: str, name: str, kind: str | None) -> None:
    (column,) = read_keep([entry])
    assert column == (name, kind, entry)


def test_connect_takes_its_text_out_of_the_payload_only() -> None:
    settings = sink(format="json_schema", include_text=True)
    value = output_of(settings).value or b""
    short = ConnectFormat().without_text(value)
    assert short is not None
    assert orjson.loads(short)["schema"] == orjson.loads(value)["schema"]
