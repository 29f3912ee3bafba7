"""A prediction to the output message, and the schema of that message."""

from worker.encode.columns import label_columns
from worker.encode.message import SCHEMA_VERSION, Encoder, dump_line

__all__ = ["SCHEMA_VERSION", "Encoder", "dump_line", "label_columns"]
