"""Tables of results: a pandas or polars data frame, or an Arrow table, whichever the texts came in."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from worker.errors import PackagesMissing
from worker.heads import Head
from worker.messages.schema import OutputBase, output_columns
from worker.tables.write import arrow_type
from worker.types import ColumnKind

FAILURE_REASON, FAILURE_MESSAGE = "failure_reason", "failure_message"
"""Columns that say why a text has no labels; empty for all others."""

_OF_TEXT = ("token_count", "truncated", "supported", "model", "schema_version", "lang")
"""The columns of every output that need no Kafka record."""


def frame_columns(heads: Sequence[Head]) -> dict[str, ColumnKind]:
    """Return the columns of a table of results, in their order, and what each holds.

    They are the columns of an output message that need no Kafka record, and the two about failures.
    """
    kinds = {column.name: column.kind for column in output_columns(heads, include_text=False)}
    names = [name for name in kinds if name not in OutputBase.model_fields]
    found = {name: kinds[name] for name in (*names, *_OF_TEXT)}
    return {**found, FAILURE_REASON: "string", FAILURE_MESSAGE: "string"}


def as_frame(kinds: Mapping[str, ColumnKind], rows: Sequence[Mapping[str, object]], like: object) -> Any:
    """Make a table with one row for each of `rows`; what a row lacks is null.

    It is of the library that `like` comes from: polars, pyarrow, and else pandas, with its index.

    Raises:
        PackagesMissing: pandas is not installed.
    """
    columns = {name: [row.get(name) for row in rows] for name in kinds}
    library = type(like).__module__.partition(".")[0]
    if library == "polars":
        return _polars(kinds, columns)
    if library == "pyarrow":
        return _arrow(kinds, columns)
    return _pandas(kinds, columns, like)


def _pandas(kinds: Mapping[str, ColumnKind], columns: Mapping[str, list[object]], like: object) -> Any:
    try:
        pandas = importlib.import_module("pandas")
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise PackagesMissing("predict_frame needs: pip install pandas") from None
    # Types that have a null, so that a column has the same type whether or not a text has failed.
    types = {"string": "string", "double": "float64", "long": "Int64", "boolean": "boolean"}
    index = like.index if isinstance(like, pandas.Series) else pandas.RangeIndex(len(columns["model"]))
    return pandas.DataFrame(
        {
            name: pandas.Series(columns[name], index=index, dtype=types.get(kind, "object"))
            for name, kind in kinds.items()
        }
    )


def _polars(kinds: Mapping[str, ColumnKind], columns: Mapping[str, list[object]]) -> Any:
    polars: Any = importlib.import_module("polars")
    types = {
        "string": polars.String,
        "strings": polars.List(polars.String),
        "double": polars.Float64,
        "long": polars.Int64,
        "boolean": polars.Boolean,
        "ranges": polars.List(polars.List(polars.Int64)),
    }
    return polars.DataFrame(columns, schema={name: types[kind] for name, kind in kinds.items()})


def _arrow(kinds: Mapping[str, ColumnKind], columns: Mapping[str, list[object]]) -> Any:
    arrow: Any = importlib.import_module("pyarrow")
    fields = [(name, arrow_type(arrow, kind)) for name, kind in kinds.items()]
    return arrow.table(columns, schema=arrow.schema(fields))
