"""Languages of short posts, what has none, and when a text is surely in no language that is read."""

import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from worker.errors import LanguageError
from worker.model import identifier
from worker.model.identifier import Guess, Identifier
from worker.settings.languages import canonical

# ruff: noqa: RUF001 - letters that look like Latin ones are the point of these texts

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
TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=300)


@pytest.fixture(scope="module")
def identify() -> Identifier:
    return Identifier(list(POSTS))


@pytest.fixture(scope="module")
def among_all() -> Identifier:
    return Identifier()


def named(identify: Identifier, text: str) -> str | None:
    (guess,) = identify([text])
    return guess.language


@pytest.mark.parametrize("language", POSTS)
def test_short_posts_get_their_language(language: str, identify: Identifier) -> None:
    guesses = identify(POSTS[language])
    assert [guess.language for guess in guesses] == [language] * len(POSTS[language])


@pytest.mark.parametrize(
    "text", ["", "😍😍😍", "1234", "!!!", "@anna #fail", "https://example.com/a", "🚆 5"]
)
def test_what_has_no_words_has_no_language(text: str, identify: Identifier) -> None:
    assert identify([text], {"en"}) == [Guess(None)]


def test_links_and_names_do_not_decide(identify: Identifier) -> None:
    noisy = "@thomas_miller https://example.com/this/is/a/long/english/link che bella giornata #weekend"
    assert named(identify, noisy) == "it"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("ɪ ʟᴏᴠᴇ ᴛʜɪꜱ ᴘʀᴏᴅᴜᴄᴛ ꜱᴏ ᴍᴜᴄʜ, ʙᴇꜱᴛ ᴅᴀʏ ᴇᴠᴇʀ", "en"),
        ("ｔｈｅ ｔｒａｉｎ ｉｓ ｌａｔｅ ａｇａｉｎ ａｎｄ ｎｏｂｏｄｙ ｋｎｏｗｓ ｗｈｙ", "en"),
        ("".join(f"&#{ord(letter)};" for letter in "Это очень плохой сервис"), "ru"),
        ("Это очень плохой сервис".encode("unicode_escape").decode(), "ru"),
        (
            "<div class='post'><p>das</p> <p>gefällt</p> <p>mir</p> <p>gar</p> <p>nicht</p></div>",
            "de",
        ),
    ],
)
def test_what_is_read_is_what_a_reader_sees(text: str, language: str, among_all: Identifier) -> None:
    (guess,) = among_all([text], {"en"})
    assert (guess.language, guess.foreign) == (language, language != "en")


def test_with_no_language_that_is_read_every_text_is_foreign(among_all: Identifier) -> None:
    texts = ["The train was late again and nobody knew why.", "das gefällt mir gar nicht", "😍😍"]
    assert [guess.foreign for guess in among_all(texts, frozenset())] == [True, True, False]
    assert [guess.foreign for guess in among_all(texts)] == [False, False, False]


def test_memory_does_not_grow_with_the_number_of_texts(among_all: Identifier) -> None:
    texts = ["I like this a lot"] * 20_000 + ["".join(chr(0x4E00 + 7 * each) for each in range(240))]
    among_all(texts[:2_000], {"en"})
    tracemalloc.start()
    among_all(texts, {"en"})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000_000


def test_a_bar_that_nothing_passes_names_nothing() -> None:
    assert named(Identifier(["en", "it"], min_confidence=1.0), "ok") is None


@given(st.lists(TEXTS, max_size=40))
@settings(max_examples=50)
def test_every_text_gets_an_answer_that_does_not_depend_on_the_others(texts: list[str]) -> None:
    guesses = Identifier()(texts, {"en"})
    assert guesses == [Identifier()([text], {"en"})[0] for text in texts]
    for guess in guesses:
        assert guess.language in {None, "en"} or guess.foreign
        assert not (guess.foreign and guess.language == "en")


@given(st.lists(TEXTS.filter(lambda text: bool(identifier._words(text))), min_size=1, max_size=40))
@settings(max_examples=50)
def test_the_probabilities_are_py3langids(texts: list[str]) -> None:
    words = [identifier._words(text) for text in texts]
    ours = Identifier()
    data = [identifier._as_bytes(text) for text in words]
    for shares, text in zip(ours._shares(data), words, strict=True):
        found = {name: share for name, share in zip(ours._names, shares.tolist(), strict=True) if share}
        wanted = {canonical(label): share for label, share in REFERENCE.rank(text)}
        assert found == pytest.approx({name: wanted[name] for name in found}, abs=1e-4)
        assert sum(found.values()) == pytest.approx(1, abs=1e-4)


REFERENCE: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

SLANG = [
    "idk lol",
    "no cap fr fr",
    "lmaooo bestie ate that up",
    "brooo im deaddd",
    "sis is NOT okay",
    "ngl kinda mid tbh",
    "gr8 m8",
    "yasss queen slayyyy",
    "nigga idk",
    "omg omg omg",
    "wtf is this",
    "pls rt",
    "ayo whaaaat",
    "finna go home",
    "y'all wildin",
    "hella sus",
    "Mafia meme...?",
    "Love da support",
    "w8 wat",
    "gtg ttyl xoxo",
    "soooo goooood",
    "ugh. mondays.",
    "2-1 final",
    "hahahaha",
    "Haha haha HAHA",
    "ha ha ha!!",
    "go go go",
    "na na na na na",
    "jajaja",
    "wyd",
    "gg ez",
    "deja vu",
    "kkkkkkkk",
    "Beyoncé 😍",
    "Jürgen is a legend",
    "Vamos Rafa!!!",
    "innit bruv",
    "gonna yeet it",
]


@pytest.mark.parametrize("text", SLANG)
def test_english_slang_is_not_foreign(text: str, among_all: Identifier) -> None:
    (guess,) = among_all([text], {"en"})
    assert not guess.foreign
    assert guess.language in {None, "en"}


@pytest.mark.parametrize("language", [code for code in POSTS if code != "en"])
def test_other_languages_are_foreign_to_who_reads_english(language: str, among_all: Identifier) -> None:
    assert [guess.foreign for guess in among_all(POSTS[language], {"en"})] == [True] * len(POSTS[language])
    assert not any(guess.foreign for guess in among_all(POSTS[language], {"en", language}))


def test_a_text_can_be_foreign_without_a_name(among_all: Identifier) -> None:
    (guess,) = among_all(["احس جستن بيبر ريحته صنان"], {"en"})
    assert guess == Guess(None, foreign=True)


@pytest.mark.parametrize("text", ["شكرا", "감사", "תודה", "はい"])
def test_one_word_in_another_script_is_enough(text: str, among_all: Identifier) -> None:
    assert among_all([text], {"en"})[0].foreign


@pytest.mark.parametrize("reads", [None, {"haw"}, {"en", "haw"}])
def test_nothing_is_foreign_where_what_is_read_is_not_known(reads: Any, among_all: Identifier) -> None:
    assert among_all(["non mi piace per niente"], reads) == [Guess("it")]


def test_who_says_that_no_english_occurs_is_believed() -> None:
    (guess,) = Identifier(["it", "fa"])(["non mi piace per niente"], {"en"})
    assert guess == Guess("it", foreign=True)


def test_a_candidate_that_the_model_does_not_know_is_named() -> None:
    with pytest.raises(LanguageError) as caught:
        Identifier(["en", "cu"])
    assert "language.candidates" in str(caught.value)
    assert "cu" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def nothing_loaded() -> Iterator[None]:
    identifier._Model.load.cache_clear()
    yield
    identifier._Model.load.cache_clear()


@pytest.mark.usefixtures("nothing_loaded")
def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(LanguageError, match=r"pip install 'py3langid.*language\.detect to false") as caught:
        Identifier()
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("nothing_loaded")
def test_it_needs_no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that is read only has none."""

    def none() -> list[str]:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", none)
    assert [guess.language for guess in Identifier()(["This is the best coffee that I ever had."])] == ["en"]


@pytest.mark.usefixtures("nothing_loaded")
@pytest.mark.parametrize("content", [None, b"", b"not a model", b"\xfd7zXZ\x00 cut off"])
def test_a_missing_or_damaged_model_is_one_line(
    content: bytes | None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.npz.xz"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr("py3langid.langid.MODEL_FILE", str(path))
    with pytest.raises(LanguageError, match=r"py3langid's model cannot be read .*install it again") as caught:
        Identifier()
    assert "\n" not in str(caught.value)
