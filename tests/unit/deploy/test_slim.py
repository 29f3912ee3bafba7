"""What the image leaves out is never loaded by a worker."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

from packaging.utils import canonicalize_name

from deploy import slim

EXTRAS = ("html", "lang", "registry")
# rich, structlog and a hook of setuptools load these where they are there, and do without.
OPTIONAL = {"attrs", "colorama", "greenlet", "setuptools"}
_LOAD = """
import sys, worker.cli.main, worker.stream.app, worker.demo.feeder
import worker.messages.html_text, worker.messages.registry, worker.stream.languages
import fastavro, py3langid, selectolax, urllib3
from kafka import codec
from moodstream import Classifier
Classifier().classify(["so good!"])
for name in ("snappy", "lz4", "zstd"):
    assert getattr(codec, f"{name}_encode")(b"data")
for name, module in sys.modules.items():
    print(name.split(".")[0], getattr(module, "__file__", None))
"""


def _loaded() -> list[tuple[str, str]]:
    done = subprocess.run([sys.executable, "-c", _LOAD], capture_output=True, text=True, check=True)
    return [(name, file) for name, _, file in (line.partition(" ") for line in done.stdout.splitlines())]


def test_what_a_worker_loads_stays() -> None:
    loaded = _loaded()
    installed = {canonicalize_name(each.name): each for each in importlib.metadata.distributions()}
    keep = slim.needed(EXTRAS, {name: each.requires or () for name, each in installed.items()})
    owners = importlib.metadata.packages_distributions()
    used = {canonicalize_name(owner) for name, _ in loaded for owner in owners.get(name, ())[:1]}
    assert {"kafka-python", "onnxruntime", "tokenizers", "fastavro", "selectolax", "py3langid"} <= used
    assert used - keep <= {slim.ROOT, *OPTIONAL}
    assert {"huggingface-hub", "pip", "torch", "duckdb"}.isdisjoint(keep)
    for _, file in loaded:
        assert not any(Path(file).match(pattern) for pattern in slim.UNUSED), file


def test_requirements_are_followed_by_extra_and_marker_and_need_not_be_installed() -> None:
    requires = {
        "moodstream": ["tokenizers>=0.2", "kafka-python[zstd]", 'selectolax; extra == "html"', "absent"],
        "tokenizers": ["huggingface-hub", "numpy"],
        "huggingface-hub": ["tqdm"],
        "kafka-python": ['zstandard; extra == "zstd"', 'lz4; extra == "lz4"', 'old; python_version < "3"'],
        "numpy": ["tokenizers"],
        **{name: [] for name in ("tqdm", "zstandard", "lz4", "old", "selectolax", "pip")},
    }
    always = {"tokenizers", "kafka-python", "zstandard", "numpy"}
    assert slim.needed([], requires) == always
    assert slim.needed(["html"], requires) == always | {"selectolax"}


def test_unused_parts_go_and_their_neighbours_stay(tmp_path: Path) -> None:
    gone = ("numpy/core/tests/test_a.py", "numpy/__init__.pyi", "onnxruntime/capi/libonnxruntime.so.1.32.0")
    kept = ("numpy/core/array.py", "numpy/testing/tools.py", "onnxruntime/capi/state.so")
    for name in (*gone, *kept):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    saved = slim.remove_unused(tmp_path)
    assert sum(saved.values()) == 5 * len(gone)
    assert [name for name in (*gone, *kept) if (tmp_path / name).exists()] == list(kept)
    assert not (tmp_path / "numpy/core/tests").exists()
