"""The heads that the known data sets train: their labels, in the order of their logits."""

from collections.abc import Iterable
from typing import NamedTuple

from worker.errors import TrainingError


class Gate(NamedTuple):
    """When a token head is asked: where this label of that head reaches the threshold."""

    head: str
    label: str
    threshold: float


class Branch(NamedTuple):
    """A token head's own layers, as `worker.model.spans.Branch` describes them."""

    after: int
    layers: int
    n_heads: int = 0
    hidden_dim: int = 0


class HeadSpec(NamedTuple):
    """A classification head before training."""

    name: str
    labels: tuple[str, ...]
    multi_label: bool = False
    layers: tuple[int, ...] = ()
    """A token head's depths: it reads these layers' hidden states of each token, side by side."""
    gate: Gate | None = None
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Coarser labels that follow from these."""
    branch: Branch | None = None
    """A token head's own layers."""

    @property
    def by_token(self) -> bool:
        """It judges every token instead of the whole text."""
        return bool(self.layers)

    @property
    def problem_type(self) -> str:
        """The name that transformers has for it."""
        if self.by_token:
            return "token_classification"
        return "multi_label_classification" if self.multi_label else "single_label_classification"


NEGATIVE, NEUTRAL, POSITIVE = 0, 1, 2

SENTIMENT = HeadSpec("sentiment", ("negative", "neutral", "positive"))

EMOTION = HeadSpec(
    "emotion",
    # The 27 emotions of GoEmotions (Demszky and others 2020) and "neutral", in the data set's own order.
    (
        "admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity",
        "desire", "disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear",
        "gratitude", "grief", "joy", "love", "nervousness", "optimism", "pride", "realization", "relief",
        "remorse", "sadness", "surprise", "neutral",
    ),
    multi_label=True,
    # Ekman's six and neutral, as the authors of the data set group them.
    groups=(
        ("anger", ("anger", "annoyance", "disapproval")),
        ("disgust", ("disgust",)),
        ("fear", ("fear", "nervousness")),
        ("joy", ("joy", "amusement", "approval", "excitement", "gratitude", "love", "optimism", "relief",
                 "pride", "admiration", "desire", "caring")),
        ("sadness", ("sadness", "disappointment", "embarrassment", "grief", "remorse")),
        ("surprise", ("surprise", "realization", "confusion", "curiosity")),
        ("neutral", ("neutral",)),
    ),
)  # fmt: skip

NOT_TOXIC, TOXIC = 0, 1

TOXICITY = HeadSpec("toxicity", ("not_toxic", "toxic"))

TOXIC_SPANS = HeadSpec(
    "toxic_spans", ("toxic",), layers=(2, 3, 4, 5), gate=Gate(TOXICITY.name, "toxic", 0.15)
)

SIX_EMOTIONS = HeadSpec("six_emotions", ("sadness", "joy", "love", "anger", "fear", "surprise"))

HEADS = {head.name: head for head in (SENTIMENT, EMOTION, TOXICITY, TOXIC_SPANS, SIX_EMOTIONS)}


def in_order(heads: Iterable[HeadSpec]) -> list[HeadSpec]:
    """Return each head once: one's own as they come, then the known ones as in HEADS."""
    known = list(HEADS)
    each = {head.name: head for head in heads}.values()
    return sorted(each, key=lambda head: known.index(head.name) if head.name in HEADS else -1)


def head_named(name: str) -> HeadSpec:
    """Return a head. Raises TrainingError for a name that no data set trains."""
    if name not in HEADS:
        raise TrainingError(f"no head {name!r}: there is {', '.join(HEADS)}")
    return HEADS[name]
