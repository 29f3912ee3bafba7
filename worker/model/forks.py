"""Makes a fork safe while other threads label.

A forked child has one thread, and every lock of the parent as it was at that moment: one that onnxruntime or
the tokenizer held would never be released in the child. A fork therefore waits until no pass runs. The
sessions themselves have no threads of their own, so the child can go on with them.
"""

import contextlib
import os
import threading
from collections.abc import Iterator

_LONGEST_WAIT_S = 10.0
"""Only a fork out of a pass, from a signal handler, waits so long: that pass cannot end before it."""

_PARALLEL = "TOKENIZERS_PARALLELISM"
"""The tokenizer's threads are gone in the child too. Unless this says so, each fork prints a warning."""


class _Passes:
    """Counts the passes that run now, and lets none begin while a fork waits."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.Lock())
        self.running = 0
        self.forking = False
        self.was_set = True

    def begin(self) -> None:
        with self.changed:
            self.changed.wait_for(lambda: not self.forking)
            self.running += 1

    def end(self) -> None:
        with self.changed:
            self.running -= 1
            if self.forking:
                self.changed.notify_all()

    def before_fork(self) -> None:
        self.changed.acquire()
        self.forking = True
        self.changed.wait_for(lambda: not self.running, _LONGEST_WAIT_S)
        self.was_set = _PARALLEL in os.environ
        if not self.was_set:
            os.environ[_PARALLEL] = "false"

    def in_parent(self) -> None:
        if not self.was_set:
            del os.environ[_PARALLEL]
        self.forking = False
        self.changed.notify_all()
        self.changed.release()

    def in_child(self) -> None:
        self.changed = threading.Condition(threading.Lock())
        self.running, self.forking = 0, False


_passes = _Passes()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_passes.before_fork,
        after_in_parent=_passes.in_parent,
        after_in_child=_passes.in_child,
    )


@contextlib.contextmanager
def no_fork() -> Iterator[None]:
    """Hold up any fork of this process until the block is left; blocks must not be nested."""
    _passes.begin()
    try:
        yield
    finally:
        _passes.end()
