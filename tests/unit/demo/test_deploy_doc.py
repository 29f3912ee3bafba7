"""`docs/deploy.md` names every exit code there is, and settings that exist."""

import re
from pathlib import Path

from worker.errors import ExitCode
from worker.settings.fields import all_fields

DOC = (Path(__file__).parents[3] / "docs" / "deploy.md").read_text(encoding="utf-8")


def test_the_table_has_every_exit_code() -> None:
    codes = {int(code) for code in ExitCode}
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", DOC, flags=re.MULTILINE)}
    assert rows == codes


def test_every_setting_it_names_exists() -> None:
    groups = {name.split(".")[0] for name in all_fields()}
    named = {name for name in re.findall(r"`([a-z]+\.[a-z_]+)`", DOC) if name.split(".")[0] in groups}
    assert len(named) >= 5
    assert named <= set(all_fields())
    variables = set(re.findall(r"MOODSTREAM_[A-Z]+__[A-Z_]+", DOC))
    assert variables <= {f"MOODSTREAM_{name.replace('.', '__').upper()}" for name in all_fields()}
