"""The heads that the known data sets train: their labels, in the order of their logits."""

from collections.abc import Iterable, Sequence

from worker.errors import TrainingError
from worker.heads import MULTI, SINGLE, TOKENS, Gate, Head

NEGATIVE, NEUTRAL, POSITIVE = 0, 1, 2

SENTIMENT = Head("sentiment", SINGLE, ("negative", "neutral", "positive"))

EMOTION = Head(
    "emotion",
    MULTI,
    # The 27 emotions of GoEmotions (Demszky and others 2020) and "neutral", in the data set's own order.
    (
        "admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity",
        "desire", "disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear",
        "gratitude", "grief", "joy", "love", "nervousness", "optimism", "pride", "realization", "relief",
        "remorse", "sadness", "surprise", "neutral",
    ),
    # Ekman's six and neutral, as the authors of the data set group them.
    groups={
        "anger": ("anger", "annoyance", "disapproval"),
        "disgust": ("disgust",),
        "fear": ("fear", "nervousness"),
        "joy": ("joy", "amusement", "approval", "excitement", "gratitude", "love", "optimism", "relief",
                "pride", "admiration", "desire", "caring"),
        "sadness": ("sadness", "disappointment", "embarrassment", "grief", "remorse"),
        "surprise": ("surprise", "realization", "confusion", "curiosity"),
        "neutral": ("neutral",),
    },
)  # fmt: skip

NOT_TOXIC, TOXIC = 0, 1

TOXICITY = Head("toxicity", SINGLE, ("not_toxic", "toxic"))

TOXIC_SPANS = Head(
    "toxic_spans", TOKENS, ("toxic",), layers=(2, 3, 4, 5), gate=Gate(TOXICITY.name, "toxic", 0.15)
)

SIX_EMOTIONS = Head("six_emotions", SINGLE, ("sadness", "joy", "love", "anger", "fear", "surprise"))

EMOJI = Head(
    "emoji",
    SINGLE,
    # Which emoji stood in a tweet, in the order of the data set (Barbieri and others 2018).
    (
        "red_heart", "heart_eyes", "tears_of_joy", "two_hearts", "fire", "smiling_eyes", "sunglasses",
        "sparkles", "blue_heart", "blowing_a_kiss", "camera", "american_flag", "sun", "purple_heart", "wink",
        "hundred", "beaming", "christmas_tree", "camera_flash", "winking_with_tongue",
    ),
)  # fmt: skip

HEADS = {head.name: head for head in (SENTIMENT, EMOTION, TOXICITY, TOXIC_SPANS, SIX_EMOTIONS, EMOJI)}


def check_labels(sentiment: str, emotions: Sequence[str]) -> None:
    """Raise ValueError for a sentiment or an emotion that the heads do not have."""
    if sentiment not in SENTIMENT.labels:
        raise ValueError(f"no sentiment {sentiment[:20]!r}")
    if unknown := [name for name in emotions if name not in EMOTION.labels]:
        raise ValueError(f"no emotion {unknown[0][:20]!r}")


def indexes_of(head: str, sentiment: str, emotions: Sequence[str], toxic: bool) -> tuple[int, ...]:
    """Return the indices of a text's labels in the head for sentiment, emotion or toxicity, in order."""
    if head == SENTIMENT.name:
        return (SENTIMENT.labels.index(sentiment),)
    if head == EMOTION.name:
        return tuple(sorted({EMOTION.labels.index(name) for name in emotions}))
    return (TOXIC if toxic else NOT_TOXIC,)


def in_order(heads: Iterable[Head]) -> list[Head]:
    """Return each head once: the user's heads in their order, then known ones in the order of HEADS."""
    known = list(HEADS)
    each = {head.name: head for head in heads}.values()
    return sorted(each, key=lambda head: known.index(head.name) if head.name in HEADS else -1)


def head_named(name: str) -> Head:
    """Return a known head. Raises TrainingError for an unknown name."""
    if name not in HEADS:
        raise TrainingError(f"no head {name!r}: there is {', '.join(HEADS)}")
    return HEADS[name]
