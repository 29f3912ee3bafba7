"""Whether the worker is alive, and whether it is ready."""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

READY_CHECKS = ("model", "brokers", "partitions")
"""What a worker needs to be ready: the model loaded, brokers reached, partitions assigned."""


class Health:
    """Keeps what the parts of a worker report. Every method may be called from any thread.

    A part that has called `beat` once must call it again within `stall_after_s`, until it calls `rest`. A
    thread passed to `watch` must stay alive. Otherwise `healthy` is false. `ready` is false then too, and
    while one of `ready_checks`, or anything else passed to `set_ready`, is false.
    """

    def __init__(
        self,
        stall_after_s: float,
        ready_checks: Iterable[str] = READY_CHECKS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stall_after_s = stall_after_s
        self._clock = clock
        self._lock = threading.Lock()
        self._beats: dict[str, float] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._ready = dict.fromkeys(ready_checks, False)

    def beat(self, name: str) -> None:
        """The part `name` is making progress."""
        with self._lock:
            self._beats[name] = self._clock()

    def rest(self, name: str) -> None:
        """The part `name` ends on purpose: neither its silence nor the end of its thread is a fault."""
        with self._lock:
            self._beats.pop(name, None)
            self._threads.pop(name, None)

    def watch(self, name: str, thread: threading.Thread) -> None:
        """From now on the worker is alive only while this thread is."""
        with self._lock:
            self._threads[name] = thread

    def set_ready(self, name: str, ready: bool) -> None:
        """Set whether something that the worker needs is available."""
        with self._lock:
            self._ready[name] = ready

    def waiting(self, name: str) -> None:
        """Report that the worker waits for `name`, such as brokers: it is alive, but not ready."""
        with self._lock:
            self._ready[name] = False
            now = self._clock()
            self._beats = dict.fromkeys(self._beats, now)

    def healthy(self) -> tuple[bool, dict[str, Any]]:
        """Whether all parts make progress, and the state of each, ready for JSON."""
        with self._lock:
            now = self._clock()
            checks: dict[str, dict[str, Any]] = {}
            for name, at in self._beats.items():
                silent = now - at
                checks[name] = {"ok": silent <= self._stall_after_s, "silent_seconds": round(silent, 3)}
            for name, thread in self._threads.items():
                alive = thread.is_alive()
                check = checks.setdefault(name, {"ok": True})
                check.update(ok=check["ok"] and alive, thread_alive=alive)
        return _verdict(checks)

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether the worker is healthy and has everything it needs; and each check, ready for JSON."""
        alive, _ = self.healthy()
        with self._lock:
            checks: dict[str, dict[str, Any]] = {name: {"ok": ok} for name, ok in self._ready.items()}
        return _verdict({"healthy": {"ok": alive}, **checks})


def _verdict(checks: dict[str, dict[str, Any]]) -> tuple[bool, dict[str, Any]]:
    fine = all(check["ok"] for check in checks.values())
    return fine, {"status": "ok" if fine else "failing", "checks": checks}
