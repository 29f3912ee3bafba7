"""Expressions: what each form means, and where a mistake is shown."""

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import ExpressionError
from worker.expressions import parse_expression, parse_keep, parse_list, split_list, split_type

BODY = {
    "title": "Fine",
    "a.b": "flat",
    "a": {"b": "deep", "c": [1, {"d": "two"}]},
    "@timestamp": 5,
    "R&D": 6,
    "user name": 7,
    "tags": ["x", "y"],
    "empty": "",
    "none": None,
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("title", "Fine"),
        ("a.b", "flat"),
        ("a.c.1.d", "two"),
        ("a.c.9", None),
        ("@timestamp", 5),
        ("R&D", 6),
        ("user name", 7),
        ('"user name"', 7),
        ('"a.b"', "flat"),
        ("missing | title", "Fine"),
        ("missing || title", "Fine"),
        ("none | a.b", "flat"),
        ("a.c[1].d", "two"),
        ("tags[*] | [0]", "x"),
        ("join(', ', tags)", "x, y"),
        ("length(missing)", None),
        ("title == 'Fine' && length(tags) > `1`", True),
    ],
)
def test_what_an_expression_leads_to(text: str, found: object) -> None:
    assert parse_expression(text).find(BODY) == found


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("stars >", "ends too early", 7),
        ("stars >= 4", "has a number without backticks; write `4`", 9),
        ("lang = 'en'", "has a single `=`; two compare", 5),
        ("a == 'b' and c", "has the word `and`; JMESPath writes &&", 9),
        ("tags[", "ends too early", 5),
        ("a == 'b", "has a ' that is not closed", 5),
        ("size(tags)", "calls `size`, which is not a function of JMESPath", 0),
        ("a || length(a, b)", "gives `length` 2 values; it takes 1", 5),
        ("max_by(tags)", "gives `max_by` 1 values; it takes 2", 0),
        (
            "straße == 'x'",
            "has a `ß` outside quotes; put a key with such characters between double quotes",
            4,
        ),
        ("title, , body", "has nothing between its commas", 6),
        ("title, stars >", "ends too early", 14),
        ("   ", "is blank", 0),
        ("日本, a ==", "ends too early", 10),
    ],
)
def test_a_mistake_is_shown_with_a_caret_under_it(text: str, message: str, column: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_list(text)
    assert (caught.value.message, caught.value.column) == (message, column)
    assert str(caught.value).splitlines()[-1] == " " * column + "^"


def test_only_a_text_has_several_parts() -> None:
    assert [part.text for part in parse_list("title | name, join(', ', tags)")] == [
        "title | name",
        "join(', ', tags)",
    ]
    with pytest.raises(ExpressionError, match=r"only source\.text_field takes several paths"):
        parse_expression("title, body")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("product", "product"),
        ("author.name", "name"),
        ("author.name as author", "author"),
        ("author.first-name", "first_name"),
        ("tags.0", "tags_0"),
        ("0", "_0"),
        ("join(' as x', tags) as all_tags", "all_tags"),
        ("a || b as c", "c"),
        ('"x as y" as z', "z"),
    ],
)
def test_the_name_of_what_is_kept(text: str, name: str) -> None:
    assert parse_keep(text).name == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tags[0]", "needs a name: write EXPRESSION as NAME"),
        ("a | b", "needs a name: write EXPRESSION as NAME"),
        ("a as b-c", "`b-c` is not a name; take ASCII letters, digits and _"),
        ("a == as b", "ends too early"),
        ("", "is blank"),
    ],
)
def test_what_cannot_be_kept(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_keep(text)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("entry", "rest", "kind"),
    [
        ("price:double", "price", "double"),
        ("a.n as n : long ", "a.n as n", "long"),
        ("dc:title", "dc:title", None),
        ("dc:date", "dc:date", None),
        ('"a:int"', '"a:int"', None),
        ("{a: int}", "{a: int}", None),
    ],
)
def test_a_type_stands_after_the_last_colon(entry: str, rest: str, kind: str | None) -> None:
    assert split_type(entry) == (rest, kind)


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ("price:integer", "long"),
        ("price:int", "long"),
        ("n as count: BIGINT ", "long"),
        ("price:float", "double"),
        ("price:float64", "double"),
        ("price:Double", "double"),
        ("ok:bool", "boolean"),
        ("name:str", "string"),
    ],
)
def test_a_type_of_another_system_is_a_mistake_that_names_ours(entry: str, kind: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        split_type(entry)
    assert f"; write `:{kind}`, or put a key with a colon between double quotes" in caught.value.message
    assert entry[caught.value.column :].strip() == entry.split(":")[1].strip()


def test_a_list_is_split_outside_quotes_and_brackets() -> None:
    assert split_list("a, join(', ', b) as c,, \"d,e\" as f") == ["a", "join(', ', b) as c", '"d,e" as f']


@given(st.text(alphabet="ab.,|&()[]{}'\"`!<>=*@?: 01\\ß\n\ud800", max_size=30))
def test_any_text_is_an_expression_or_a_mistake_with_a_place(text: str) -> None:
    for parse in (parse_list, parse_keep, split_type):
        mistake = None
        try:
            parse(text)
        except ExpressionError as error:
            mistake = error
        assert mistake is None or mistake.shown.isprintable()
        assert mistake is None or 0 <= mistake.column <= len(mistake.shown) * 2


@given(st.from_regex(r"\A[a-z_]{1,5}(\[[0-9]\])?(\.[a-z]{1,3}){0,2}( == '[a-z]')?\Z"))
def test_what_jmespath_takes_means_the_same_here(text: str) -> None:
    body = {"a": {"b": "x"}, "x": [{"y": "x"}]}
    assert parse_expression(text).find(body) == jmespath.search(text, body)
