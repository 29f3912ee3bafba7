"""Fixtures for all tests."""

from collections.abc import Callable

import pytest
from hypothesis import settings

# No limit of time for an example: these machines are shared, and a slow moment is no fault.
settings.register_profile("moodstream", deadline=None)
settings.load_profile("moodstream")

_TOLD: list[str] = []


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keeps a line for the end of the run, passed tests included: what a proof counted.

    The line travels with the test's report, so that it also arrives from the processes of pytest-xdist.
    """

    def say(line: str) -> None:
        request.node.user_properties.append(("told", line))

    return say


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        _TOLD.extend(str(line) for name, line in report.user_properties if name == "told")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _TOLD:
        terminalreporter.write_line(line)
