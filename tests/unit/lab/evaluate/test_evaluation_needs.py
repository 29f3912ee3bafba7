"""Measuring a pack does not need torch."""

import subprocess
import sys


def test_figures_need_no_torch() -> None:
    names = ("measure", "metrics", "score", "thresholds")
    modules = ", ".join(f"worker.lab.evaluate.{name}" for name in names)
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
