"""Languages of short posts, and what has none."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import LanguageError
from worker.settings.groups import LanguageSettings
from worker.stream.languages import Identifier, Languages
from worker.types import Failure, Message

# ruff: noqa: RUF001 - letters that look like Latin ones are the point of these texts

pytest.importorskip("py3langid")

POSTS = {
    "en": ["so good, I love it", "where is my parcel?", "THE TRAIN IS LATE AGAIN"],
    "it": ["che bella giornata", "non mi piace per niente", "grazie mille a tutti"],
    "es": ["no me gusta nada", "muchas gracias a todos", "¿dónde está mi paquete?"],
    "de": ["was für ein schöner Tag", "das gefällt mir gar nicht"],
    "fa": ["قطار باز هم دیر کرد", "غذا خیلی خوب بود، باز هم می‌آییم"],
    "ru": ["большое спасибо всем", "ужасный сервис"],
    "ja": ["みなさん本当にありがとう", "電車がまた遅れています"],
    "zh": ["今天天气真好", "菜很好吃，下次再来"],
}


@pytest.fixture(scope="module")
def identify() -> Identifier:
    return Identifier(list(POSTS))


@pytest.mark.parametrize("language", POSTS)
def test_short_posts_get_their_language(language: str, identify: Identifier) -> None:
    assert [identify(text) for text in POSTS[language]] == [language] * len(POSTS[language])


@pytest.mark.parametrize(
    "text", ["", "😍😍😍", "1234", "!!!", "@anna #fail", "https://example.com/a", "🚆 5"]
)
def test_what_has_no_words_has_no_language(text: str, identify: Identifier) -> None:
    assert identify(text) is None


def test_links_and_names_do_not_decide(identify: Identifier) -> None:
    noisy = "@thomas_miller https://example.com/this/is/a/long/english/link che bella giornata #weekend"
    assert identify(noisy) == "it"


def test_a_bar_that_nothing_passes_names_nothing() -> None:
    assert Identifier(["en", "it"], min_confidence=1.0)("ok") is None


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=300))
def test_no_text_makes_it_fail(text: str) -> None:
    found = ANY(text)
    assert found is None or found == found.lower()


ANY = Identifier()


def test_a_candidate_that_the_model_does_not_know_is_named() -> None:
    with pytest.raises(LanguageError) as caught:
        Identifier(["en", "cu"])
    assert "language.candidates" in str(caught.value)
    assert "cu" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(LanguageError, match=r"pip install 'moodstream\[lang\]'"):
        Languages(LanguageSettings(detect=True))


def test_a_route_alone_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    languages = Languages(LanguageSettings(route={"it": "unsupported"}))
    message = Message("che bella giornata", "1", 0)
    assert languages.named(message) == message
    assert languages.target(message) == "default"


def test_the_messages_own_language_goes_before_what_is_detected() -> None:
    languages = Languages(LanguageSettings(detect=True, route={"it": "unsupported"}))
    said = Message("che bella giornata", "1", 0, lang="en-GB")
    assert languages.named(said).lang == "en-GB"
    assert languages.target(said) == "default"
    found = languages.named(Message("che bella giornata", "1", 0))
    assert found.lang == "it"
    failure = languages.target(found)
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.reason) == ("classify", "language_unsupported")
    assert "it" in failure.message
    assert "giornata" not in failure.message
