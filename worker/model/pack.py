"""A model pack: a folder with graph, tokenizer and configuration, and a manifest that vouches for them.

A pack may come from anywhere. Every file that is read is in the manifest, and what is used of it are the very
bytes that were compared with it.
"""

import difflib
import hashlib
import json
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.errors import PackError, TextError
from worker.heads import Head, is_name, is_whole, read_heads, shown, text_heads, token_heads
from worker.model import graph, tokenizer_file
from worker.model.text.names import EMOJI, read_names
from worker.model.text.names import LARGEST_BYTES as LARGEST_NAMES
from worker.model.text.normaliser import RAW, Normaliser, normaliser
from worker.settings.base import WrongValue
from worker.settings.languages import check_language, primary

FORMAT = 1
"""The version of the folder's layout that this code reads."""

MANIFEST, CONFIG, TOKENIZER, GRAPH = "manifest.json", "config.json", "tokenizer.json", "model.onnx"
REQUIRED = (CONFIG, TOKENIZER, GRAPH)

CARD = "MODEL_CARD.md"

_LARGEST_JSON = 16 * 1024 * 1024
_LARGEST = {
    CONFIG: _LARGEST_JSON,
    TOKENIZER: tokenizer_file.LARGEST_BYTES,
    GRAPH: graph.LARGEST_BYTES,
    EMOJI: LARGEST_NAMES,
}
"""The most bytes of each file; any other may have as many as a graph."""

_MOST_FILES = 64
_LARGEST_NUMBERS = {"max_position_embeddings": 65_536, "vocab_size": 16_777_216}
_LEAST_TOKENS = 3
"""[CLS], [SEP], and one token of the text."""


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

    token_heads: tuple[Head, ...] = ()
    text: Normaliser = RAW
    languages: frozenset[str] | None = None
    """ISO 639 codes of the languages that it reads; None if it does not say, and so may read any."""

    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """All that `config.json` says."""

    @property
    def outputs(self) -> tuple[Head, ...]:
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


def shipped_packs() -> list[str]:
    """The names of the packs that come with Moodstream."""
    folder = Path(__file__).resolve().parent.parent / "packs"
    return sorted(entry.name for entry in folder.iterdir() if (entry / MANIFEST).is_file())


def load_pack(path: Path) -> Pack:
    """Verify every file of the pack at `path` against its manifest and read its description.

    `path` may be the name of a pack that ships: see `model_folder`.

    Raises:
        PackError: the folder or a file is missing, a byte differs from the manifest, the format is unknown,
            or a description is malformed.
    """
    return open_pack(path)[0]


def open_pack(path: Path, keep: Sequence[str] = ()) -> tuple[Pack, dict[str, bytes]]:
    """Do the same, and return the bytes of the files in `keep` too, which are those that were verified."""
    path = model_folder(path)
    if not path.is_dir():
        near = difflib.get_close_matches(str(path), shipped_packs(), n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise PackError(f"there is no model pack at {path}: no such folder{meant}")
    manifest = _read_object(path / MANIFEST, _bytes_of(path / MANIFEST, _LARGEST_JSON))
    if manifest.get("format") != FORMAT:
        raise PackError(
            f"{path / MANIFEST}: pack format {shown(manifest.get('format'))} is unknown; "
            f"this version reads {FORMAT}"
        )
    name, files = manifest.get("name"), manifest.get("files")
    if not is_name(name) or not isinstance(files, dict) or len(files) > _MOST_FILES:
        raise PackError(f"{path / MANIFEST}: needs a `name` and a table of `files`")
    for required in REQUIRED:
        if required not in files:
            raise PackError(f"{path / MANIFEST}: does not list {required}")
    kept = {CONFIG, EMOJI, *keep}
    contents = {file: _verified(path, file, expected, kept) for file, expected in files.items()}
    config = _read_object(path / CONFIG, contents[CONFIG])
    heads = read_heads(config, path / CONFIG)
    created = manifest.get("created", "")
    pack = Pack(
        path=path,
        name=name,
        revision=files_revision(files),
        created=created if is_name(created) else "",
        heads=text_heads(heads),
        max_tokens=_whole(config, "max_position_embeddings", _LEAST_TOKENS, path / CONFIG),
        vocab_size=_whole(config, "vocab_size", 1, path / CONFIG),
        files={file: entry["bytes"] for file, entry in files.items()},
        token_heads=token_heads(heads),
        text=_text_of(path, config, contents.get(EMOJI)),
        languages=read_languages(config, path / CONFIG),
        config=config,
    )
    return pack, {file: contents[file] for file in keep}


def read_text(config: Mapping[str, Any], path: Path) -> Normaliser:
    """Read which text handling a configuration names; none means texts as they are.

    A handling that names emoji does it with the table that new packs get.

    Raises:
        PackError: the entry is malformed, or names a handling that this version does not know.
    """
    entry = config.get("text")
    if entry is None:
        return RAW
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise PackError(f"{path}: `text` must be a table of `name` and `version`")
    version = entry.get("version")
    if not is_whole(version):
        raise PackError(f"{path}: `text` needs `version`, a whole number")
    try:
        return normaliser(entry["name"], version)
    except TextError as error:
        raise PackError(f"{path}: {error}") from error


def _text_of(folder: Path, config: Mapping[str, Any], table: bytes | None) -> Normaliser:
    """Return the pack's text handling, with its own table of emoji names where it needs one."""
    handling = read_text(config, folder / CONFIG)
    if handling.named is None:
        return handling
    if table is None:
        raise PackError(
            f"{folder / MANIFEST}: text handling {handling.name} {handling.version} needs {EMOJI}, "
            "which is not listed"
        )
    return handling.with_names(read_names(table, folder / EMOJI))


def read_languages(config: Mapping[str, Any], path: Path) -> frozenset[str] | None:
    """Read which languages a configuration names; None if it names none.

    Raises:
        PackError: the entry is not a list of language codes.
    """
    entry = config.get("languages")
    if entry is None:
        return None
    if not isinstance(entry, list) or not entry or not all(isinstance(code, str) for code in entry):
        raise PackError(f'{path}: `languages` must be a list of language codes, as in ["en"]')
    for code in entry:
        try:
            check_language(code)
        except WrongValue as error:
            raise PackError(f"{path}: `languages`: {shown(code)} {error}") from None
    return frozenset(primary(code) for code in entry)


def files_revision(files: Mapping[str, Any]) -> str:
    """Name the content of a pack: 12 hexadecimal digits of the SHA-256 of the manifest's table of files."""
    canonical = json.dumps(files, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(canonical).hexdigest()[:12]


def file_entry(path: Path) -> dict[str, Any]:
    """Describe one file as the manifest does: its SHA-256 and its bytes."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"sha256": digest, "bytes": path.stat().st_size}


def _verified(folder: Path, file: object, expected: object, keep: Collection[str]) -> bytes:
    """Compare a file with what the manifest promises. Returns its bytes where they are to be kept, or b"".

    Raises PackError where it has other bytes.
    """
    if not is_name(file) or Path(file).name != file or file in {"", ".", "..", MANIFEST}:
        raise PackError(f"{folder / MANIFEST}: {shown(file)} is no plain file name")
    if not isinstance(expected, dict) or not is_whole(expected.get("bytes")):
        raise PackError(f"{folder / MANIFEST}: the entry of {file} needs `sha256` and `bytes`")
    size, path = expected["bytes"], folder / file
    limit = _LARGEST.get(file, graph.LARGEST_BYTES)
    if not 0 <= size <= limit:
        raise PackError(f"{folder / MANIFEST}: {file} may have at most {limit} bytes, not {shown(size)}")
    found = _regular(path)
    if found != size:
        raise PackError(f"{path} is damaged: it has {found} bytes, the manifest says {size}")
    if file in keep:
        content = _bytes_of(path, size)
        digest = hashlib.sha256(content).hexdigest()
    else:
        content, digest = b"", file_entry(path)["sha256"]
    if digest != expected.get("sha256"):
        raise PackError(f"{path} is damaged: its SHA-256 is not the one in the manifest")
    return content


def _regular(path: Path) -> int:
    """Return how many bytes a file has. Raises PackError for what is missing or no ordinary file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise PackError(f"{path} is missing from the model pack") from None
    except (OSError, ValueError) as error:
        raise PackError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise PackError(f"{path} is no ordinary file")
    return status.st_size


def _bytes_of(path: Path, most: int) -> bytes:
    """Read an ordinary file of at most so many bytes."""
    if _regular(path) > most:
        raise PackError(f"{path} is too large: more than {most} bytes")
    try:
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise PackError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > most:
        raise PackError(f"{path} is too large: more than {most} bytes")
    return content


def _read_object(path: Path, content: bytes) -> dict[str, Any]:
    """Read a JSON object, or raise PackError with the place of the fault."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PackError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise PackError(f"{path} must hold a JSON object")
    return value


def _whole(config: Mapping[str, Any], key: str, least: int, path: Path) -> int:
    value, most = config.get(key), _LARGEST_NUMBERS[key]
    if not is_whole(value) or not least <= value <= most:
        raise PackError(f"{path}: `{key}` must be a whole number from {least} to {most}, not {shown(value)}")
    return value
