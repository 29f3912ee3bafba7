"""Which pack a language goes to, and which messages that pack does not read."""

from pathlib import Path

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
    languages = Languages(LanguageSettings(detect=False, route={"*": "unsupported"}))
    messages = [Message("text", "1", 0, lang="FR-x-private"), Message("text", "2", 0)]
    french, unknown = (each.target for each in languages.judge(messages, {"default": None}))
    assert isinstance(french, Failure)
    assert french.message == "no pack for the language fr: language.route says `unsupported`"
    assert isinstance(unknown, Failure)
    assert "not known" in unknown.message


GERMAN = "das gefällt mir gar nicht, nie wieder dieses Restaurant"
TEXTS = {
    "en": "where is my parcel, it should have come today",
    "de": GERMAN,
    "it": "non mi piace per niente, che brutta giornata",
}


def judged(
    settings: LanguageSettings, reads: dict[str, frozenset[str] | None], *messages: Message
) -> list[tuple[str | None, str, bool | str]]:
    """Language, target, and whether it is supported, for each message; of a failure its reason."""
    return [
        (each.message.lang, "dead letter", each.target.reason)
        if isinstance(each.target, Failure)
        else (each.message.lang, each.target, each.supported)
        for each in Languages(settings).judge(messages, reads)
    ]


def posts(*languages: str) -> list[Message]:
    return [Message(TEXTS[language], str(place), 0) for place, language in enumerate(languages)]


def said(language: str, text: str = "so good") -> Message:
    return Message(text, "1", 0, lang=language)


ENGLISH: dict[str, frozenset[str] | None] = {"default": frozenset({"en"})}


def test_what_the_pack_does_not_read_is_marked_by_default() -> None:
    found = judged(LanguageSettings(), ENGLISH, *posts("en", "de", "it"), Message("😍", "4", 0))
    assert found == [
        ("en", "default", True),
        ("de", "default", False),
        ("it", "default", False),
        (None, "default", True),
    ]


def test_what_the_message_says_goes_before_its_text() -> None:
    found = judged(
        LanguageSettings(), ENGLISH, said("en-GB", GERMAN), said("DE-at"), said("deu"), said("eng")
    )
    assert [supported for _, _, supported in found] == [True, False, False, True]


def test_without_detection_only_what_messages_say_counts() -> None:
    found = judged(LanguageSettings(detect=False), ENGLISH, *posts("de"), said("de"), said("en"))
    assert found == [(None, "default", True), ("de", "default", False), ("en", "default", True)]


def test_a_pack_that_does_not_say_what_it_reads_reads_everything() -> None:
    found = judged(LanguageSettings(), {"default": None}, *posts("en", "de"), said("fr"))
    assert found == [("en", "default", True), ("de", "default", True), ("fr", "default", True)]
    refusing = LanguageSettings(unsupported="dead_letter")
    assert judged(refusing, {"default": None}, said("fr")) == [("fr", "default", True)]


def test_each_pack_is_asked_what_it_reads(tmp_path: Path) -> None:
    one, rest = (str(tmp_path / name) for name in ("one", "rest"))
    for folder in (one, rest):
        Path(folder).mkdir()
    settings = LanguageSettings(route={"it": one, "*": rest, "en": "default"})
    reads = {**ENGLISH, one: frozenset({"it", "es"}), rest: None}
    assert judged(settings, reads, *posts("en", "it", "de"), said("es")) == [
        ("en", "default", True),
        ("it", one, True),
        ("de", rest, True),
        ("es", rest, True),
    ]
    wrong = {**reads, one: frozenset({"es"})}
    assert judged(settings, wrong, *posts("it")) == [("it", one, False)]


def test_a_language_that_is_routed_is_expected(tmp_path: Path) -> None:
    german = str(tmp_path)
    settings = LanguageSettings(route={"de": german})
    reads: dict[str, frozenset[str] | None] = {**ENGLISH, german: None}
    assert judged(settings, reads, *posts("de", "it")) == [("de", german, True), ("it", "default", False)]


def test_a_pack_that_reads_what_the_identifier_does_not_know_marks_no_guess() -> None:
    found = judged(LanguageSettings(), {"default": frozenset({"haw"})}, *posts("de"), said("de"), said("haw"))
    assert found == [("de", "default", True), ("de", "default", False), ("haw", "default", True)]


def test_what_the_pack_does_not_read_can_become_a_dead_letter() -> None:
    settings = LanguageSettings(unsupported="dead_letter")
    arabic = Message("احس جستن بيبر ريحته صنان", "9", 0)
    found = judged(settings, ENGLISH, *posts("en", "de"), said("fr-x-private"), arabic)
    assert found == [
        ("en", "default", True),
        ("de", "dead letter", "language_unsupported"),
        ("fr-x-private", "dead letter", "language_unsupported"),
        (None, "dead letter", "language_unsupported"),
    ]
    messages = [each.target for each in Languages(settings).judge([said("fr-x-private"), arabic], ENGLISH)]
    assert [each.message for each in messages if isinstance(each, Failure)] == [
        f"no pack for the language {name}: the pack reads en; language.unsupported says `dead_letter`"
        for name in ("fr", "und (not known)")
    ]


def test_packs_side_by_side_without_a_common_language_read_none() -> None:
    languages = Languages(LanguageSettings(unsupported="dead_letter"))
    text = "Das ist ein sehr schlechtes Produkt und ich will mein Geld zurück"
    messages = [Message(text, "1", 0, lang=lang) for lang in (None, "de", "en")]
    for judged in languages.judge(messages, {"default": frozenset()}):
        assert isinstance(judged.target, Failure)
        assert "the packs side by side share no language" in judged.target.message


def test_a_route_alone_needs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.stream.languages.Identifier", None)
    settings = LanguageSettings(detect=False, route={"it": "unsupported"})
    assert judged(settings, ENGLISH, *posts("it")) == [(None, "default", True)]
