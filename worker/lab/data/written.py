"""Rows of our own writing, put together from parts: what the public sets leave out.

Negation, mixed verdicts, plain facts and questions, emoji that stand alone, sarcasm marks, comparisons, and
people of every kind in sentences that say nothing about their kind (counterfactual augmentation, Lu et al.
2020, arXiv:1807.11714). The same seed gives the same rows. The cases of the behaviour tests were written
apart from these, by another person.
"""

import random
from collections.abc import Iterator

from worker.lab.data.labels import EMOTION, NEGATIVE, NEUTRAL, NOT_TOXIC, POSITIVE, TOXIC
from worker.lab.data.written_parts import (
    BAD,
    BETTER,
    CALM_REPLY,
    DULL_FACTS,
    EMOJI_FEELING,
    EMOJI_GOOD,
    EMOJI_PLAIN,
    EMOJI_SAD,
    GOOD,
    HARSH,
    INSULTS,
    KINDS,
    MIXED,
    NAMES,
    NEGATED_BAD,
    NEGATED_GOOD,
    NOW_BAD,
    NOW_GOOD,
    PEOPLE,
    PERSON_BAD,
    PERSON_GOOD,
    PERSON_PLAIN,
    PLACES,
    QUESTIONS,
    SARCASM,
    TAGGED_BAD,
    TAGGED_GOOD,
    THINGS,
    TOXIC_FRAMES,
    WORSE,
)

Row = tuple[str, tuple[int, ...]]
_EACH = 700
"""Rows drawn from a family."""
SLIPS = 5
"""Ways in which each sentence of `slips` is mistyped."""


def sentiment() -> Iterator[Row]:
    """Yield rows for the sentiment head."""
    draw = random.Random("written/sentiment")  # noqa: S311 - the rows are no secret
    families = (
        (NEGATED_BAD, POSITIVE), (NEGATED_GOOD, NEGATIVE), (GOOD, POSITIVE), (BAD, NEGATIVE),
        (BETTER, POSITIVE), (WORSE, NEGATIVE), (SARCASM, NEGATIVE), (DULL_FACTS, NEUTRAL),
        (DULL_FACTS, NEUTRAL), (QUESTIONS, NEUTRAL), (PERSON_GOOD, POSITIVE), (PERSON_BAD, NEGATIVE),
        (PERSON_PLAIN, NEUTRAL), (PERSON_PLAIN, NEUTRAL),
        (NOW_GOOD, POSITIVE), (NOW_BAD, NEGATIVE), (TAGGED_GOOD, POSITIVE), (TAGGED_BAD, NEGATIVE),
    )  # fmt: skip
    for frames, label in families:
        for _ in range(_EACH):
            yield _loosen(_filled(draw, draw.choice(frames)), draw), (label,)
    for first, second in MIXED:
        for _ in range(_EACH // len(MIXED)):
            yield _filled(draw, f"{first} but {second}"), (NEGATIVE,)
            yield _filled(draw, f"{second} but {first}"), (POSITIVE,)
    for symbols, label in ((EMOJI_GOOD, POSITIVE), (EMOJI_SAD, NEGATIVE), (EMOJI_PLAIN, NEUTRAL)):
        for _ in range(_EACH // 2):
            yield draw.choice(("", "", "ok ", "well ")) + _symbols(draw, symbols), (label,)
    for kind in (*KINDS, *PLACES, *NAMES):
        yield kind, (NEUTRAL,)


def toxicity() -> Iterator[Row]:
    """Yield rows for the toxicity head: insults, and people of every kind without any."""
    draw = random.Random("written/toxicity")  # noqa: S311 - as above
    for frames, label in (
        (TOXIC_FRAMES, TOXIC), (TOXIC_FRAMES, TOXIC), (CALM_REPLY, NOT_TOXIC), (PERSON_PLAIN, NOT_TOXIC),
        (PERSON_GOOD, NOT_TOXIC), (PERSON_BAD, NOT_TOXIC), (BAD, NOT_TOXIC), (NEGATED_GOOD, NOT_TOXIC),
        (QUESTIONS, NOT_TOXIC), (DULL_FACTS, NOT_TOXIC), (HARSH, NOT_TOXIC), (HARSH, NOT_TOXIC),
    ):  # fmt: skip
        for _ in range(_EACH):
            yield _loosen(_filled(draw, draw.choice(frames)), draw), (label,)
    for _ in range(_EACH):
        frame = draw.choice(("{kind}", "{kind} people", "I am {kind}.", "a {kind} {person}", "we are {kind}"))
        yield _filled(draw, frame), (NOT_TOXIC,)
    for _ in range(_EACH // 2):
        yield _symbols(draw, (*EMOJI_GOOD, *EMOJI_SAD, *EMOJI_PLAIN)), (NOT_TOXIC,)


def spans() -> Iterator[Row]:
    """Yield rows for the token head of toxic spans: the places of an insult's characters, or none.

    Harsh words about things, and people of every kind, are nothing to mark.
    """
    draw = random.Random("written/spans")  # noqa: S311 - as above
    for _ in range(2 * _EACH):
        text = _filled(draw, draw.choice(TOXIC_FRAMES).replace("{insult}", "{{insult}}"))
        insult, start = draw.choice(INSULTS), text.index("{insult}")
        yield text.replace("{insult}", insult), tuple(range(start, start + len(insult)))
    for frames in (
        CALM_REPLY, PERSON_PLAIN, PERSON_GOOD, PERSON_BAD, BAD, NEGATED_GOOD, WORSE, SARCASM, NOW_BAD,
        TAGGED_BAD, QUESTIONS, DULL_FACTS,
    ):  # fmt: skip
        for _ in range(_EACH // 2):
            yield _loosen(_filled(draw, draw.choice(frames)), draw), ()
    for kind in (*KINDS, *PLACES, *NAMES):
        yield draw.choice(("{}", "{} people", "I am {}", "we are {}")).format(kind), ()


def emotion() -> Iterator[Row]:
    """Yield rows for the emotion head: emoji alone, and plain facts."""
    draw = random.Random("written/emotion")  # noqa: S311 - as above
    for symbol, names in EMOJI_FEELING.items():
        labels = tuple(sorted(EMOTION.labels.index(name) for name in names))
        for times in (1, 2, 3):
            yield symbol * times, labels
            yield (
                f"{draw.choice(('omg', 'well', 'haha' if 'amusement' in names else 'oh'))} {symbol * times}",
                labels,
            )
    for _ in range(_EACH // 2):
        yield _filled(draw, draw.choice(DULL_FACTS)), (EMOTION.labels.index("neutral"),)
        yield _filled(draw, draw.choice(PERSON_PLAIN)), (EMOTION.labels.index("neutral"),)


def slips() -> Iterator[list[str]]:
    """Yield groups of a sentence and SLIPS ways to mistype it, as people do on a phone."""
    draw = random.Random("written/slips")  # noqa: S311 - as above
    for frame in (
        *GOOD, *BAD, *NEGATED_BAD, *NEGATED_GOOD, *BETTER, *WORSE, *NOW_GOOD, *NOW_BAD,
        *DULL_FACTS, *QUESTIONS,
    ):  # fmt: skip
        for _ in range(4):
            text = _filled(draw, frame)
            yield [text, *(_mistyped(text, draw) for _ in range(SLIPS))]


def _mistyped(text: str, draw: random.Random) -> str:
    """Write half of the longer words, one at least, with two letters swapped, one left out or one twice."""
    words = text.split(" ")
    longer = [at for at, word in enumerate(words) if len(word) > 3]
    for number in draw.sample(longer, min(len(longer), max(1, len(longer) // 2))):
        word = words[number]
        at = draw.randrange(1, len(word) - 1)
        swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        words[number] = draw.choice((swapped, word[:at] + word[at + 1 :], word[: at + 1] + word[at:]))
    return " ".join(words)


def _filled(draw: random.Random, frame: str) -> str:
    """Put parts into a frame."""
    return frame.format(
        thing=draw.choice(THINGS),
        other=draw.choice(THINGS),
        kind=draw.choice(KINDS),
        person=draw.choice(PEOPLE),
        name=draw.choice(NAMES),
        place=draw.choice(PLACES),
        insult=draw.choice(INSULTS),
        number=draw.randint(2, 60),
    )


def _loosen(text: str, draw: random.Random) -> str:
    """Write as people type: at times a letter twice, swapped or left out, no full stop, a tag, a mention."""
    if draw.random() < 0.2:
        at = draw.randrange(1, max(2, len(text) - 2))
        swap = text[:at] + text[at : at + 2][::-1] + text[at + 2 :]
        text = draw.choice((swap, text[:at] + text[at + 1 :], text[:at] + text[at : at + 1] + text[at:]))
    if draw.random() < 0.3:
        text = text.rstrip(".")
    if draw.random() < 0.15:
        text = f"@user {text}"
    return text.upper() if draw.random() < 0.05 else text


def _symbols(draw: random.Random, symbols: tuple[str, ...]) -> str:
    chosen = draw.choice(symbols) * draw.choice((1, 1, 2, 3))
    return chosen + (draw.choice(symbols) if draw.random() < 0.3 else "")
