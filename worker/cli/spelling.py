"""What a misspelt command probably means."""

from collections.abc import Sequence
from difflib import get_close_matches


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The nearest known word, or None."""
    return next(iter(get_close_matches(word, known, n=1, cutoff=0.6)), None)
