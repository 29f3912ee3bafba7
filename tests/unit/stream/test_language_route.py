"""Which pack a language goes to."""

import pytest

from worker.settings.groups import LanguageSettings
from worker.stream.languages import Languages, Route
from worker.types import Failure, Message

TABLE = {"en": "default", "pt": "/packs/portuguese", "pt-br": "/packs/brazilian", "*": "unsupported"}


@pytest.mark.parametrize(
    ("language", "target"),
    [
        ("en", "default"),
        ("EN", "default"),
        ("eng", "default"),
        ("en-GB", "default"),
        ("pt", "/packs/portuguese"),
        ("pt-PT", "/packs/portuguese"),
        ("pt-BR", "/packs/brazilian"),
        ("pt-BR-x-informal", "/packs/brazilian"),
        ("it", "unsupported"),
        (None, "unsupported"),
        ("und", "unsupported"),
    ],
)
def test_the_nearest_name_wins_and_the_star_takes_the_rest(language: str | None, target: str) -> None:
    assert Route(TABLE).target(language) == target


def test_a_language_unknown_can_have_its_own_way() -> None:
    assert Route({**TABLE, "und": "default"}).target(None) == "default"


def test_without_a_star_the_rest_goes_to_the_default_pack() -> None:
    route = Route({"it": "unsupported"})
    assert [route.target(language) for language in ("it", "fa", None)] == [
        "unsupported",
        "default",
        "default",
    ]
    assert Route({}).target("it") == "default"


def test_each_pack_is_named_once() -> None:
    assert Route({"it": "/a", "es": "/a", "fa": "/b", "*": "unsupported"}).packs == ("/a", "/b")


def test_a_failure_names_the_language_and_nothing_else_of_the_tag() -> None:
    languages = Languages(LanguageSettings(route={"*": "unsupported"}))
    failure = languages.target(Message("text", "1", 0, lang="FR-x-private"))
    assert isinstance(failure, Failure)
    assert failure.message == "no pack for the language fr: language.route says `unsupported`"
    unknown = languages.target(Message("text", "1", 0))
    assert isinstance(unknown, Failure)
    assert "not known" in unknown.message
