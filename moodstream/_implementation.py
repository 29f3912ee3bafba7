"""Imports Moodstream's package `worker`, whatever else goes by that name.

`worker` is a common name: a script, a Celery application or a folder in a project may have it, and the
current folder comes first in the path of a notebook and of `python -m`. Moodstream's own package is the one
that lies beside this one. Where another `worker` is found first, ours is imported in a moment during which
the name is ours, and the other gets the name back.
"""

import contextlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

_NAME = "worker"
_HOME = Path(__file__).resolve().parent.parent / _NAME

_lock = threading.RLock()
_ours: dict[str, ModuleType] = {}
"""Our modules by their names, while others have these names."""


@contextlib.contextmanager
def implementation() -> Iterator[None]:
    """Within the block `import worker` gives Moodstream's package; after it, what it gave before."""
    with _lock:
        if not _is_hidden():
            yield
            return
        others = _taken_out()
        sys.modules.update(_ours or {_NAME: _made()})
        try:
            if not _ours:
                _run(sys.modules[_NAME])
            yield
        finally:
            _ours.update(_taken_out())
            theirs = _search_path(others.get(_NAME))
            sys.modules.update({name: module for name, module in _ours.items() if _is_free(name, theirs)})
            sys.modules.update(others)


def take_name() -> None:
    """Make `worker` ours for the rest of the process: for one that runs nothing but Moodstream."""
    with _lock:
        if _is_hidden():
            _taken_out()
            sys.modules[_NAME] = _made()
            _run(sys.modules[_NAME])


def _is_hidden() -> bool:
    """Whether `import worker` would give something else."""
    module = sys.modules.get(_NAME)
    if module is not None:
        return not _is_ours(getattr(module, "__file__", None))
    try:
        spec = importlib.util.find_spec(_NAME)
    except (ImportError, ValueError):  # a finder of somebody else's
        return True
    return spec is None or not _is_ours(spec.origin)


def _is_ours(file: str | None) -> bool:
    return file is not None and Path(file).resolve().parent == _HOME


def _search_path(module: ModuleType | None) -> list[str]:
    """Return where the other `worker` has its submodules, loaded or not; nowhere for a plain module."""
    if module is not None:
        return list(getattr(module, "__path__", ()))
    spec = importlib.util.find_spec(_NAME)
    return list(spec.submodule_search_locations or ()) if spec is not None else []


def _is_free(name: str, theirs: list[str]) -> bool:
    """Whether one of our modules can keep its name: the other `worker` has no submodule that is called so."""
    first = ".".join(name.split(".")[:2])
    return first != _NAME and PathFinder.find_spec(first, theirs) is None


def _taken_out() -> dict[str, ModuleType]:
    """Take `worker` and all modules below it out of those that are loaded, and return them."""
    names = [name for name in sys.modules if name == _NAME or name.startswith(f"{_NAME}.")]
    return {name: sys.modules.pop(name) for name in names}


def _made() -> ModuleType:
    """Make our package's module; `_run` fills it."""
    spec = importlib.util.spec_from_file_location(
        _NAME, _HOME / "__init__.py", submodule_search_locations=[str(_HOME)]
    )
    assert spec is not None  # noqa: S101 - a file that ends in .py has one
    return importlib.util.module_from_spec(spec)


def _run(module: ModuleType) -> None:
    spec = module.__spec__
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - `_made` gave it both
    spec.loader.exec_module(module)
