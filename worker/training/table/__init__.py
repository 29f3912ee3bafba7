"""A user's own labelled table: CSV, JSON lines or Parquet, read row by row, however large it is.

Reading goes from an opened file (`open_table`) over the two columns that matter (`choose_columns`) and the
labels in a field (`LabelReader`) to a bounded, drawn set of rows without copies (`Keeper`). No torch here.
"""

from worker.training.table.columns import choose_columns
from worker.training.table.labels import LabelReader
from worker.training.table.opening import open_table
from worker.training.table.rows import BadRow, Cells, Table

__all__ = ["BadRow", "Cells", "LabelReader", "Table", "choose_columns", "open_table"]
