"""A short run of the fuzzer of packs: `make fuzz` runs a long one."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_changed_packs_give_answers_or_one_line() -> None:
    """In a process of its own: it forks, and limits its memory."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.packs", "--inputs", "300", "--seed", "11", "--seconds", "20"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 findings" in done.stdout
