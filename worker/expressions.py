"""The expressions of `source.*_field`, `source.filter` and `sink.keep`: JMESPath, and dotted paths.

A dotted path (`review.body`, `tags.0`) is the simplest form. It goes through objects by key and through
arrays by number, and a key that contains the dots itself wins. Anything else is JMESPath
(https://jmespath.org/specification.html), with one addition: between dotted paths `|` means "or else", as
`||` does. JMESPath's own pipe (`a | b` for `a.b`) adds nothing there.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jmespath
from jmespath.exceptions import EmptyExpressionError, IncompleteExpressionError, LexerError, ParseError
from jmespath.functions import Functions

from worker.errors import ExpressionError, printable

LONGEST = 4_096
"""Characters of the longest expression."""

MISSING: Any = object()
"""What `Path.find` gives where a step does not exist."""

_SHOWN = 60
"""Characters of an expression that an error shows on each side of the place."""

_PLAIN = re.compile(r"""(?:[^,|\[\]{}()"'`&!<>=*@]|@(?=\w)|(?<!&)&(?!&))+""")
"""A dotted path. `@` and `&` may stand in a key, as in `@timestamp`."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_AS = re.compile(r"""(?P<expression>.*\S)\s+as\s+(?P<name>[^\s"'`\]})]+)\s*""", re.DOTALL)
"""Neither quotes nor brackets can close behind a name, so that this `as` stands outside them."""
_QUOTES = "\"'`"
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_WORDS = {"and": "&&", "or": "||", "not": "!"}


class Path:
    """A dotted path.

    Args:
        text: the path as it was written.
        whole: it is one key, whatever it contains.
    """

    __slots__ = ("quoted", "steps", "text")

    def __init__(self, text: str, *, whole: bool = False) -> None:
        self.text = text
        self.quoted = f"`{text}`"
        self.steps = [text] if whole else text.split(".")

    @property
    def names(self) -> frozenset[str]:
        """The fields at the top of a body that it may read."""
        return frozenset({self.text, self.steps[0]})

    def find(self, body: object) -> object:
        """Return what the path leads to, None when it leads nowhere."""
        if isinstance(body, Mapping) and self.text in body:
            return body[self.text]
        for step in self.steps:
            body = follow(body, step)
            if body is MISSING:
                return None
        return body


class Query:
    """A JMESPath expression.

    Args:
        text: the expression, which is known to parse.
    """

    __slots__ = ("_parsed", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parsed = jmespath.compile(text)

    @property
    def names(self) -> frozenset[str] | None:
        """Names among which are the fields at the top of a body that it may read; None for any field."""
        return _field_names(self._parsed.parsed)

    def find(self, body: object) -> object:
        """Return the result: None also where a function meets a value of a type that it does not take."""
        try:
            found: object = self._parsed.search(body)
        except Exception:  # noqa: BLE001 - a library's code over whatever a producer may have written
            return None
        return found


_IDENTITY = {"type": "identity", "children": []}


def _field_names(node: Mapping[str, Any]) -> frozenset[str] | None:
    """Collect all names of an expression, at whatever depth; None where it takes the fields as they come."""
    if node["type"] == "field":
        return frozenset({node["value"]})
    children: list[Any] = node["children"]
    if node["type"] == "current" or (node["type"], children[:1]) == ("value_projection", [_IDENTITY]):
        return None
    found: frozenset[str] = frozenset()
    for child in children:
        names = _field_names(child) if isinstance(child, Mapping) else found  # the places of a slice
        if names is None:
            return None
        found |= names
    return found


class Expression(NamedTuple):
    """One or more ways to a value; the first that leads to a usable one counts."""

    text: str
    ways: tuple[Path | Query, ...]

    @property
    def plain(self) -> Path | None:
        """The dotted path, where that is all there is."""
        only = self.ways[0]
        return only if len(self.ways) == 1 and isinstance(only, Path) else None

    def find(self, body: object) -> object:
        """Return the first value that is there and not null; None when there is none."""
        return next(self.all(body), None)

    def verdict(self, body: object) -> object:
        """Return what a filter says: True if one way is true, and otherwise the first that is not false.

        False if all that are there are false, None if none is there. So `a || b` is an or, as in JMESPath.
        """
        if len(self.ways) == 1:
            return self.ways[0].find(body)
        said = list(self.all(body))
        if any(value is True for value in said):
            return True
        return next((value for value in said if value is not False), False if said else None)

    def all(self, body: object) -> Iterator[object]:
        """Yield the values of all ways that are there and not null, in their order."""
        for way in self.ways:
            found = way.find(body)
            if found is not None:
                yield found


class Keep(NamedTuple):
    """A field of the sender's that the output keeps, and the name of its column."""

    name: str
    expression: Expression


def follow(here: object, step: str) -> object:
    """Go one step of a dotted path; `MISSING` when there is no such key or place."""
    if isinstance(here, Mapping):
        return here.get(step, MISSING)
    if not isinstance(here, Sequence) or isinstance(here, (str, bytes)):
        return MISSING
    if step.isascii() and step.isdigit():
        index = int(step[:9])
        return here[index] if index < len(here) else MISSING
    return MISSING


def parse_expression(text: str) -> Expression:
    """Parse an expression for one value.

    Raises:
        ExpressionError: it does not parse, calls an unknown function, or has several parts with commas.
    """
    parts = parse_list(text)
    if len(parts) > 1:
        raise _error("only source.text_field takes several paths", text, _pieces(text, ",")[0].end)
    return parts[0]


def parse_filter(text: str) -> Expression:
    """Parse an expression that is true or false. A key with blanks needs quotes here: `a and b` is none.

    Raises:
        ExpressionError: as for `parse_expression`.
    """
    if _PLAIN.fullmatch(text) and len(text.split()) > 1:
        return Expression(text, (_query(text, 0, text),))
    return parse_expression(text)


def parse_list(text: str) -> tuple[Expression, ...]:
    """Parse expressions that are separated by commas, as in `title, body`.

    Raises:
        ExpressionError: one of them does not parse or calls an unknown function, or there is none.
    """
    if len(text) > LONGEST:
        raise _error(f"is longer than {LONGEST} characters", text, LONGEST)
    if not text.strip():
        raise _error("is blank", text, 0)
    if _PLAIN.fullmatch(text):
        return (Expression(text, (Path(text),)),)
    if (key := _quoted_key(text)) is not None:
        return (Expression(text, (Path(key, whole=True),)),)
    return tuple(_parse_part(text, piece) for piece in _pieces(text, ","))


def _quoted_key(text: str) -> str | None:
    """Return the key of an expression that is nothing but a key between double quotes."""
    if _end_of_quote(text, 0) != len(text) or text[0] != '"':
        return None
    try:
        key = json.loads(text)
    except ValueError:
        return None
    return key if isinstance(key, str) and key else None


KeptType = Literal["string", "long", "double", "boolean"]
"""The types that an entry of `sink.keep` may name."""

_TYPES: dict[str, KeptType] = {
    "string": "string",
    "long": "long",
    "double": "double",
    "boolean": "boolean",
}
_ALMOST: dict[str, KeptType] = {
    "str": "string",
    **dict.fromkeys(("int", "integer", "int32", "int64", "bigint"), "long"),
    **dict.fromkeys(("float", "float32", "float64"), "double"),
    "bool": "boolean",
}
"""What other systems call these types. A key that ends in one of these names has to be quoted."""
_TYPED = re.compile(r"(?P<entry>.*\S)\s*:\s*(?P<type>[A-Za-z]+(?:32|64)?)\s*", re.DOTALL)


def split_type(entry: str) -> tuple[str, KeptType | None]:
    """Split an entry of `sink.keep` into what leads to the value and the type after the colon, if any.

    Raises:
        ExpressionError: the type has a name from another system, or capital letters.
    """
    found = _TYPED.fullmatch(entry)
    if found is None:
        return entry, None
    word = found["type"]
    kind = _TYPES.get(word.lower()) or _ALMOST.get(word.lower())
    if kind is not None and word not in _TYPES:
        raise _error(
            f"has no type `{word}`; write `:{kind}`, or put a key with a colon between double quotes",
            entry,
            found.start("type"),
        )
    return (entry, None) if kind is None else (found["entry"], kind)


def parse_keep(text: str) -> Keep:
    """Parse `EXPRESSION as NAME`, or a dotted path alone, whose last step becomes the name.

    In such a name `_` stands for what is neither an ASCII letter nor a digit, and a number gets the step
    before it in front: `tags.0` becomes `tags_0`.

    Raises:
        ExpressionError: it does not parse, the name is not one, or a JMESPath expression has no name.
    """
    named = _AS.fullmatch(text)
    if named is None:
        expression = parse_expression(text)
        if expression.plain is None:
            raise _error("needs a name: write EXPRESSION as NAME", text, len(text.rstrip()))
        return Keep(_default_name(expression.plain), expression)
    name = named["name"]
    if _NAME.fullmatch(name) is None:
        raise _error(f"`{name}` is not a name; take ASCII letters, digits and _", text, named.start("name"))
    return Keep(name, parse_expression(named["expression"]))


def split_list(text: str) -> list[str]:
    """Split at the commas that are not inside quotes or brackets; empty parts are dropped."""
    parts = (text[piece.start : piece.end].strip() for piece in _pieces(text, ",", strict=False))
    return [part for part in parts if part]


def _default_name(path: Path) -> str:
    steps = [re.sub(r"[^A-Za-z0-9_]+", "_", step) for step in path.steps]
    name = steps.pop()
    while steps and not _NAME.fullmatch(name):
        name = f"{steps.pop()}_{name}"
    return name if _NAME.fullmatch(name) else f"_{name}"


class _Piece(NamedTuple):
    start: int
    end: int


def _pieces(text: str, sign: str, *, strict: bool = True) -> list[_Piece]:
    """Split at a sign that is not inside quotes or brackets. A doubled sign (`||`) does not split.

    Raises:
        ExpressionError: `strict`, and a quote is not closed.
    """
    pieces: list[_Piece] = []
    start = at = 0
    closing: list[str] = []
    while at < len(text):
        char = text[at]
        if char in _QUOTES:
            end = _end_of_quote(text, at)
            if end is None:
                if strict:
                    raise _error(f"has a {char} that is not closed", text, at)
                end = len(text)
            at = end
            continue
        if char in _CLOSING:
            closing.append(_CLOSING[char])
        elif closing and char == closing[-1]:
            closing.pop()
        elif char == sign and not closing:
            if text[at + 1 : at + 2] == sign and sign == "|":
                at += 2
                continue
            pieces.append(_Piece(start, at))
            start = at + 1
        at += 1
    return [*pieces, _Piece(start, len(text))]


def _end_of_quote(text: str, at: int) -> int | None:
    """Return the place after the closing quote; a backslash before a quote makes it an ordinary character."""
    if text[at] not in _QUOTES:
        return None
    found = re.compile(rf"{text[at]}(?:[^\\{text[at]}]|\\.)*{text[at]}", re.DOTALL).match(text, at)
    return None if found is None else found.end()


def _parse_part(whole: str, piece: _Piece) -> Expression:
    """Parse what stands between two commas: dotted paths with `|` or `||` between them, or JMESPath."""
    part = whole[piece.start : piece.end]
    if not part.strip():
        raise _error("has nothing between its commas", whole, piece.start)
    ways = [way.strip() for way in re.split(r"\|\|?", part)]
    if all(_PLAIN.fullmatch(way) for way in ways):
        return Expression(part.strip(), tuple(Path(way) for way in ways))
    start = piece.start + len(part) - len(part.lstrip())
    return Expression(part.strip(), (_query(whole, start, part.strip()),))


def _query(whole: str, start: int, text: str) -> Query:
    try:
        query, parsed = Query(text), jmespath.compile(text).parsed
    except IncompleteExpressionError:
        raise _error("ends too early", whole, start + len(text)) from None
    except LexerError as error:
        raise _error(_odd_sign(error), whole, start + error.lexer_position) from None
    except ParseError as error:
        raise _error(_odd_token(error), whole, start + error.lex_position) from None
    except (EmptyExpressionError, ValueError, RecursionError):
        raise _error("is not a JMESPath expression, or is nested too deeply", whole, start) from None
    _check_calls(whole, start, text, parsed)
    return query


def _odd_sign(error: LexerError) -> str:
    sign = str(error.lexer_value)[:1]
    if sign == "=":
        return "has a single `=`; two compare"
    if sign in {'"', "'", "`"}:
        return f"has a {sign} that is not closed, or something between two of them that is not JSON"
    return f"has a `{printable(sign)}` outside quotes; put a key with such characters between double quotes"


def _odd_token(error: ParseError) -> str:
    token = printable(str(error.token_value))
    if error.token_type == "NUMBER":  # noqa: S105 - a kind of token of the language
        return f"has a number without backticks; write `{token}`"
    if token in _WORDS:
        return f"has the word `{token}`; JMESPath writes {_WORDS[token]}"
    if error.token_type == "EOF":  # noqa: S105 - see above
        return "ends too early"
    return f"does not go on with `{token}`"


def _check_calls(whole: str, start: int, text: str, node: Mapping[str, Any]) -> None:
    """Check functions and the number of their arguments, as jmespath itself does only when it runs them."""
    for child in node.get("children", ()):
        if isinstance(child, Mapping):
            _check_calls(whole, start, text, child)
    if node.get("type") != "function_expression":
        return
    name, given = node["value"], len(node["children"])
    call = re.search(rf"(?<![\w.]){name}\s*\(", text)
    at = start + (call.start() if call else 0)
    known = Functions.FUNCTION_TABLE.get(name)
    if known is None:
        raise _error(f"calls `{name}`, which is not a function of JMESPath", whole, at)
    wanted = known["signature"]
    open_end = bool(wanted) and bool(wanted[-1].get("variadic"))
    if given < len(wanted) or (given > len(wanted) and not open_end):
        number = f"at least {len(wanted)}" if open_end else str(len(wanted))
        raise _error(f"gives `{name}` {given} values; it takes {number}", whole, at)


def _error(message: str, text: str, at: int) -> ExpressionError:
    """Make the error that shows the surroundings of a place with a caret under it."""
    first = max(0, at - _SHOWN)
    shown = printable(text[first : at + _SHOWN])
    before = printable(text[first:at])
    columns = sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in before)
    return ExpressionError(message, shown, columns)
