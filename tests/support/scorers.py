"""A stand-in for a model whose scores a test makes up."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

from worker.heads import Head


class TextScorer:
    """A scorer of whole texts. A subclass says how; it has no token head, so nobody may ask for one."""

    title = "made up"

    def __init__(self, *heads: Head) -> None:
        self.heads: Mapping[str, Head] = {head.name: head for head in heads}

    def tokens(self, texts: Sequence[str], max_tokens: int, head: str) -> NoReturn:
        raise AssertionError(f"{head} was asked for tokens")

    def ranges(self, texts: Sequence[str], max_tokens: int, head: str) -> NoReturn:
        raise AssertionError(f"{head} was asked for ranges")
