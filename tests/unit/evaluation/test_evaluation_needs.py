"""Who measures a pack needs no torch."""

import subprocess
import sys


def test_figures_need_no_torch() -> None:
    rooms = "evaluate, metrics, score, thresholds"
    code = f"import sys; from worker.evaluation import {rooms}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
