"""The onnxruntime session of a pack."""

import contextlib
import os
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

# Before the import: the wheels for Linux send telemetry as soon as they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort
from numpy.typing import NDArray

from worker.errors import InferenceError, PackError, one_line
from worker.model.cpu import available_memory, saturates
from worker.model.forks import no_fork
from worker.model.graph import check_graph

IDS, LENGTHS = "ids", "lengths"
"""Inputs of the graph: token numbers (batch, longest) and how many of each row count (batch), both int32."""


_LEAST_MEMORY = 1 << 30

FIRST_PASS_LIMIT_S, _FIRST_PASS_TOKENS = 20.0, 128
"""How long a pass over one row may take at the start, and how many tokens that row has at most. With ordinary
encoders it takes some 0.1 s; the longest rows would take half a second of every start."""


@cache
def _limit_memory() -> None:
    """Make all sessions of this process share one memory pool, half of what the process may use.

    A graph can make a tensor of any size out of small ones by joining them repeatedly; with the limit it gets
    an error instead of exhausting the machine.
    """
    kind = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    limit = max(_LEAST_MEMORY, available_memory() // 2)
    with contextlib.suppress(Exception):  # another part of the process has made such a pool: use that one
        ort.create_and_register_allocator(kind, ort.OrtArenaCfg({"max_mem": limit}))


class Session:
    """One graph, ready to run.

    Several threads may run passes at the same time, which is how to use more than one core: a pass itself
    runs on the thread that calls it. Passes of a few hundred tokens are too short to split: handing each of
    their small operators to a second thread costs most of what the second thread gains.
    """

    def __init__(
        self,
        path: Path,
        outputs: Sequence[str],
        others: Sequence[str] = (),
        content: bytes | None = None,
        *,
        longest: int = 1,
    ) -> None:
        """Check and load the ONNX graph at `path`, which must have these outputs.

        `outputs` give one result per row of the batch, `others` any number. `content` is the file's content
        if it was read already; `path` is then only named in errors. `longest` is the number of tokens in the
        longest row, which a first pass tries.

        Raises:
            PackError: the graph is not allowed, cannot be loaded, takes longer than `FIRST_PASS_LIMIT_S` for
                one row, or has other inputs or outputs.
        """
        try:
            content = path.read_bytes() if content is None else content
        except OSError as error:
            raise PackError(f"{path} cannot be read: {error.strerror or error}") from error
        check_graph(content, path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised; a log line would only repeat them
        # Never onnxruntime's own format, whatever the bytes look like: it was not checked.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.add_session_config_entry("session.use_env_allocators", "1")
        _limit_memory()
        if saturates():
            options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            # Constant folding would compute constant expressions here, outside of the limited memory. The
            # graphs of this project have none.
            self._session = ort.InferenceSession(
                content,
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=["ConstantFolding"],
                enable_fallback=0,  # the fallback tries the same again, and prints that it does
            )
        except Exception as error:
            # onnxruntime's errors share no base class but Exception.
            raise PackError(f"{path} cannot be loaded: {one_line(error)}") from error
        self._outputs, self._others = list(outputs), list(others)
        self._check(path)
        self.tried = self._try_out(path, longest)
        """The outputs of a first pass over one row, in order; None if it failed."""

    def _try_out(self, path: Path, longest: int) -> list[NDArray[np.float32]] | None:
        """Run one pass within `FIRST_PASS_LIMIT_S`: allowed operators can also be made to compute for hours.

        A graph that fails with this row fails with its texts, which get the reason.
        """
        options = ort.RunOptions()
        options.log_severity_level = 4
        late = threading.Event()

        def end() -> None:
            late.set()
            options.terminate = True

        timer = threading.Timer(FIRST_PASS_LIMIT_S, end)
        timer.daemon = True
        timer.start()
        longest = min(longest, _FIRST_PASS_TOKENS)
        ids, lengths = np.zeros((1, longest), dtype=np.int32), np.array([longest], dtype=np.int32)
        found: Sequence[NDArray[np.float32]] | None = None
        try:
            with contextlib.suppress(Exception):
                found = self._session.run(
                    [*self._outputs, *self._others], {IDS: ids, LENGTHS: lengths}, options
                )
        finally:
            timer.cancel()
        if late.is_set():
            raise PackError(
                f"{path}: one row of {longest} tokens takes longer than {FIRST_PASS_LIMIT_S:g} s to label"
            )
        return None if found is None else list(found)

    def _check(self, path: Path) -> None:
        inputs = {item.name for item in self._session.get_inputs()}
        outputs = {item.name for item in self._session.get_outputs()}
        if inputs != {IDS, LENGTHS}:
            raise PackError(f"{path}: the graph wants inputs {sorted(inputs)}, not {[IDS, LENGTHS]}")
        if missing := [name for name in [*self._outputs, *self._others] if name not in outputs]:
            raise PackError(f"{path}: the graph has no output {missing[0]!r}")

    def run(self, rows: Sequence[Sequence[int]]) -> list[NDArray[Any]]:
        """Run one forward pass over rows of token numbers, padded to the longest of them.

        Returns one array (batch, …) for each of the outputs asked for, then the others, in their order.

        Raises:
            InferenceError: onnxruntime refused the batch, or returned a different number of rows.
        """
        lengths = np.fromiter(map(len, rows), dtype=np.int32, count=len(rows))
        ids = np.zeros((len(rows), int(lengths.max())), dtype=np.int32)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = tokens
        try:
            with no_fork():
                outputs = self._session.run([*self._outputs, *self._others], {IDS: ids, LENGTHS: lengths})
        except Exception as error:
            raise InferenceError(f"the forward pass failed: {one_line(error)}") from error
        for name, values in zip(self._outputs, outputs, strict=False):
            if len(values) != len(rows):
                raise InferenceError(f"output {name}: {len(values)} results for a batch of {len(rows)}")
        return list(outputs)
