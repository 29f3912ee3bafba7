"""The export room: a pack or checkpoint to a folder that transformers loads; no torch (extra `import`)."""

from worker.export.errors import ExportError
from worker.export.folder import Exported, export_model

__all__ = ["ExportError", "Exported", "export_model"]
