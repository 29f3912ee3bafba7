"""Tables of results: a pandas or polars data frame, or an Arrow table, whichever the texts came in."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from worker.errors import PackagesMissing
from worker.heads import Head
from worker.messages.columns import SpanColumn, head_columns

Kind = Literal["text", "texts", "number", "count", "flag", "ranges"]

FAILURE_REASON, FAILURE_MESSAGE = "failure_reason", "failure_message"
"""Columns that say why a text has no labels; empty for all others."""


def frame_columns(heads: Sequence[Head]) -> dict[str, Kind]:
    """Return the columns of a table of results, in their order, and what each holds.

    They are the columns of an output message that need no Kafka record, and the two about failures.
    """
    multi = {head.name for head in heads if head.multi_label}
    kinds: dict[str, Kind] = {}
    for columns in head_columns(heads):
        if isinstance(columns, SpanColumn):
            kinds[columns.column] = "ranges"
            continue
        kinds[columns.label] = "text"
        kinds[columns.score] = "number"
        if columns.head in multi:
            kinds[columns.passed] = "texts"
        kinds |= dict.fromkeys(columns.scores.values(), "number")
        if columns.groups:
            kinds[columns.group] = "text"
            kinds |= dict.fromkeys(columns.groups.values(), "number")
    kinds |= {"token_count": "count", "truncated": "flag", "model": "text", "schema_version": "count"}
    return {**kinds, FAILURE_REASON: "text", FAILURE_MESSAGE: "text"}


def as_frame(kinds: Mapping[str, Kind], rows: Sequence[Mapping[str, object]], like: object) -> Any:
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


def _pandas(kinds: Mapping[str, Kind], columns: Mapping[str, list[object]], like: object) -> Any:
    try:
        pandas = importlib.import_module("pandas")
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise PackagesMissing("predict_frame needs: pip install pandas") from None
    # Types that have a null, so that a column has the same type whether or not a text has failed.
    types = {"text": "string", "number": "float64", "count": "Int64", "flag": "boolean"}
    index = like.index if isinstance(like, pandas.Series) else pandas.RangeIndex(len(columns["model"]))
    return pandas.DataFrame(
        {
            name: pandas.Series(columns[name], index=index, dtype=types.get(kind, "object"))
            for name, kind in kinds.items()
        }
    )


def _polars(kinds: Mapping[str, Kind], columns: Mapping[str, list[object]]) -> Any:
    polars: Any = importlib.import_module("polars")
    types = {
        "text": polars.String,
        "texts": polars.List(polars.String),
        "number": polars.Float64,
        "count": polars.Int64,
        "flag": polars.Boolean,
        "ranges": polars.List(polars.List(polars.Int64)),
    }
    return polars.DataFrame(columns, schema={name: types[kind] for name, kind in kinds.items()})


def _arrow(kinds: Mapping[str, Kind], columns: Mapping[str, list[object]]) -> Any:
    arrow: Any = importlib.import_module("pyarrow")
    types = {
        "text": arrow.string(),
        "texts": arrow.list_(arrow.string()),
        "number": arrow.float64(),
        "count": arrow.int64(),
        "flag": arrow.bool_(),
        "ranges": arrow.list_(arrow.list_(arrow.int64())),
    }
    return arrow.table(columns, schema=arrow.schema([(name, types[kind]) for name, kind in kinds.items()]))
