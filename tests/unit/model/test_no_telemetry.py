"""Nothing is reported to anybody: texts of users pass through this process."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_loading_the_model_leaves_no_trace_of_telemetry(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    code = "from worker.model import session; import os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "1"
    # onnxruntime's reporter keeps a session file there; onnxruntime 1.32 writes `.ses` on import.
    assert list(tmp_path.iterdir()) == []
