"""Fuzzes the reader of files: random tables, lines and Parquet files, read for labels and for training.

    python tests/fuzz/tables.py --inputs 100000 --seed 1

Half of the inputs are tables written by Python's csv module or as JSON lines in some dialect, encoding and
packing, which must come back as they were written; the others are such files changed at random, of which
nothing but rows, bad rows with a reason, or one line that names the file may come. A finding is printed with
the bytes that caused it, so that it becomes a test. Exits with 1 when there are findings.
"""

import argparse
import csv
import gzip
import io
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson

from worker.errors import InputError, LabelError
from worker.lab.data.field_labels import LabelReader
from worker.tables.open import Format, Table, open_input
from worker.tables.rows import BadRow, Cells, Pause, Row, text_column

MOST_FINDINGS = 20
SLOW_S = 5.0

_WORDS = (
    *(
        "good",
        "caf\u00e9",
        "\U0001f621",
        'he said "wow"',
        "a,b",
        "a;b",
        "x|y",
        "tab\there",
        "back\\slash",
        "'",
    ),
    *("two\nlines", "\r", "", " ", "nan", "['a', 'b']", "\u2028", "\x1b[31m", "NULL", "\ufeff", "1.0", '"'),
)
_BYTES = (
    *(
        b'"',
        b'""',
        b"\\",
        b",",
        b";",
        b"\t",
        b"|",
        b"\n",
        b"\r",
        b"\r\n",
        b"\0",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
    ),
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\x1f\x8b",
        b"PK\x03\x04",
        b"{",
        b"[",
        b"}",
        b"text",
        b"PAR1",
        b"\x1b",
        b" ",
    ),
    *(b'"' * 3, b'\\"', b"x" * 5_000, b",,,,", b"\n\n\n", b"[" * 3_000, b"9" * 5_000, b"\xe9"),
)


def written(rng: random.Random) -> tuple[str, bytes, str, list[tuple[str, str]]]:
    """Return a name, the bytes of a table, their encoding, and the rows that it holds."""
    rows = [(_text(rng), _text(rng)) for _ in range(rng.randint(1, 30))]
    name, encoding = "a.csv", "utf-8"
    if rng.random() < 0.3:
        name = "a.jsonl"
        content = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    else:
        end = rng.choice(["\n", "\r\n", "\r"])
        quoting: Any = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        if quoting == csv.QUOTE_MINIMAL:  # Python quotes only those ends of lines that it writes itself
            other = str.maketrans(dict.fromkeys({"\r", "\n"} - set(end), " "))
            rows = [(text.translate(other), label.translate(other)) for text, label in rows]
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=rng.choice(",;\t|"), quoting=quoting, lineterminator=end)
        writer.writerows([["text", "label"], *rows])
        content = out.getvalue()
        encoding = rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"])
    data = content.encode(encoding)
    return (
        (name + ".gz", gzip.compress(data, mtime=0), encoding, rows)
        if rng.random() < 0.3
        else (name, data, encoding, rows)
    )


def _text(rng: random.Random) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.randint(0, 5)))


def changed(rng: random.Random, data: bytes) -> bytes:
    """Return the bytes with something put in, cut out, doubled or overwritten, a few times."""
    for _ in range(rng.randint(1, 6)):
        place = rng.randint(0, len(data))
        until = place + rng.randint(0, 40)
        data = rng.choice(
            [
                data[:place] + rng.choice(_BYTES) + data[place:],
                data[:place] + data[until:],
                data[:place] + data[place:until] * 2 + data[until:],
                data[:place] + rng.randbytes(until - place) + data[until:],
            ]
        )
    return data


def read_rows(path: Path, encoding: str, form: Format = "auto") -> str | None:
    """Read a file as `moodstream label` does; return what is wrong with what came."""
    try:
        source = open_input(str(path), text_column("text"), form, encoding)
    except InputError as error:
        return _wrong_line(path, error)
    number = 0
    try:
        for item in source:
            if isinstance(item, Pause):
                continue
            if item.number != number or item.place < 1:
                return f"row {item.number} at {item.place} came as number {number}"
            number += 1
            if isinstance(item, BadRow) and not item.reason.isprintable():
                return f"a reason that cannot be shown: {item.reason!r}"
            if isinstance(item, Row):
                item.value.decode()
                if path.name.startswith("a.csv") and form == "auto":
                    orjson.loads(item.value)
    except InputError as error:
        return _wrong_line(path, error)
    finally:
        source.close()
    return None


def read_table(path: Path) -> tuple[list[tuple[Any, ...]], str | None]:
    """Read a file as training does; return its good rows, and what is wrong with what came."""
    found: list[tuple[Any, ...]] = []
    labels = LabelReader()
    try:
        table = Table(path, ("text", "label"))
        for row in table.rows(["text", "label"]):
            if isinstance(row, Cells):
                found.append(row.values)
                try:
                    labels.names(row.values[1])
                except LabelError as error:
                    if "\n" in str(error) or not str(error).isprintable():
                        return found, f"a reason that cannot be shown: {str(error)!r}"
    except InputError as error:
        return found, _wrong_line(path, error)
    return found, None


def _wrong_line(path: Path, error: InputError) -> str | None:
    line = str(error)
    return None if line.startswith(str(path)) and line.isprintable() and len(line) < 2_000 else f"{line!r}"


def check(rng: random.Random, folder: Path, outcomes: Counter[str]) -> str | None:
    """Make one input and read it; return a finding."""
    name, data, encoding, rows = written(rng)
    damaged = rng.random() < 0.5
    path = folder / name
    data = changed(rng, data) if damaged else data
    path.write_bytes(data)
    started = time.monotonic()
    form: Format = rng.choice(["auto", "auto", "csv", "jsonl", "txt"]) if damaged else "auto"
    try:
        wrong = read_rows(path, encoding, form)
        if encoding in {"utf-8", "utf-8-sig"} and wrong is None:
            found, wrong = read_table(path)
            outcomes["rows"] += len(found)
            if not damaged and wrong is None and found != rows:
                wrong = f"{len(rows)} rows were written, others came back: {found!r}"
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        wrong = f"{type(error).__name__}: {error}"
    if wrong is None and time.monotonic() - started > SLOW_S:
        wrong = f"took {time.monotonic() - started:.0f} s"
    outcomes["damaged" if damaged else "whole"] += 1
    return None if wrong is None else f"{wrong}\n  {name} {encoding} {form}: {data!r}"


def main(count: int, seed: int = 1, seconds: float = float("inf")) -> int:
    """Check so many inputs, or as many as so many seconds allow. Returns 1 when something was found."""
    rng, outcomes, findings, done = random.Random(seed), Counter[str](), 0, 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        while done < count and findings < MOST_FINDINGS and time.monotonic() - started < seconds:
            done += 1
            wrong = check(rng, Path(folder), outcomes)
            if wrong is not None:
                findings += 1
                print(wrong)
    print(f"tables: {done} inputs in {time.monotonic() - started:.0f} s, {findings} findings")
    print(" ".join(f"{name}={number}" for name, number in outcomes.most_common()))
    return 1 if findings else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end earlier, after this time")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.exit(main(options.inputs, options.seed, options.seconds))
