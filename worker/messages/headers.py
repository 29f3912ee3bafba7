"""Record headers: which ones describe the value, how they are read, and which must not be passed on."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from worker.types import Headers

SCHEMA_ID = "__value_schema_id"
"""Confluent's header form of a schema id."""

CONNECT_PREFIX = "__connect.errors."
SPRING_PREFIX = "kafka_dlt-"
OWN_PREFIX = "moodstream."
REASON = OWN_PREFIX + "reason"
"""Our own header of a dead letter, in both profiles."""

INDEX = OWN_PREFIX + "index"
"""Our own header: the place of a message in the array that its record held, counted from 0."""

Kind = Literal["json", "text", "unreadable", "unknown"]

_READ = frozenset({"content-type", "contenttype", "content-encoding", SCHEMA_ID})

# Prefixes and names in lower case, as they are compared.
_ERROR_PREFIXES = (
    CONNECT_PREFIX,
    SPRING_PREFIX,
    OWN_PREFIX,
    # What Spring's retry topics and its error-handling deserializer add.
    "retry_topic-",
    "springdeserializerexception",
)
_VALUE_PREFIXES = ("ce_", "ce-", "cloudevents:", "cloudevents_", "apicurio.")
_KEY_PREFIX = "apicurio.key."
_VALUE_NAMES = frozenset(
    {
        "content-type",
        "contenttype",
        "content_type",
        "content-encoding",
        "contentencoding",
        "content_encoding",
        "content-length",
        "content-md5",
        "content-digest",
        "originalcontenttype",
        "__typeid__",
        "__contenttypeid__",
        "spring_json_header_types",
        SCHEMA_ID,
    }
)

_LONGEST_TYPE = 255
_JSON_TYPE = re.compile(r"(application|text)/(x-)?json|[^/]+/[^/]+\+json")
_CHARSET = re.compile(
    r"utf-?(?:8|16|32)(?:-?[lb]e)?|(?:us-)?ascii|latin-?1|iso-8859-(?:1[013-6]?|[2-9])|(?:windows-|cp)125[0-8]"
    r"|koi8-[ru]|gb2312|gbk|gb18030|big5|shift_jis|euc-(?:jp|kr)|iso-2022-(?:jp|kr)"
)
_UTF8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})

_UNREADABLE = {
    "Avro": r".*\bavro\b.*",
    "Protobuf": r".*\b(protobuf|protobuffer|grpc)\b.*",
    "MessagePack": r".*\b(msgpack|messagepack)\b.*",
    "CBOR": r".*\bcbor\b.*",
    "BSON": r".*\bbson\b.*",
    "Thrift": r"application/(x-|vnd\.apache\.)thrift.*",
    "a sequence of JSON values": r".*\b(json-seq|ndjson|jsonl|jsonlines|json-stream)\b.*",
    "compressed data": r"application/(.+\+)?(x-)?(gzip|zstd|zip|zlib|bzip2|xz|brotli|snappy|lz4).*",
    "a serialised Java object": r"application/x-java-serialized-object",
    "XML": r"application/(.+\+)?xml(-.+)?",
    "YAML": r"application/(.+\+)?(x-)?yaml",
    "a form": r"application/x-www-form-urlencoded|multipart/.*",
    "a PDF file": r"application/pdf",
    "an image, a sound, a film or a font": r"(image|audio|video|font|model)/.*",
}
_UNREADABLE_TYPES = [(re.compile(pattern), form) for form, pattern in _UNREADABLE.items()]


@dataclass(frozen=True, slots=True)
class MediaType:
    """What a content type says about the bytes that it belongs to.

    `name` is the type in lower case, without parameters; empty if not given. `form` names a format that
    cannot be read. `charset` is None for UTF-8 or if not given, empty for an unknown one.
    """

    name: str = ""
    kind: Kind = "unknown"
    form: str = ""
    charset: str | None = None

    @property
    def wide(self) -> bool:
        """Whether every character takes two or four bytes, of which some are zero."""
        return self.charset is not None and self.charset.replace("-", "").startswith(("utf16", "utf32"))

    @property
    def cloudevent(self) -> bool:
        """Whether it announces a CloudEvent in structured mode, or several in batch mode."""
        return self.name.startswith("application/cloudevents")

    @property
    def cloudevents(self) -> bool:
        """Whether it announces CloudEvents in batch mode."""
        return self.name.startswith("application/cloudevents-batch")


UNDECLARED = MediaType()
"""The media type when no content type is given."""


def media_type(value: str | None) -> MediaType:
    """Read a `content-type`. One that cannot be read, or is absurdly long, is ignored."""
    return _media_type(value) if value and len(value) <= _LONGEST_TYPE else UNDECLARED


@lru_cache(maxsize=64)
def _media_type(value: str) -> MediaType:
    # Spring Cloud Stream used to write its headers as JSON, with quotes around the type.
    name, *parameters = value.strip().removeprefix('"').removesuffix('"').lower().split(";")
    name = name.split(",", 1)[0].strip()
    charset = None
    for parameter in parameters:
        key, _, said = parameter.partition("=")
        if key.strip() == "charset":
            charset = known_charset(said.strip().strip("\"'"))
    if _JSON_TYPE.fullmatch(name):
        return MediaType(name, "json", charset=charset)
    form = next((form for pattern, form in _UNREADABLE_TYPES if pattern.fullmatch(name)), "")
    if form:
        return MediaType(name, "unreadable", form, charset)
    return MediaType(name, "text" if name.startswith("text/") else "unknown", charset=charset)


def known_charset(name: str) -> str | None:
    """Return the codec for the name of a character set: None for UTF-8, an empty string if it is unknown.

    The names are a fixed list: Python would search for a module of any name that a producer makes up, and
    cache each one in memory.
    """
    name = name.lower()
    if name in _UTF8:
        return None
    return name if _CHARSET.fullmatch(name) else ""


def read_headers(headers: Headers) -> dict[str, str]:
    """Return the headers that the decoder looks at, names in lower case; of duplicates the last one counts.

    Bytes that are not UTF-8 become lone surrogates (PEP 383), so that different values stay different.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if value is not None and (lower in _READ or lower.startswith("ce_")):
            found[lower] = value.decode("utf-8", "surrogateescape")
    return found


def output_headers(headers: Headers, content_type: bytes = b"application/json") -> Headers:
    """Keep the input's headers (trace context among them) that are also true of the output.

    Headers that describe the input's value are dropped, and so are those of an earlier failure.
    """
    kept = (
        (name, value)
        for name, value in headers
        if not _is_of_an_error(name.lower()) and not _is_about_the_value(name.lower())
    )
    return (*kept, ("content-type", content_type))


def without_errors(headers: Headers) -> Headers:
    """Drop the headers that an earlier dead letter got, in either profile."""
    return tuple(
        (name, value) for name, value in headers if name == INDEX or not _is_of_an_error(name.lower())
    )


def element_headers(headers: Headers, index: int, *, event: bool) -> Headers:
    """The headers of one element of an array, as if it had been sent alone. `event`: it is a CloudEvent."""
    kept = ((name, value) for name, value in headers if not _is_about_the_value(name.lower()))
    form = b"application/cloudevents+json" if event else b"application/json"
    return (*kept, ("content-type", form), (INDEX, str(index).encode()))


def _is_of_an_error(name: str) -> bool:
    return name.startswith(_ERROR_PREFIXES)


def _is_about_the_value(name: str) -> bool:
    if name.startswith(_KEY_PREFIX):  # the key is passed on as it is
        return False
    return name in _VALUE_NAMES or name.startswith(_VALUE_PREFIXES)
