"""Small vocabularies as DistilBERTs of other languages have them, and texts to read with them."""

# ruff: noqa: RUF001 - letters that look like Latin ones are the point of these texts

from typing import Any, NamedTuple

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MARKS = list(".,!?'؟،。！")
LATIN = "abcdefghijklmnopqrstuvwxyz"


class Vocabulary(NamedTuple):
    """Tokens after the special ones, what `tokenizer_config.json` says (None: no such file), and texts with
    the tokens that they must become."""

    tokens: list[str]
    settings: dict[str, Any] | None
    texts: dict[str, list[str]]

    @property
    def all(self) -> list[str]:
        return [*SPECIAL, *self.tokens]


def letters(text: str) -> list[str]:
    """Each letter alone and as the rest of a word."""
    return [*text, *(f"##{letter}" for letter in text)]


ITALIAN_CASED = Vocabulary(
    [
        "Che",
        "che",
        "bella",
        "città",
        "Torino",
        "è",
        "in",
        "ritardo",
        "treno",
        "Il",
        "##issima",
        "Per",
        "##ché",
        *MARKS,
        *letters(LATIN + LATIN.upper() + "àèéìòù"),
    ],
    {"do_lower_case": False},
    {
        "Che bella città, Torino!": ["Che", "bella", "città", ",", "Torino", "!"],
        "Il treno è in ritardo.": ["Il", "treno", "è", "in", "ritardo", "."],
        "bellaissima": ["bella", "##issima"],
        "Perché": ["Per", "##ché"],
    },
)

SPANISH_UNCASED = Vocabulary(
    ["que", "buen", "dia", "manana", "no", "me", "gusta", "nada", "##s", *MARKS, "¡", "¿", *letters(LATIN)],
    {"do_lower_case": True},
    {
        "¡Qué buen DÍA!": ["¡", "que", "buen", "dia", "!"],
        "No me gusta nada": ["no", "me", "gusta", "nada"],
        "mañanas": ["manana", "##s"],
    },
)

SPANISH_WITH_ACCENTS = Vocabulary(
    ["qué", "día", "mañana", "que", "buen", *MARKS, "¡", *letters(LATIN + "áéíóúñ")],
    {"do_lower_case": True, "strip_accents": False},
    {"¡Qué buen DÍA!": ["¡", "qué", "buen", "día", "!"], "Mañana": ["mañana"]},
)

PERSIAN = Vocabulary(
    ["خیلی", "خوب", "بود", "قطار", "دیر", "کرد", "می", "##بینمت", "فردا", "آ", "##ب", *MARKS],
    {"do_lower_case": False, "strip_accents": False},
    {
        "قطار دیر کرد؟": ["قطار", "دیر", "کرد", "؟"],
        "خیلی خوب بود، آب": ["خیلی", "خوب", "بود", "،", "آ", "##ب"],
        "می\u200cبینمت": ["می", "##بینمت"],  # BERT's cleaning takes the joiner out
    },
)

ARABIC = Vocabulary(
    ["الطعام", "لذيذ", "جدا", "شكرا", *MARKS],
    {"do_lower_case": False},
    {"الطعام لذيذ جدا!": ["الطعام", "لذيذ", "جدا", "!"], "شكرا": ["شكرا"]},
)

CHINESE = Vocabulary(
    [*"今天气真好我很高兴", "ok", *MARKS],
    {"do_lower_case": False},
    {"今天天气真好！": [*"今天天气真好", "！"], "我很高兴ok": [*"我很高兴", "ok"]},
)

CHINESE_IN_WORDS = Vocabulary(
    ["今天", "天气", "##天气", *MARKS],
    {"do_lower_case": False, "tokenize_chinese_chars": False},
    {"今天天气！": ["今天", "##天气", "！"]},
)

MULTILINGUAL_CASED = Vocabulary(
    [
        "The",
        "train",
        "Der",
        "Zug",
        "ist",
        "spät",
        "поезд",
        "опаздывает",
        "電",
        "車",
        "열",
        "##차",
        "बहुत",
        "很",
        "好",
        *MARKS,
        *letters(LATIN),
    ],
    {"do_lower_case": False, "model_max_length": 512},
    {
        "The train": ["The", "train"],
        "Der Zug ist spät.": ["Der", "Zug", "ist", "spät", "."],
        "поезд опаздывает": ["поезд", "опаздывает"],
        "電車": ["電", "車"],
        "很好 बहुत": ["很", "好", "बहुत"],
        "열차": ["열", "##차"],
    },
)

CASED_AND_NOTHING_SAID = Vocabulary(
    ["Great", "great", "film", "Film", "London", *letters(LATIN), *MARKS],
    None,
    {"Great film, London!": ["Great", "film", ",", "London", "!"]},
)

UNCASED_AND_NOTHING_SAID = Vocabulary(
    ["great", "film", "[unused1]", "[unusedA]", *letters(LATIN), *MARKS],
    None,
    {"Great FILM!": ["great", "film", "!"]},
)

ALL: dict[str, Vocabulary] = {
    "italian cased": ITALIAN_CASED,
    "spanish uncased": SPANISH_UNCASED,
    "spanish with its accents": SPANISH_WITH_ACCENTS,
    "persian": PERSIAN,
    "arabic": ARABIC,
    "chinese": CHINESE,
    "chinese in words": CHINESE_IN_WORDS,
    "multilingual cased": MULTILINGUAL_CASED,
    "cased, nothing said": CASED_AND_NOTHING_SAID,
    "uncased, nothing said": UNCASED_AND_NOTHING_SAID,
}
