"""Remove from an installed environment what a worker never loads. The image's build runs it in there.

    python slim.py EXTRAS            # as they were installed: html,registry

It prints what each removal saves. Moodstream itself goes too, since the image gets it as a layer of its own;
so does pip.
"""

import importlib.metadata
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = "moodstream"
NOT_LOADED = {"tokenizers": {"huggingface-hub"}}
"""Requirements that are not followed: tokenizers asks for the hub's client, to download what a pack holds."""

UNUSED = (
    # Python's module has all of onnxruntime in itself; this is a second copy, for programs in C.
    "onnxruntime/capi/libonnxruntime.so*",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    # For PyPy; CPython takes the other one.
    "zstandard/_cffi*",
    "numpy/f2py",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/random/lib",
    "**/tests",
    "**/*.pyi",
)
"""Parts of packages, as patterns below site-packages."""

NOT_STRIPPED = ("*.libs", "onnxruntime")
"""Folders whose libraries were patched after linking, which `strip` may break, or have no symbols."""


def needed(extras: Iterable[str], requires: Mapping[str, Iterable[str]]) -> set[str]:
    """Names of the packages that Moodstream loads.

    Args:
        extras: Moodstream's extras that are installed.
        requires: the requirements of each installed package, by its canonical name.
    """
    found: set[str] = set()
    waiting = {(ROOT, extra) for extra in ("", *extras)}
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        found.add(name)
        for requirement in map(Requirement, requires[name]):
            wanted = canonicalize_name(requirement.name)
            marker = requirement.marker
            if wanted in NOT_LOADED.get(name, ()) or wanted not in requires:
                continue
            if marker is None or marker.evaluate({"extra": extra}):
                more = {(wanted, each) for each in ("", *requirement.extras)} - seen
                waiting |= more
                seen |= more
    return found - {ROOT}


def remove_packages(extras: Iterable[str]) -> dict[str, int]:
    """Remove the packages that are not needed; bytes by name."""
    installed = {canonicalize_name(each.name): each for each in importlib.metadata.distributions()}
    keep = needed(extras, {name: each.requires or () for name, each in installed.items()})
    saved: dict[str, int] = {}
    for name in sorted(installed.keys() - keep):
        files = [Path(str(each.locate())) for each in installed[name].files or ()]
        saved[name] = sum(map(remove, files))
    return saved


def remove_unused(site_packages: Path) -> dict[str, int]:
    """Remove the unused parts of packages; bytes by pattern."""
    return {pattern: sum(map(remove, sorted(site_packages.glob(pattern)))) for pattern in UNUSED}


def strip_symbols(site_packages: Path) -> int:
    """Remove the symbols of compiled modules that only a debugger reads; bytes saved. Needs `strip`."""
    saved = 0
    for path in sorted(site_packages.rglob("*.so")):
        if not any(parent.match(each) for parent in path.parents for each in NOT_STRIPPED):
            before = path.stat().st_size
            subprocess.run(["strip", "--strip-unneeded", path], check=True)  # noqa: S603, S607 - of binutils
            saved += before - path.stat().st_size
    return saved


def remove(path: Path) -> int:
    """Remove a file or a folder, and a folder that is empty then; its bytes, 0 where there is none."""
    if not path.exists():
        return 0
    files = [each for each in (path, *path.rglob("*")) if each.is_file() and not each.is_symlink()]
    size = sum(each.stat().st_size for each in files)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    while not any(path.parent.iterdir()):
        path = path.parent
        path.rmdir()
    return size


def main(extras: str) -> None:
    """Do all of it."""
    site_packages = Path(sysconfig.get_path("purelib"))
    saved = remove_packages([each for each in extras.split(",") if each])
    saved |= remove_unused(site_packages)
    saved["symbols"] = strip_symbols(site_packages)
    for what, size in sorted(saved.items(), key=lambda item: -item[1]):
        sys.stdout.write(f"{size / 1e6:6.1f} MB  {what}\n")
    sys.stdout.write(f"{sum(saved.values()) / 1e6:6.1f} MB  saved\n")


if __name__ == "__main__":
    main(sys.argv[1])
