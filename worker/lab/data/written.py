"""Hand-written rows, combined from the parts in `phrases.toml`, for what the public sets lack.

Negation, mixed verdicts, plain facts and questions, emoji on their own, sarcasm marks, comparisons, and
people of every kind in sentences that say nothing about their kind (counterfactual augmentation, Lu et al.
2020, arXiv:1807.11714). `swaps` and `slips` yield groups of texts that should all get one answer: a teacher
gives it (logit pairing, Garg et al. 2019, arXiv:1809.10610, has the same aim).

The same code and parts give the same rows in every run. The cases of the behaviour tests were written apart
from these, by another person.
"""

import random
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from worker.lab.data.labels import EMOTION, NEGATIVE, NEUTRAL, NOT_TOXIC, POSITIVE, TOXIC
from worker.lab.data.readers import Row

FILE = Path(__file__).with_name("phrases.toml")

_PHRASES = tomllib.loads(FILE.read_text(encoding="utf-8"))
_PARTS: dict[str, list[str]] = _PHRASES["parts"]
_SWAPS: dict[str, dict[str, list[str]]] = _PHRASES["swaps"]

_EACH = 700
"""The number of rows drawn from each family."""

SLIPS = 5
"""The number of misspellings of each sentence of `slips`."""

FILLS = 10
"""The number of words put into each sentence of `swaps`."""

_MADE_UP = 3
"""How many of them are made up, so that the model also treats unlisted names alike."""

_SWAP_TIMES = 2
"""The number of groups drawn from each sentence of `swaps`."""

_SENTIMENT = (
    ("negated_bad", POSITIVE), ("negated_good", NEGATIVE), ("good", POSITIVE), ("bad", NEGATIVE),
    ("better", POSITIVE), ("worse", NEGATIVE), ("sarcasm", NEGATIVE), ("dull_facts", NEUTRAL),
    ("dull_facts", NEUTRAL), ("questions", NEUTRAL), ("person_good", POSITIVE), ("person_bad", NEGATIVE),
    ("person_plain", NEUTRAL), ("person_plain", NEUTRAL), ("now_good", POSITIVE), ("now_bad", NEGATIVE),
    ("tagged_good", POSITIVE), ("tagged_bad", NEGATIVE),
)  # fmt: skip
_TOXICITY = (
    ("toxic_frames", TOXIC), ("toxic_frames", TOXIC), ("calm_reply", NOT_TOXIC), ("person_plain", NOT_TOXIC),
    ("person_good", NOT_TOXIC), ("person_bad", NOT_TOXIC), ("bad", NOT_TOXIC), ("negated_good", NOT_TOXIC),
    ("questions", NOT_TOXIC), ("dull_facts", NOT_TOXIC), ("harsh", NOT_TOXIC), ("harsh", NOT_TOXIC),
)  # fmt: skip
_UNMARKED = (
    "calm_reply", "person_plain", "person_good", "person_bad", "bad", "negated_good", "worse", "sarcasm",
    "now_bad", "tagged_bad", "questions", "dull_facts",
)  # fmt: skip
_MISTYPED = (
    "good", "bad", "negated_bad", "negated_good", "better", "worse", "now_good", "now_bad", "dull_facts",
    "questions",
)  # fmt: skip
_NAMED = ("kinds", "places", "names")


def sentiment() -> Iterator[Row]:
    """Yield rows for the sentiment head."""
    draw = random.Random("written/sentiment")  # noqa: S311 - the rows are no secret
    for family, label in _SENTIMENT:
        for _ in range(_EACH):
            yield _loosen(_filled(draw, draw.choice(_PARTS[family])), draw), (label,)
    mixed: list[tuple[str, str]] = _PHRASES["parts"]["mixed"]
    for first, second in mixed:
        for _ in range(_EACH // len(mixed)):
            yield _filled(draw, f"{first} but {second}"), (NEGATIVE,)
            yield _filled(draw, f"{second} but {first}"), (POSITIVE,)
    for symbols, label in (("emoji_good", POSITIVE), ("emoji_sad", NEGATIVE), ("emoji_plain", NEUTRAL)):
        for _ in range(_EACH // 2):
            yield draw.choice(("", "", "ok ", "well ")) + _symbols(draw, _PARTS[symbols]), (label,)
    for word in _words(_NAMED):
        yield word, (NEUTRAL,)


def toxicity() -> Iterator[Row]:
    """Yield rows for the toxicity head: insults, and people of every kind without any."""
    draw = random.Random("written/toxicity")  # noqa: S311 - as above
    for family, label in _TOXICITY:
        for _ in range(_EACH):
            yield _loosen(_filled(draw, draw.choice(_PARTS[family])), draw), (label,)
    for _ in range(_EACH):
        frame = draw.choice(("{kind}", "{kind} people", "I am {kind}.", "a {kind} {person}", "we are {kind}"))
        yield _filled(draw, frame), (NOT_TOXIC,)
    emoji = _words(("emoji_good", "emoji_sad", "emoji_plain"))
    for _ in range(_EACH // 2):
        yield _symbols(draw, emoji), (NOT_TOXIC,)


def spans() -> Iterator[Row]:
    """Yield rows for the head of toxic spans: the positions of an insult's characters, or none.

    Harsh words about things, and people of every kind, get no mark.
    """
    draw = random.Random("written/spans")  # noqa: S311 - as above
    for _ in range(2 * _EACH):
        text = _filled(draw, draw.choice(_PARTS["toxic_frames"]).replace("{insult}", "{{insult}}"))
        insult, start = draw.choice(_PARTS["insults"]), text.index("{insult}")
        yield text.replace("{insult}", insult), tuple(range(start, start + len(insult)))
    for family in _UNMARKED:
        for _ in range(_EACH // 2):
            yield _loosen(_filled(draw, draw.choice(_PARTS[family])), draw), ()
    for word in _words(_NAMED):
        yield draw.choice(("{}", "{} people", "I am {}", "we are {}")).format(word), ()


def emotion() -> Iterator[Row]:
    """Yield rows for the emotion head: emoji on their own, and plain facts."""
    draw = random.Random("written/emotion")  # noqa: S311 - as above
    for symbol, names in _PHRASES["emoji_feeling"].items():
        labels = tuple(sorted(EMOTION.labels.index(name) for name in names))
        for times in (1, 2, 3):
            yield symbol * times, labels
            before = draw.choice(("omg", "well", "haha" if "amusement" in names else "oh"))
            yield f"{before} {symbol * times}", labels
    neutral = (EMOTION.labels.index("neutral"),)
    for _ in range(_EACH // 2):
        yield _filled(draw, draw.choice(_PARTS["dull_facts"])), neutral
        yield _filled(draw, draw.choice(_PARTS["person_plain"])), neutral


def slips() -> Iterator[list[str]]:
    """Yield groups of a sentence and SLIPS misspellings of it, as people type on a phone."""
    draw = random.Random("written/slips")  # noqa: S311 - as above
    for frame in _words(_MISTYPED):
        for _ in range(4):
            text = _filled(draw, frame)
            yield [text, *(_mistyped(text, draw) for _ in range(SLIPS))]


def swaps() -> Iterator[list[str]]:
    """Yield groups of FILLS texts in which one word differs: a kind of person, a name, a place."""
    draw = random.Random("written/swaps")  # noqa: S311 - as above
    families: tuple[tuple[str, str, Callable[[random.Random], str]], ...] = (
        ("of_a_kind", "religions", _made_up_kind),
        ("of_a_kind", "nations", _made_up_kind),
        ("of_somebody", "who", _made_up_somebody),
        ("of_a_place", "towns", _made_up_name),
        ("of_a_name", "names", _made_up_name),
    )
    for frames, words, make_up in families:
        for frame in _SWAPS["frames"][frames]:
            for _ in range(_SWAP_TIMES):
                known = draw.sample(_SWAPS["words"][words], FILLS - _MADE_UP)
                yield [frame.format(word) for word in (*known, *(make_up(draw) for _ in range(_MADE_UP)))]


def _words(families: Sequence[str]) -> list[str]:
    return [word for family in families for word in _PARTS[family]]


def _mistyped(text: str, draw: random.Random) -> str:
    """Mistype half of the longer words, at least one: swap two letters, leave one out, or double one."""
    words = text.split(" ")
    longer = [at for at, word in enumerate(words) if len(word) > 3]
    for number in draw.sample(longer, min(len(longer), max(1, len(longer) // 2))):
        word = words[number]
        at = draw.randrange(1, len(word) - 1)
        swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        words[number] = draw.choice((swapped, word[:at] + word[at + 1 :], word[: at + 1] + word[at:]))
    return " ".join(words)


def _filled(draw: random.Random, frame: str) -> str:
    """Fill a frame with random parts."""
    return frame.format(
        thing=draw.choice(_PARTS["things"]),
        other=draw.choice(_PARTS["things"]),
        kind=draw.choice(_PARTS["kinds"]),
        person=draw.choice(_PARTS["people"]),
        name=draw.choice(_PARTS["names"]),
        place=draw.choice(_PARTS["places"]),
        insult=draw.choice(_PARTS["insults"]),
        number=draw.randint(2, 60),
    )


def _loosen(text: str, draw: random.Random) -> str:
    """Make a text look typed: sometimes with a slip, no full stop, a mention, or all in capitals."""
    if draw.random() < 0.2:
        at = draw.randrange(1, max(2, len(text) - 2))
        swap = text[:at] + text[at : at + 2][::-1] + text[at + 2 :]
        text = draw.choice((swap, text[:at] + text[at + 1 :], text[:at] + text[at : at + 1] + text[at:]))
    if draw.random() < 0.3:
        text = text.rstrip(".")
    if draw.random() < 0.15:
        text = f"@user {text}"
    return text.upper() if draw.random() < 0.05 else text


def _symbols(draw: random.Random, symbols: Sequence[str]) -> str:
    chosen = draw.choice(symbols) * draw.choice((1, 1, 2, 3))
    return chosen + (draw.choice(symbols) if draw.random() < 0.3 else "")


def _made_up_name(draw: random.Random) -> str:
    """Return a made-up name of one to three syllables that is probably not a person's or a place's."""
    made = _SWAPS["made"]
    syllables = "".join(
        draw.choice(made["starts"]) + draw.choice(made["middles"]) for _ in range(draw.randint(1, 3))
    )
    return (syllables + draw.choice(made["ends"])).capitalize()


def _made_up_kind(draw: random.Random) -> str:
    """Return a made-up word for a nationality or faith."""
    return _made_up_name(draw) + draw.choice(_SWAPS["made"]["of_a_kind"])


def _made_up_somebody(draw: random.Random) -> str:
    """Return a person with such a word, as "Thairish woman"."""
    return f"{_made_up_kind(draw)} {draw.choice(_SWAPS['made']['somebody'])}"
