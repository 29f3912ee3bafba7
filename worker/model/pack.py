"""The `heads` table of a configuration, read and checked: what cannot work is refused with one line.

A model pack: a folder with graph, tokenizer and configuration, and a manifest that vouches for them.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from worker.errors import PackError, TextError
from worker.model.heads import DEFAULT_THRESHOLD, Head
from worker.model.spans import ROWS, Branch, Gate, TokenHead
from worker.model.text.normaliser import RAW, Normaliser, normaliser

SINGLE, MULTI = "single_label_classification", "multi_label_classification"
TOKENS = "token_classification"


class Heads(NamedTuple):
    """The heads that judge whole texts and those that mark tokens, each in the order of the table."""

    texts: tuple[Head, ...]
    tokens: tuple[TokenHead, ...]


def read_heads(config: Mapping[str, Any], path: Path) -> Heads:
    """Read the `heads` table of a configuration; `path` is named in errors.

    Raises:
        PackError: no head that judges texts, an unknown problem type, or an entry that does not fit.
    """
    table = config.get("heads")
    if not isinstance(table, dict) or not table:
        raise PackError(f"{path}: needs a table of `heads`")
    texts, marking = [], []
    for name, entry in table.items():
        where = f"{path}: head {name!r}"
        if not isinstance(entry, dict):
            raise PackError(f"{where} must be a table")
        if entry.get("problem_type") == TOKENS:
            marking.append((str(name), entry, where))
        else:
            texts.append(_read_head(str(name), entry, where))
    if not texts:
        raise PackError(f"{path}: `heads` needs one that judges whole texts")
    tokens = tuple(_read_token_head(name, entry, config, texts, where) for name, entry, where in marking)
    for head in tokens:
        if head.name + ROWS in table:
            raise PackError(
                f"{path}: the head {head.name + ROWS!r} has the name of an output of {head.name!r}"
            )
    return Heads(tuple(texts), tokens)


def read_labels(id2label: object, where: str) -> tuple[str, ...]:
    """Read an `id2label` table, whose keys must count from "0" on, into labels in their order.

    Raises:
        PackError: a gap in the numbers, a label that is no text, or one that occurs twice.
    """
    if not isinstance(id2label, dict) or not id2label:
        raise PackError(f"{where} needs `id2label`")
    found = [id2label.get(str(index)) for index in range(len(id2label))]
    labels = tuple(label for label in found if isinstance(label, str) and label)
    if len(labels) != len(found):
        raise PackError(f"{where}: `id2label` must name labels 0 to {len(found) - 1}")
    if len(set(labels)) != len(labels):
        raise PackError(f"{where}: `id2label` names a label twice")
    return labels


def _read_head(name: str, entry: Mapping[str, Any], where: str) -> Head:
    problem = entry.get("problem_type")
    labels = read_labels(entry.get("id2label"), where)
    temperature = _read_temperature(entry, where)
    if problem == "single_label_classification":
        if "groups" in entry:
            raise PackError(f"{where}: only a multi-label head can have `groups`")
        return Head(name, problem, labels, None, temperature)
    if problem == "multi_label_classification":
        thresholds = _read_thresholds(entry.get("thresholds"), len(labels), where)
        return Head(
            name, problem, labels, thresholds, temperature, _read_groups(entry.get("groups"), labels, where)
        )
    raise PackError(
        f"{where} has the problem type {problem!r}, which is none of {SINGLE}, {MULTI} and {TOKENS}"
    )


def _read_token_head(
    name: str, entry: Mapping[str, Any], config: Mapping[str, Any], texts: list[Head], where: str
) -> TokenHead:
    labels = read_labels(entry.get("id2label"), where)
    if len(labels) != 1:
        raise PackError(f"{where} marks tokens and needs exactly one label, not {len(labels)}")
    n_layers = config.get("n_layers")
    # The last layer computes the first token alone, and has nothing to say of the others.
    last = n_layers - 1 if isinstance(n_layers, int) else 0
    branch = _read_branch(entry["branch"], last, where) if "branch" in entry else None
    return TokenHead(
        name,
        labels,
        layers=_read_layers(entry.get("layers"), last, branch, where),
        threshold=_probability(entry.get("threshold", DEFAULT_THRESHOLD), "threshold", where),
        temperature=_read_temperature(entry, where),
        gate=_read_gate(entry["gate"], texts, where) if "gate" in entry else None,
        branch=branch,
        relative=_probability(entry.get("relative", 0.0), "relative", where),
    )


def _read_branch(value: object, last: int, where: str) -> Branch:
    if not isinstance(value, dict) or not {"after", "layers"} <= value.keys() <= set(Branch.__slots__):
        raise PackError(f"{where}: `branch` must be a table of `after`, `layers`, `n_heads` and `hidden_dim`")
    for name, number in value.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < (name == "layers"):
            raise PackError(f"{where}: `{name}` of `branch` must be a whole number, not {number!r}")
    if value["after"] > last:
        raise PackError(f"{where}: `after` of `branch` must lie between 0 and {last}, the last layer but one")
    return Branch(**value)


def _read_layers(value: object, last: int, branch: Branch | None, where: str) -> tuple[int, ...]:
    if branch is not None:
        last = branch.after + branch.layers
    if not isinstance(value, list) or not value:
        raise PackError(f"{where} marks tokens and needs `layers`, a list of layer numbers")
    if not all(isinstance(item, int) and not isinstance(item, bool) and 1 <= item <= last for item in value):
        which = "the last layer but one" if branch is None else "the last of its branch"
        raise PackError(f"{where}: `layers` must be whole numbers from 1 to {last}, {which}")
    if len(set(value)) != len(value):
        raise PackError(f"{where}: `layers` names a layer twice")
    return tuple(value)


def _read_gate(value: object, texts: list[Head], where: str) -> Gate:
    if not isinstance(value, dict) or not {"head", "label"} <= value.keys():
        raise PackError(f"{where}: `gate` must be a table of `head`, `label` and `threshold`")
    head = next((head for head in texts if head.name == value["head"]), None)
    if head is None:
        raise PackError(f"{where}: `gate` names the head {value['head']!r}, which judges no texts here")
    if value["label"] not in head.labels:
        raise PackError(f"{where}: `gate` names the label {value['label']!r}, which {head.name!r} has not")
    threshold = _probability(value.get("threshold", DEFAULT_THRESHOLD), "threshold` of `gate", where)
    return Gate(head.name, value["label"], threshold)


def _read_temperature(entry: Mapping[str, Any], where: str) -> float:
    value = entry.get("temperature", 1.0)
    if not _is_number(value) or not 0 < value < math.inf:
        raise PackError(f"{where}: `temperature` must be a number above 0, not {value!r}")
    return float(value)


def _read_thresholds(value: object, count: int, where: str) -> tuple[float, ...]:
    if value is None:
        return (DEFAULT_THRESHOLD,) * count
    if not isinstance(value, list) or len(value) != count:
        raise PackError(f"{where}: `thresholds` needs one number for each of its {count} labels")
    return tuple(_probability(item, "thresholds", where) for item in value)


def _read_groups(value: object, labels: tuple[str, ...], where: str) -> dict[str, tuple[str, ...]]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(value):
        raise PackError(f"{where}: `groups` must be a table of lists of labels")
    for name, members in value.items():
        if not isinstance(members, list) or not members:
            raise PackError(f"{where}: the group {name!r} must be a list of labels")
        if unknown := [member for member in members if member not in labels]:
            raise PackError(f"{where}: the group {name!r} names {unknown[0]!r}, which is none of its labels")
    return {str(name): tuple(members) for name, members in value.items()}


def _probability(value: object, what: str, where: str) -> float:
    if not _is_number(value) or not 0 <= value <= 1:
        raise PackError(f"{where}: `{what}` must lie between 0 and 1")
    return float(value)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
