"""The container engine of this machine and the image, built once for all tests."""

from collections.abc import Iterator

import pytest

from tests.support.containers import Engine, EngineMissing, engine


@pytest.fixture(scope="session")
def containers() -> Iterator[Engine]:
    """The engine, with the image of this checkout built; without an engine the tests are skipped."""
    try:
        with engine() as found:
            found.build()
            yield found
    except EngineMissing as missing:
        pytest.skip(str(missing))
