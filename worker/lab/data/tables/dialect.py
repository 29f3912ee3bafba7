"""How a CSV file is written: told from its first rows, by which way of reading makes them a table."""

import csv
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_DELIMITERS = (",", "\t", ";", "|")
_ENOUGH = 64
"""Records that are looked at."""


class Dialect(NamedTuple):
    """What the csv module has to know."""

    delimiter: str = ","
    backslash: bool = False
    r"""A quote within a field is written `\"` (Spark, MySQL), not doubled."""
    quotes: bool = True
    """Fields may be quoted; in tab-separated files a quote is often just a quote."""

    def reader(self, lines: Iterator[str]) -> "Iterator[list[str]]":
        """Return a reader. It raises csv.Error for a quote that never closes or is closed too early."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quotes else csv.QUOTE_NONE,
            doublequote=not self.backslash,
            escapechar="\\" if self.backslash else None,
            strict=self.quotes,
        )


_DOUBLED = tuple(Dialect(delimiter) for delimiter in _DELIMITERS)
_BACKSLASH = tuple(Dialect(delimiter, backslash=True) for delimiter in _DELIMITERS)
_BARE = (Dialect("\t", quotes=False),)


def sniff(lines: Sequence[str], wanted: Sequence[str] = ()) -> Dialect:
    """Return the dialect of these first lines of a file, the header in front.

    The best one makes the `wanted` names columns; then it reads most records as wide as the header, then it
    finds more columns. Of equals the first counts: doubled quotes, then backslashes, then none.
    """
    # The csv module reads backslashed quotes leniently, so that way is tried only where there are any.
    backslash = _BACKSLASH if any('\\"' in line for line in lines) else ()
    return max((*_DOUBLED, *backslash, *_BARE), key=lambda dialect: _fit(dialect, lines, wanted))


def _fit(dialect: Dialect, lines: Sequence[str], wanted: Sequence[str]) -> tuple[int, float, int]:
    header, even, records = 0, 0, 0
    named = 0
    try:
        for record in itertools.islice(dialect.reader(iter(lines)), _ENOUGH + 1):
            if not header:
                header = len(record)
                named = len({name.strip() for name in record} & set(wanted))
            elif record:
                records += 1
                even += len(record) == header
    except csv.Error:
        records += 1
    if header < 2:
        return named, 0.0, header
    return named, even / max(1, records), header
