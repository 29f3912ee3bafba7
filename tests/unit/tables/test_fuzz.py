"""The fuzzer of tables finds nothing in a short run; `make fuzz` runs it for longer."""

import pytest

from tests.fuzz.tables import main


@pytest.mark.parametrize("seed", [1, 2])
def test_a_short_run_of_the_fuzzer_finds_nothing(seed: int) -> None:
    assert main(400, seed) == 0
