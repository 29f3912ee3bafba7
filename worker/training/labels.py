"""The two heads' labels, in the order of their logits."""

from typing import NamedTuple

from worker.training.errors import TrainingError


class HeadSpec(NamedTuple):
    """A classification head before training."""

    name: str
    labels: tuple[str, ...]
    multi_label: bool

    @property
    def problem_type(self) -> str:
        """The name that transformers has for it."""
        return "multi_label_classification" if self.multi_label else "single_label_classification"


NEGATIVE, NEUTRAL, POSITIVE = 0, 1, 2

SENTIMENT = HeadSpec("sentiment", ("negative", "neutral", "positive"), multi_label=False)

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
)  # fmt: skip

HEADS = {head.name: head for head in (SENTIMENT, EMOTION)}


def head_named(name: str) -> HeadSpec:
    """Return a head. Raises TrainingError for a name that no data set trains."""
    if name not in HEADS:
        raise TrainingError(f"no head {name!r}: there is {', '.join(HEADS)}")
    return HEADS[name]
