"""Columns of groups and of marked ranges, and that no two columns of a pack are alike."""

from dataclasses import replace

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.heads import MULTI, SINGLE, TOKENS, Head
from worker.messages.columns import FIXED, SpanColumn, head_columns
from worker.messages.encode import OutputEncoder
from worker.messages.schema import OutputBase, output_schema
from worker.types import HeadResult, Message, Prediction, Record, SpanResult

GROUPS = {"good": ("joy", "love"), "bad": ("fear",)}
EMOTION = Head("emotion", MULTI, ("joy", "fear", "love"), groups=GROUPS)
HEADS = (EMOTION, Head("toxicity", SINGLE, ("not_toxic", "toxic")), Head("toxic_spans", TOKENS, ("toxic",)))
SCORES = {"joy": 0.2, "fear": 0.7, "love": 0.61234567}
PREDICTION = Prediction(
    heads={
        "emotion": HeadResult("fear", 0.7, SCORES, ("fear",), {"good": 0.61234567, "bad": 0.7}, "bad"),
        "toxicity": HeadResult("toxic", 0.9, {"not_toxic": 0.1, "toxic": 0.9}),
    },
    token_count=7,
    truncated=False,
    spans={"toxic_spans": SpanResult(((4, 8), (12, 13)), read=True)},
)


def body_of(prediction: Prediction, heads: tuple[Head, ...] = HEADS) -> dict[str, object]:
    encoder = OutputEncoder(heads, model="compact@0123456789ab", topic="moods", include_text=False)
    record = Record("posts", 3, 41, 1_700_000_000_000, None, b"{}")
    value = encoder.encode(record, Message("x", "posts:3:41", 1), prediction, 2).value
    body = orjson.loads(value or b"")
    assert isinstance(body, dict)
    return body


def test_ranges_and_groups_stand_in_the_message() -> None:
    body = body_of(PREDICTION)
    assert {name: value for name, value in body.items() if name not in FIXED} == {
        "emotion_label": "fear",
        "emotion_score": 0.7,
        "emotion_labels": ["fear"],
        "emotion_joy": 0.2,
        "emotion_fear": 0.7,
        "emotion_love": 0.612346,
        "emotion_group": "bad",
        "emotion_group_good": 0.612346,
        "emotion_group_bad": 0.7,
        "toxicity_label": "toxic",
        "toxicity_score": 0.9,
        "toxicity_not_toxic": 0.1,
        "toxicity_toxic": 0.9,
        "toxic_spans": [[4, 8], [12, 13]],
    }


def test_a_text_without_marks_has_an_empty_list() -> None:
    assert body_of(replace(PREDICTION, spans={"toxic_spans": SpanResult()}))["toxic_spans"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"toxic_spans": [[4, 8, 9]]},
        {"toxic_spans": [[-1, 8]]},
        {"toxic_spans": [4, 8]},
        {"toxic_spans": None},
        {"emotion_group": "joy"},
        {"emotion_group_good": 2},
    ],
)
def test_the_schema_holds_ranges_and_groups(wrong: dict[str, object]) -> None:
    schema = output_schema(HEADS)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(body_of(PREDICTION))
    assert not validator.is_valid(body_of(PREDICTION) | wrong)
    missing = {name: value for name, value in body_of(PREDICTION).items() if name not in wrong}
    assert not validator.is_valid(missing)


def test_the_group_is_the_one_that_the_model_names_whatever_the_scores() -> None:
    result = replace(PREDICTION.heads["emotion"], groups={"good": 0.5, "bad": 0.7}, group="good")
    heads = {**PREDICTION.heads, "emotion": result}
    assert body_of(replace(PREDICTION, heads=heads))["emotion_group"] == "good"


def test_the_columns_that_no_pack_changes_are_the_schemas() -> None:
    assert frozenset(OutputBase.model_fields) == FIXED


def names() -> st.SearchStrategy[str]:
    return st.sampled_from(["a", "a_b", "text", "model", "a_label", "a_group", "a_group_x"])


def heads() -> st.SearchStrategy[tuple[Head, ...]]:
    labels = st.lists(st.sampled_from(["x", "X", "b", "b x", "label", "group", "group x"]), min_size=1)
    unique = labels.map(lambda found: tuple(dict.fromkeys(found)))
    groups = st.dictionaries(st.sampled_from(["x", "X", "label"]), st.just(("x",)))
    kinds = st.sampled_from([SINGLE, MULTI, TOKENS])
    head = st.builds(Head, names(), kinds, unique, groups=groups)
    return st.lists(head, min_size=1, unique_by=lambda head: head.name).map(tuple)


@given(heads=heads())
def test_no_two_columns_of_a_pack_are_alike(heads: tuple[Head, ...]) -> None:
    found: list[str] = []
    for columns in head_columns(heads):
        if isinstance(columns, SpanColumn):
            found.append(columns.column)
            continue
        found += [columns.label, columns.score, columns.passed, *columns.scores.values()]
        found += [columns.group, *columns.groups.values()] if columns.groups else []
    assert len({*found, *FIXED}) == len(found) + len(FIXED)
    assert {columns.head for columns in head_columns(heads)} == {head.name for head in heads}
