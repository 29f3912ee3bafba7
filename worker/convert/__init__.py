"""The convert room: a DistilBERT checkpoint folder to a pack, without torch (extra `import`)."""

from worker.convert.errors import CheckpointError
from worker.convert.writer import convert_checkpoint

__all__ = ["CheckpointError", "convert_checkpoint"]
