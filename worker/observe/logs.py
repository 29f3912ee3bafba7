"""Log lines, our own and those of the Kafka client: JSON for machines, coloured text for people."""

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]

QUIET_S = 10.0
"""How soon a line of the Kafka client may repeat. While a broker is away the client logs one every second."""


def configure(level: LogLevel = "info", format: LogFormat = "auto", stream: TextIO | None = None) -> None:  # noqa: A002 - the setting is called log_format
    """Send every log line of this process to one stream (standard error by default) in one format.

    `auto` is `console` when the stream is a terminal and `json` when it is not. Colours need a terminal and
    no `NO_COLOR`. The lines of kafka-python are left out, because ours cover the same events; at level debug
    they are included from info on. May be called again; the last call counts.
    """
    stream = sys.stderr if stream is None else stream
    terminal = stream.isatty()
    console = format == "console" or (format == "auto" and terminal)
    colours = terminal and not os.environ.get("NO_COLOR")
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        # People read their own clock; machines compare those of many hosts.
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(console=console, colours=colours),
            ],
        )
    )
    handler.addFilter(Quieter(prefix="kafka", tracebacks=level == "debug"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("kafka").setLevel(logging.INFO if level == "debug" else logging.CRITICAL)
    logging.captureWarnings(True)


def _renderers(*, console: bool, colours: bool) -> list[Processor]:
    """Tracebacks are plain in both formats: with local variables they would show the texts of messages."""
    if console:
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain, sort_keys=False)]
    return [structlog.processors.format_exc_info, _json_line]


def _json_line(_: WrappedLogger, __: str, event: EventDict) -> str:
    """Write one JSON object, with the fields that readers look for first at its start."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "event", "logger") if name in event}
    line = {**first, **event}
    try:
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # half a surrogate pair, as in the name of a file, or a number of more than 64 bits
        return json.dumps({str(name): value for name, value in line.items()}, default=str)


class Quieter(logging.Filter):
    """Lets lines of the same kind pass once every `QUIET_S` seconds, for the loggers under `prefix`.

    The kind is the line of code that logs, since texts differ in addresses and times. The next line that
    passes has the number of suppressed ones as `repeated`.
    """

    def __init__(
        self, prefix: str, clock: Callable[[], float] = time.monotonic, *, tracebacks: bool = False
    ) -> None:
        super().__init__()
        self._tracebacks = tracebacks
        self._prefix = prefix
        self._clock = clock
        self._seen: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line passes."""
        if record.name != self._prefix and not record.name.startswith(f"{self._prefix}."):
            return True
        kind, now = (record.pathname, record.lineno), self._clock()
        if not self._tracebacks:
            record.exc_info = record.exc_text = None
        since, held = self._seen.get(kind, (float("-inf"), 0))
        if now - since < QUIET_S:
            self._seen[kind] = (since, held + 1)
            return False
        self._seen[kind] = (now, 0)
        if held:
            record.repeated = held
        return True
