"""A clock that a test sets."""

import pytest


class Clock:
    """Stands until it is set forward. Seconds."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()
