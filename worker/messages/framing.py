"""Recognises bytes that are not plain text: frames of schema registries, signatures of binary formats."""

import re
from typing import NamedTuple

_JSON_STARTS = b'{["'

_SIGNATURES = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "LZ4"),
    (b"\xff\x06\x00\x00sNaPpY", "Snappy"),
    (b"\x82SNAPPY\x00", "Snappy"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
    (b"\x78\x01", "zlib"),
    (b"\x78\x9c", "zlib"),
    (b"\x78\xda", "zlib"),
    (b"PK\x03\x04", "a zip archive"),
    (b"Obj\x01", "an Avro file"),
    (b"\xc3\x01", "Avro's single-object encoding"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\xac\xed\x00\x05", "a serialised Java object"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"%PDF-", "a PDF file"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
)
_SEQUENCE = re.compile(rb'\x1e[ \t\r\n]*[{\["]')
_GLUE = (b"\x03\x00", b"\x03\x05")
_UTF16_SAMPLE = 512
_LONG_ID = 5
"""The zeros at the beginning of an 8-byte id below 2^32, with the zero byte before it."""


class Frame(NamedTuple):
    """What comes before a value: its length, and its description in error messages."""

    length: int
    words: str


def registry_frame(value: bytes) -> Frame | None:
    """Recognise the frame that a schema registry's serializer puts before a value.

    Confluent writes a zero byte and a 4-byte id, or a one and a 16-byte GUID; Apicurio may write a zero byte
    and an 8-byte id; AWS Glue writes 3, the compression (0 or 5) and a UUID. Confluent's id is recognised by
    the zero byte; any other frame only by the JSON after it, since such bytes alone prove nothing.
    """
    if value[:1] == b"\x00":
        if _unicode_form(value) or not value.strip(b"\x00"):
            return None
        if has_long_id(value):
            return Frame(9, f"schema id {int.from_bytes(value[1:9], 'big')}")
        return Frame(5, f"schema id {int.from_bytes(value[1:5], 'big')}") if len(value) >= 5 else None
    if value[:1] == b"\x01" and _json_begins(value, 17):
        return Frame(17, "a schema GUID")
    if value[:2] == _GLUE[0] and _json_begins(value, 18):
        return Frame(18, "AWS Glue's header")
    return None


def has_long_id(value: bytes) -> bool:
    """Whether JSON follows a zero byte and an 8-byte id, as Apicurio may write.

    In Confluent's frame the first four bytes of it would be the id 0, which no schema has.
    """
    return value[:_LONG_ID] == bytes(_LONG_ID) and _json_begins(value, 9)


def _json_begins(value: bytes, at: int) -> bool:
    return value[at : at + 1] in _JSON_STARTS and len(value) > at


def foreign_format(value: bytes) -> str | None:
    """Name the format of bytes that are not plain UTF-8 text, or None if it is not recognised.

    Only for bytes that cannot be read: some of the signatures also begin ordinary words.
    """
    if (encoding := _unicode_form(value)) is not None:
        return encoding
    for mark, name in _SIGNATURES:
        if value.startswith(mark):
            return name
    if _SEQUENCE.match(value):
        return "a JSON text sequence (RFC 7464)"
    if value.startswith(_GLUE) and len(value) >= 18:
        return "framed by AWS Glue's schema registry and not JSON"
    if value[:1] == b"\x01" and len(value) >= 17:
        return "binary, perhaps framed with a schema GUID"
    return None


def _unicode_form(value: bytes) -> str | None:
    """Recognise UTF-16 and UTF-32 by the byte order mark, or by the zero next to each ASCII character."""
    if value.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")) and len(value) % 4 == 0:
        return "UTF-32"
    if len(value) % 2 or len(value) < 4:
        return None
    if value.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    sample = value[:_UTF16_SAMPLE]
    for start in (0, 1):
        zeros, others = sample[start::2].count(0), sample[1 - start :: 2].count(0)
        if zeros * 4 > len(sample) and not others:
            return "UTF-16"
    return None
