"""Files that are whole or not there: a kill or a full disk in the middle of a write leaves the old ones."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from worker.errors import TrainingError


def write_tensors(path: Path, tensors: dict[str, Any], metadata: dict[str, str] | None = None) -> None:
    """Write torch tensors as safetensors, atomically. Raises TrainingError where the disk refuses."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    try:
        save_file(tensors, temporary, metadata={"format": "pt", **(metadata or {})})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # safetensors gives it to its owner alone
        temporary.replace(path)
    except Exception as error:  # safetensors has kinds of its own for a full disk
        temporary.unlink(missing_ok=True)
        raise TrainingError(f"cannot write {path}: {error}") from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON with a line a value, atomically. Raises TrainingError where the disk refuses."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8, atomically. Raises TrainingError where the disk refuses."""
    temporary = path.with_name(path.name + ".partial")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error


def write_checkpoint(folder: Path, config: dict[str, Any], weights: dict[str, Any], tokenizer: Path) -> None:
    """Write a checkpoint folder: the weights, tokenizer.json, and config.json last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)
    write_tensors(folder / "model.safetensors", weights)
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    write_json(folder / "config.json", config)


def with_heads(config: dict[str, Any], heads: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a trunk's configuration with its heads: problem type, labels, thresholds."""
    return {**config, "architectures": ["DistilBertModel"], "heads": heads}
