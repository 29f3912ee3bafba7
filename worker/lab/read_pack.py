"""A pack as a checkpoint in memory: its weights as the graph has them, rounded where it is int8."""

from pathlib import Path

from worker.lab.checkpoint import Checkpoint, read_checkpoint
from worker.lab.convert.from_pack import pack_tensors
from worker.lab.evaluate.score import is_pack
from worker.model.pack import TOKENIZER, load_pack


def read_model(folder: Path) -> Checkpoint:
    """Read a checkpoint folder or a pack.

    Raises:
        CheckpointError: neither is there, or it is of another architecture.
        PackError, ExportError: a pack that is damaged, or whose graph this project did not write.
    """
    return read_pack(folder) if folder.is_dir() and is_pack(folder) else read_checkpoint(folder)


def read_pack(folder: Path) -> Checkpoint:
    """Read a verified pack."""
    pack = load_pack(folder)
    config, tensors = pack_tensors(pack)
    tokenizer = (pack.path / TOKENIZER).read_text(encoding="utf-8")
    return Checkpoint(f"{pack.name}@{pack.revision}", config, tensors, tokenizer)
