"""What `moodstream config check` finds before a worker is started."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from worker.settings.groups import Settings
from worker.stream.check import problems


def found(**groups: dict[str, Any]) -> list[str]:
    return list(problems(Settings.model_validate(groups)))


def test_the_defaults_are_right() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ({"model": {"path": "compactt"}}, "did you mean compact?"),
        ({"model": {"path": "compact,compact-fsat"}}, "did you mean compact-fast?"),
        ({"model": {"path": "/nowhere/at/all"}}, "there is no model pack at /nowhere/at/all: no such folder"),
        ({"sink": {"keep": "a.model"}}, "sink.keep: `a.model` gives a column `model`"),
        ({"sink": {"keep": "emotion_joy"}}, "emotion_joy"),
    ],
)
def test_what_a_start_would_stumble_over(groups: dict[str, dict[str, Any]], says: str) -> None:
    [line] = found(**groups)
    assert says in line


@pytest.mark.parametrize(
    ("package", "groups", "extra"),
    [
        ("selectolax", {"source": {"preset": "mastodon"}}, "html"),
        ("fastavro", {"kafka": {"schema_registry_url": "http://r"}, "sink": {"format": "avro"}}, "registry"),
        ("urllib3", {"kafka": {"schema_registry_url": "http://r"}}, "registry"),
    ],
)
def test_an_extra_that_is_missing(
    package: str, groups: dict[str, dict[str, Any]], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    importlib.import_module(package)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    [line] = found(**groups)
    assert f"moodstream[{extra}]" in line


def test_a_file_for_tls_with_the_registry_that_cannot_be_used(tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.touch()
    [line] = found(kafka={"schema_registry_url": "https://r", "schema_registry_ca_file": str(empty)})
    assert line.startswith("kafka.schema_registry_ca_file cannot be used: ")


def test_a_damaged_pack_is_found(tmp_path: Path) -> None:
    import shutil

    from worker.model.pack import bundled_pack

    folder = tmp_path / "pack"
    shutil.copytree(bundled_pack(), folder)
    (folder / "tokenizer.json").write_bytes(b"{}")
    [line] = found(model={"path": str(folder)})
    assert "tokenizer.json" in line
