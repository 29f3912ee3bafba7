"""The AsyncAPI parser and ajv, fetched once with npm into a cache folder of the user's."""

import fcntl
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

_HERE = Path(__file__).with_name("node")
_FETCH_LIMIT_S = 300


class NodeMissing(Exception):
    """The tools cannot be run here; `str()` says what is missing."""


def node_modules() -> Path:
    """The folder with the packages, fetched if need be (52 MB).

    Raises:
        NodeMissing: no `node`, or no packages and no way to fetch them.
    """
    if shutil.which("node") is None:
        raise NodeMissing("node is missing")
    package = (_HERE / "package.json").read_text(encoding="utf-8")
    versions = json.loads(package)["dependencies"]
    folder = Path.home() / ".cache" / "moodstream" / f"node-{'-'.join(versions.values())}"
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        done = folder / "complete"
        if not done.exists():
            if shutil.which("npm") is None:
                raise NodeMissing(f"npm is missing, and {folder} has no packages")
            (folder / "package.json").write_text(package, encoding="utf-8")
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
            result = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=_FETCH_LIMIT_S, check=False
            )
            if result.returncode != 0:
                raise NodeMissing(f"npm could not fetch the packages: {result.stderr[-800:]}")
            done.touch()
    return folder / "node_modules"


def ask(tool: str, text: str) -> Any:
    """Run `check.mjs` with one of its tools on a text, and return its answer."""
    command = ["node", str(_HERE / "check.mjs"), tool, str(node_modules())]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
