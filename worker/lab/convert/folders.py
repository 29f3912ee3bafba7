"""Writing folders atomically, and replacing only folders that this project made."""

import json
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from worker.errors import TargetError
from worker.model.pack import CONFIG, FORMAT, MANIFEST
from worker.model.text.names import EMOJI

_LARGEST_JSON = 16 * 1024 * 1024

EXPORTED = frozenset(
    {
        CONFIG,
        EMOJI,
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "README.md",
    }
)
"""The files of an exported model."""


def check_target(folder: Path, source: Path, *, replace: bool) -> None:
    """Refuse to write to an existing folder, unless it may be replaced and this project made it.

    `source` is what the new folder is made from. Raises TargetError.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not replace:
        raise TargetError(f"{folder} is there already; it is replaced only with --replace")
    place, origin = folder.resolve(), source.resolve()
    if place == origin or place in origin.parents:
        raise TargetError(f"{folder} holds what the new folder is made from: choose another one")
    own = _own_files(folder)
    if own is None:
        raise TargetError(f"{folder} is neither a pack nor an exported model: it is not replaced")
    if foreign := sorted(entry.name for entry in folder.iterdir() if entry.name not in own):
        raise TargetError(f"{folder} also holds {foreign[0]!r}, which is not part of it: it is not replaced")


@contextmanager
def written(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write to, which replaces `folder` if all goes well.

    Its parent may be used for temporary files, and is removed. Raises TargetError, also for what the caller's
    own writing raises.
    """
    if folder.parent.exists() and not folder.parent.is_dir():
        raise TargetError(f"cannot write {folder}: {folder.parent} is not a folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as parent:
            draft = Path(parent) / "draft"
            draft.mkdir()
            yield draft
            if folder.exists() or folder.is_symlink():
                folder.rename(Path(parent) / "replaced")
            draft.rename(folder)
    except (OSError, SafetensorError) as error:  # safetensors raises its own for a full disk
        raise TargetError(f"cannot write {folder}: {getattr(error, 'strerror', None) or error}") from error


def _own_files(folder: Path) -> Collection[str] | None:
    """Return the file names of a pack or an exported model, or None if the folder is neither."""
    if not folder.is_dir():
        return None
    if not any(folder.iterdir()):
        return ()
    manifest, config = (_object(folder / name) for name in (MANIFEST, CONFIG))
    files = manifest.get("files")
    if manifest.get("format") == FORMAT and isinstance(files, dict):
        return {MANIFEST, *files}
    origin = config.get("moodstream")
    if isinstance(origin, dict) and {"from", "head"} <= origin.keys():
        return EXPORTED
    return None


def _object(path: Path) -> dict[str, object]:
    """Return the JSON object in a file, or an empty one if there is none."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_JSON:
            return {}
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
