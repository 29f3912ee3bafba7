"""The output of `moodstream label`: standard output, a pipe, or a file that appears when it is complete.

A file's rows are first written as JSON lines to `NAME.partial` beside it, with `NAME.partial.state`, which
says how far the inputs are done. At the end the rows are written in the format of the name, to a temporary
file that is then renamed. So an interrupted run can go on, and nothing half-written has the final name.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, NamedTuple, Self

import orjson

from worker.errors import OutputError, printable
from worker.tables.open import is_folder

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LONGEST_NAME = 200  # of 255 bytes, which file systems allow

_ENDINGS: dict[str, Literal["jsonl", "csv", "parquet"]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


class FileFormat(NamedTuple):
    """What is written into a file, by its name."""

    kind: Literal["jsonl", "csv", "parquet"] = "jsonl"
    delimiter: str = ","
    gzipped: bool = False
    suffix: str = ".jsonl"
    """The ending of a part in a folder."""


def output_format(name: str) -> FileFormat:
    """Return the format for the name of a file, or of a folder if it ends with `/`.

    A folder without an ending is one of Parquet files.

    Raises:
        OutputError: the ending says nothing, or is that of a gzipped Parquet file; it is a folder that is
            there, and the name does not end with `/`.
    """
    if not name:
        raise OutputError("--output: the name is empty")
    if is_folder(name) and not name.endswith("/"):
        raise OutputError(f"--output {printable(name)}: Is a directory; end the name with / to fill it")
    lower = name.rstrip("/").lower()
    gzipped = lower.endswith(".gz")
    ending = Path(lower.removesuffix(".gz")).suffix
    if name.endswith("/") and not ending:
        return FileFormat("parquet", suffix=".parquet")
    kind = _ENDINGS.get(ending)
    if kind is None or (gzipped and kind == "parquet"):
        raise OutputError(
            f"--output {printable(name)}: the name must end with one of {' '.join(_ENDINGS)} "
            "(all but Parquet also with .gz behind): it says what is written"
        )
    suffix = ending + (".gz" if gzipped else "")
    return FileFormat(kind, "\t" if ending in {".tsv", ".tab"} else ",", gzipped, suffix)


@dataclass
class Done:
    """How far a run is. `ends` holds, for each finished input, the bytes of `.partial` up to its end."""

    settings: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    """Rows of the current input that are done, those that could not be labelled included."""
    labelled: int = 0
    failed: int = 0
    filtered: int = 0
    bytes: int = 0
    ends: list[int] = field(default_factory=list)


Convert = Callable[[Path, Path, FileFormat, Done], None]
"""Writes the rows of the first path to the second one, which does not exist yet."""


class Output:
    """Where the labelled rows go. Use it in a `with` block.

    What stood under the name before is there until the new output is complete. What an interrupted run has
    labelled stays in the `.partial` file. A pipe or a device is written to as it is, in JSON lines.

    Args:
        path: the file, or a folder if it ends with `/`; None for standard output.
        settings: what must be the same when a run is resumed: inputs, packs and options, by their names.
        convert: writes the final file.
        resume: go on where the last run stopped, if there is anything to go on with.
        say: called with a line when a run breaks off and its rows are kept.
    """

    def __init__(
        self,
        path: str | None,
        *,
        settings: Mapping[str, Any] | None = None,
        convert: Convert | None = None,
        resume: bool = False,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._say = say
        self._name = "standard output" if path is None else printable(path)
        self._path = None if path is None else Path(path)
        self._convert = convert
        self._resume = resume
        self._stream: BinaryIO | None = None
        self._target: _Target | None = None
        self.done = Done(dict(settings or {}))
        if path is not None and not is_stream(Path(path)):
            self._target = _Target.of(path)

    def __enter__(self) -> Self:
        if self._path is None:
            self._stream = sys.stdout.buffer
            return self
        try:
            if self._target is None:
                self._stream = self._path.open("wb")
            else:
                self._target.check()
                self._stream = self._begin(self._target)
        except OSError as error:
            raise OutputError(f"--output {self._name}: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._path is None or self._stream is None:
            return
        with contextlib.suppress(OSError):  # what was written has been flushed
            self._stream.close()
        target = self._target
        if target is None:
            return
        if kind is None:
            try:
                self._finish(target)
            except BaseException:
                self._tell(target)
                raise
        elif self.done.bytes:
            self._tell(target)
        else:
            target.remove()

    def write(
        self, lines: bytes, *, rows: int = 0, labelled: int = 0, failed: int = 0, filtered: int = 0
    ) -> None:
        """Write whole lines. With them `rows` rows of the current input are done.

        Raises:
            OutputError: they cannot be written.
            BrokenPipeError: nobody reads standard output any more.
        """
        if self._stream is None:
            raise RuntimeError("outside of the with block")
        done = self.done
        try:
            self._stream.write(lines)
            self._stream.flush()
            done.rows, done.bytes = rows, done.bytes + len(lines)
            done.labelled, done.failed = done.labelled + labelled, done.failed + failed
            done.filtered += filtered
            if self._target is not None:
                self._target.save(done)
        except BrokenPipeError:
            raise
        except OSError as error:
            if self._path is None:
                # Python flushes standard output once more on its way out, and would complain again.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if error.errno in _NO_SPACE and not self._resume:
                done.bytes = 0  # give back what was taken
            raise OutputError(f"{self._name}: {error.strerror}") from None

    def end_input(self) -> None:
        """Note that the current input is read to its end."""
        self.done.ends.append(self.done.bytes)
        self.done.rows = 0
        if self._target is not None:
            self._target.save(self.done)

    def _begin(self, target: "_Target") -> BinaryIO:
        """Open `.partial`, a new one or that of the run that is resumed."""
        if not target.partial.exists():
            new = target.partial.open("xb")
            _lock(new, target)
            return new
        stream = target.partial.open("r+b")
        _lock(stream, target)
        if not self._resume:
            stream.close()
            raise OutputError(
                f"{printable(str(target.partial))} is left from a run that was interrupted: go on with "
                "--resume, or remove it"
            )
        self.done = target.saved(self.done.settings, os.fstat(stream.fileno()).st_size)
        stream.truncate(self.done.bytes)  # the rest is of a window that was not noted as done
        stream.seek(self.done.bytes)
        return stream

    def _finish(self, target: "_Target") -> None:
        try:
            target.finish(self._convert, self.done)
        except OSError as error:
            raise OutputError(f"{self._name}: {error.strerror or error}") from None

    def _tell(self, target: "_Target") -> None:
        shown = printable(str(target.partial))
        self._say(f"what was labelled so far is in {shown}; --resume goes on with it")


def refuse_inputs(output: str | None, inputs: Sequence[str]) -> None:
    """Refuse to write into a file that is being read, by whatever names the two go.

    Raises:
        OutputError: `output`, or standard output when None, is one of the inputs.
    """
    try:
        written = os.fstat(sys.stdout.fileno()) if output is None else Path(output).stat()
    except (OSError, ValueError):  # not there yet, or standard output is no descriptor
        return
    for name in inputs:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            read = os.fstat(sys.stdin.fileno()) if name == "-" else Path(name).stat()
            if stat.S_ISREG(read.st_mode) and os.path.samestat(read, written):
                shown = "standard output" if output is None else f"--output {printable(output)}"
                raise OutputError(f"{shown} is an input too")


def is_stream(path: Path) -> bool:
    """Whether there is something at a path that is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _lock(stream: BinaryIO, target: "_Target") -> None:
    """Keep a second run away for as long as the file is open."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise OutputError(f"{printable(str(target.partial))} is being written by another run") from None


class _Target:
    """A file or a folder to be, with the files beside it while it is written."""

    def __init__(self, path: Path, form: FileFormat, *, folder: bool) -> None:
        self.path = path
        self.form = form
        self.folder = folder
        short = os.fsdecode(os.fsencode(path.name)[:_LONGEST_NAME])
        self.partial = path.with_name(f"{short}.partial")
        self._state = path.with_name(f"{short}.partial.state")
        self._temporary = path.with_name(f"{short}.{secrets.token_hex(4)}.tmp")

    @classmethod
    def of(cls, name: str) -> "_Target":
        """Choose the format by the name.

        Raises:
            OutputError: the name does not say it.
        """
        folder = name.endswith("/")
        path = Path(name)
        form = output_format(name)
        return cls(path.resolve(), form, folder=folder)

    def check(self) -> None:
        """Raise OSError or OutputError if the target cannot become what is asked for."""
        try:
            self.path.lstat()
        except FileNotFoundError:
            return
        if self.folder:
            if not self.path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if any(self.path.iterdir()):
                raise OutputError(f"--output {printable(str(self.path))}: the folder is not empty")
        elif not os.access(self.path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def save(self, done: Done) -> None:
        """Note how far the run is. A kill leaves either the old note or the new one."""
        new = self._state.with_name(self._state.name + ".new")
        new.write_bytes(orjson.dumps(asdict(done)))
        new.replace(self._state)

    def saved(self, settings: Mapping[str, Any], size: int) -> Done:
        """Read how far the last run was.

        Raises:
            OutputError: it had other inputs or settings, or its files do not fit together.
        """
        try:
            done = Done(**orjson.loads(self._state.read_bytes()))
        except FileNotFoundError:  # interrupted before the first rows
            return Done(dict(settings))
        except (OSError, ValueError, TypeError):
            raise OutputError(
                f"{printable(str(self._state))} cannot be read: remove it to begin anew"
            ) from None
        wanted = orjson.loads(orjson.dumps(settings))
        other = [name for name in {**wanted, **done.settings} if wanted.get(name) != done.settings.get(name)]
        if other:
            raise OutputError(
                f"--resume: the interrupted run had another {' and '.join(sorted(other))}: run as before, or "
                f"remove {printable(str(self.partial))} to begin anew"
            )
        if size < done.bytes:
            raise OutputError(f"{printable(str(self.partial))} is damaged: remove it to begin anew")
        return done

    def finish(self, convert: Convert | None, done: Done) -> None:
        """Write the final file, and remove those beside it."""
        mode = stat.S_IMODE(self.path.stat().st_mode) if self.path.is_file() else None
        ready = self.partial
        if self.folder or self.form != FileFormat(suffix=self.form.suffix):
            if convert is None:
                raise RuntimeError("no way to write this format")
            ready = self._temporary
            try:
                if self.folder:
                    ready.mkdir()
                convert(self.partial, ready, self.form, done)
                self._put(ready, mode)
            except BaseException:
                shutil.rmtree(ready, ignore_errors=True)
                ready.unlink(missing_ok=True)
                raise
        else:
            self._put(ready, mode)
        self.remove()

    def _put(self, ready: Path, mode: int | None) -> None:
        if mode is not None:
            ready.chmod(mode)
        for file in sorted(ready.iterdir()) if ready.is_dir() else [ready]:
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        ready.replace(self.path)

    def remove(self) -> None:
        """Remove the files beside the target."""
        for path in (self.partial, self._state, self._state.with_name(self._state.name + ".new")):
            path.unlink(missing_ok=True)
