"""A model pack: a folder with graph, tokenizer and configuration, and a manifest that vouches for them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.classify.errors import PackError
from worker.classify.heads import Head
from worker.classify.read_heads import read_heads
from worker.classify.token_head import TokenHead
from worker.text import RAW, Normaliser, TextError, normaliser

FORMAT = 1
"""The version of the folder's layout that this code reads."""

MANIFEST, CONFIG, TOKENIZER, GRAPH = "manifest.json", "config.json", "tokenizer.json", "model.onnx"
REQUIRED = (CONFIG, TOKENIZER, GRAPH)


@dataclass(frozen=True, slots=True)
class Pack:
    """A verified pack.

    `revision` is the first 12 hexadecimal digits of the SHA-256 over the manifest's table of files, so it
    names the exact weights, tokenizer and configuration. `heads` judge whole texts, `token_heads` mark
    places in them. `max_tokens` counts the special tokens too. `text` prepares texts for the tokenizer.
    """

    path: Path
    name: str
    revision: str
    created: str
    heads: tuple[Head, ...]
    max_tokens: int
    vocab_size: int
    files: Mapping[str, int]
    """Bytes of each file."""

    token_heads: tuple[TokenHead, ...] = ()
    text: Normaliser = RAW

    @property
    def outputs(self) -> tuple[Head | TokenHead, ...]:
        """All heads: what an output message has columns for."""
        return (*self.heads, *self.token_heads)


def bundled_pack(name: str = "compact") -> Path:
    """Return the folder of a pack that ships with Moodstream, the default one if none is named."""
    return Path(__file__).resolve().parent.parent / "packs" / name


def model_folder(path: Path) -> Path:
    """Return the folder of the pack that ships under this name, where `path` is one word and no folder.

    Any other path is returned as it is, whether something is there or not.
    """
    if not path.is_dir() and len(path.parts) == 1 and bundled_pack(path.name).is_dir():
        return bundled_pack(path.name)
    return path


def load_pack(path: Path) -> Pack:
    """Verify every file of the pack at `path` against its manifest and read its description.

    `path` may be the name of a pack that ships: see `model_folder`.

    Raises:
        PackError: the folder or a file is missing, a byte differs from the manifest, the format is unknown,
            or a description is malformed.
    """
    path = model_folder(path)
    if not path.is_dir():
        raise PackError(f"there is no model pack at {path}: no such folder")
    manifest = _read_object(path / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise PackError(
            f"{path / MANIFEST}: pack format {manifest.get('format')!r} is unknown; "
            f"this version reads {FORMAT}"
        )
    name, files = manifest.get("name"), manifest.get("files")
    if not isinstance(name, str) or not name or not isinstance(files, dict):
        raise PackError(f"{path / MANIFEST}: needs a `name` and a table of `files`")
    for required in REQUIRED:
        if required not in files:
            raise PackError(f"{path / MANIFEST}: does not list {required}")
    for file, expected in files.items():
        _verify(path, file, expected)
    config = _read_object(path / CONFIG)
    heads = read_heads(config, path / CONFIG)
    return Pack(
        path=path,
        name=name,
        revision=files_revision(files),
        created=str(manifest.get("created", "")),
        heads=heads.texts,
        max_tokens=_positive(config, "max_position_embeddings", path / CONFIG),
        vocab_size=_positive(config, "vocab_size", path / CONFIG),
        files={file: entry["bytes"] for file, entry in files.items()},
        token_heads=heads.tokens,
        text=read_text(config, path / CONFIG),
    )


def read_text(config: Mapping[str, Any], path: Path) -> Normaliser:
    """Read which text handling a configuration names; none means texts as they are.

    Raises:
        PackError: the entry is malformed, or names a handling that this version does not know.
    """
    entry = config.get("text")
    if entry is None:
        return RAW
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise PackError(f"{path}: `text` must be a table of `name` and `version`")
    version = entry.get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise PackError(f"{path}: `text` needs `version`, a whole number")
    try:
        return normaliser(entry["name"], version)
    except TextError as error:
        raise PackError(f"{path}: {error}") from error


def files_revision(files: Mapping[str, Any]) -> str:
    """Name the content of a pack: 12 hexadecimal digits of the SHA-256 of the manifest's table of files."""
    canonical = json.dumps(files, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(canonical).hexdigest()[:12]


def file_entry(path: Path) -> dict[str, Any]:
    """Describe one file as the manifest does: its SHA-256 and its bytes."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"sha256": digest, "bytes": path.stat().st_size}


def _verify(folder: Path, file: object, expected: object) -> None:
    """Raise PackError unless the file has exactly the bytes that the manifest promises."""
    if not isinstance(file, str) or Path(file).name != file or file in {"", ".", ".."}:
        raise PackError(f"{folder / MANIFEST}: {file!r} is no plain file name")
    if not isinstance(expected, dict) or not isinstance(expected.get("bytes"), int):
        raise PackError(f"{folder / MANIFEST}: the entry of {file} needs `sha256` and `bytes`")
    try:
        found = file_entry(folder / file)
    except FileNotFoundError:
        raise PackError(f"{folder / file} is missing from the model pack") from None
    except OSError as error:
        raise PackError(f"{folder / file} cannot be read: {error.strerror}") from error
    if found["bytes"] != expected["bytes"]:
        raise PackError(
            f"{folder / file} is damaged: it has {found['bytes']} bytes, "
            f"the manifest says {expected['bytes']}"
        )
    if found["sha256"] != expected.get("sha256"):
        raise PackError(f"{folder / file} is damaged: its SHA-256 is not the one in the manifest")


def _read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object, or raise PackError with the place of the fault."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise PackError(f"{path} is missing from the model pack") from None
    except OSError as error:
        raise PackError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PackError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise PackError(f"{path} must hold a JSON object")
    return value


def _positive(config: Mapping[str, Any], key: str, path: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise PackError(f"{path}: `{key}` must be a whole number above 0")
    return value
