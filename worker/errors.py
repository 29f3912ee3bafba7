"""Every error that Moodstream raises on purpose, in one tree, each with its exit code.

`str()` of each is written for the person who reads it: what is wrong, where, and which setting to look at.
None of them ever contains the text of a message.
"""

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What a process tells its supervisor on exit. docs/reference/exit-codes.md lists the codes."""

    OK = 0
    """Drained and stopped as asked."""

    INTERNAL = 1
    """A bug, or a state that only a restart clears."""

    USAGE = 2
    """A setting or an input is wrong: restarting does not help until it is changed."""

    BROKER_UNAVAILABLE = 3
    """No broker answered within `kafka.connect_limit_s`."""

    BROKER_REFUSED = 4
    """The broker answered and refused: login, TLS, rights, or a record that it does not accept."""

    FENCED = 5
    """Another, newer worker runs in the same slot of the same group."""

    WATCHDOG = 6
    """A checkpoint hung for `delivery.watchdog_s` with a broker in reach; a restart lets the work go on."""

    MODEL = 7
    """The model pack is missing or damaged."""

    TOPIC_MISSING = 8
    """An input or output topic does not exist; `moodstream topics create` makes them."""

    COMMIT_UNFINISHED = 9
    """Kafka never finished a commit of this group, and has withheld the group's offsets since."""

    UNREADABLE = 10
    """A partition cannot be read past some offset; the reason names topic, partition and offset."""


def printable(text: str) -> str:
    """Return a text safe for terminals and logs: control characters, line ends and surrogates are escaped."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def one_line(error: BaseException, longest: int = 500) -> str:
    """Return a library's error message as one printable line of at most `longest` characters."""
    return printable(" ".join(str(error).split()))[:longest]


class MoodstreamError(Exception):
    """The root of the tree. `exit_code` is the exit code of a command or worker that ends with it."""

    exit_code: ExitCode = ExitCode.INTERNAL


class Fatal(MoodstreamError):
    """The worker must end with `exit_code`; its supervisor starts it again."""

    def __init__(self, exit_code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


# Settings, inputs and outputs.


class SettingsError(MoodstreamError, ValueError):
    """Wrong settings. `lines` holds one readable line per mistake, without secrets."""

    exit_code = ExitCode.USAGE

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


class ExpressionError(MoodstreamError, ValueError):
    """An expression that cannot be used.

    Args:
        message: what is wrong, so that it can follow the name of the setting: `ends too early`.
        shown: the expression, or the part of it around the place, on one line.
        column: how many columns of it come before the place.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, shown: str, column: int) -> None:
        super().__init__(f"{message}\n{shown}\n{' ' * column}^")
        self.message = message
        self.shown = shown
        self.column = column


class InputError(MoodstreamError):
    """A file that cannot be read at all; one line that begins with its name."""

    exit_code = ExitCode.USAGE


class OutputError(MoodstreamError):
    """Results cannot be written: a full disk, a closed stream; one line that names the output."""

    exit_code = ExitCode.USAGE


class DashboardError(MoodstreamError):
    """The live page cannot start; one line with the reason and the option to look at."""

    exit_code = ExitCode.USAGE


class PortInUse(MoodstreamError):
    """The port or address cannot be used; one line with the reason and the setting to look at."""

    exit_code = ExitCode.USAGE


# Kafka.


class BrokerUnavailable(MoodstreamError):
    """No broker answers in time: worth trying again."""

    exit_code = ExitCode.BROKER_UNAVAILABLE


class BrokerRefused(MoodstreamError):
    """A broker answered and refused (login, TLS, rights): trying again does not help."""

    exit_code = ExitCode.BROKER_REFUSED


class Fenced(MoodstreamError):
    """Another, newer worker runs in the same slot of the group."""

    exit_code = ExitCode.FENCED


class TopicMissing(MoodstreamError):
    """A topic that the worker needs does not exist."""

    exit_code = ExitCode.TOPIC_MISSING


class CommitUnfinished(MoodstreamError):
    """The group's offsets cannot be read, because of a transaction that Kafka never finished."""

    exit_code = ExitCode.COMMIT_UNFINISHED


class OutputRefused(MoodstreamError):
    """Kafka refuses an output record, and would refuse it again."""

    exit_code = ExitCode.BROKER_REFUSED


class SourceUnreadable(MoodstreamError):
    """A partition cannot be read past some offset, and skipping it does not help."""

    exit_code = ExitCode.UNREADABLE


# The schema registry.


class RegistryError(MoodstreamError):
    """The schema registry cannot be used. Never the fault of one message."""

    exit_code = ExitCode.USAGE


class RegistryUnavailable(RegistryError):
    """The schema registry does not answer, or answers that it cannot at the moment: worth trying again."""

    exit_code = ExitCode.BROKER_UNAVAILABLE


class RegistryRefused(RegistryError):
    """The schema registry refuses the login, the TLS connection or a schema: trying again does not help."""

    exit_code = ExitCode.BROKER_REFUSED


class SchemaWithoutText(RegistryError):
    """The schema of a topic has no field for the text; `str()` names the fields that it has."""


# Why a message becomes a dead letter. `reason` is the stable code for metrics and headers.


class MessageError(MoodstreamError):
    """A message that cannot be labelled."""

    reason = "message"


class DecodeError(MessageError):
    """The value of a record contains no text to label."""

    reason = "decode"


class RecordUnreadable(DecodeError):
    """The record itself cannot be parsed, although the checksum of its batch is right."""

    reason = "record_unreadable"


class InvalidUtf8(DecodeError):
    """The bytes are not UTF-8."""

    reason = "invalid_utf8"


class NotJson(DecodeError):
    """The value begins like JSON, or is declared as JSON, but cannot be parsed."""

    reason = "not_json"


class TextMissing(DecodeError):
    """The JSON object has nothing at the configured path."""

    reason = "text_missing"


class TextNotString(DecodeError):
    """There is something at the path, but it is not a string."""

    reason = "text_not_string"


class TextEmpty(DecodeError):
    """The text is empty or blank."""

    reason = "text_empty"


class FilterNotBoolean(DecodeError):
    """`source.filter` is neither true nor false for the message."""

    reason = "filter_not_boolean"


class UnsupportedEncoding(DecodeError):
    """The value is framed by a schema registry in a format other than JSON, or compressed or binary data."""

    reason = "unsupported_encoding"


class SchemaUnknown(DecodeError):
    """The schema registry has no schema with the id in the message's frame."""

    reason = "schema_unknown"


class SchemaUnusable(DecodeError):
    """The schema of a message cannot be used to read it."""

    reason = "schema_unusable"


class SchemaMismatch(DecodeError):
    """The value is not what its schema says, or of a type of the schema that has no text."""

    reason = "schema_mismatch"


class ArrayUnusable(DecodeError):
    """The value is an array without messages, or with too many."""

    reason = "array_unusable"


class DecompressionFailed(DecodeError):
    """The value is not compressed as `content-encoding` says, or too large when it is not compressed."""

    reason = "decompression_failed"


class InvalidCloudEvent(DecodeError):
    """The record is declared as a CloudEvent but lacks what the specification requires."""

    reason = "invalid_cloudevent"


class KeyMissing(MessageError):
    """The record has no key, and the output topic is compacted and needs one."""

    reason = "key_missing"


class OutputTooLarge(MessageError):
    """The output is larger than its topic accepts, even without the text."""

    reason = "output_too_large"


class RefusedByKafka(MessageError):
    """Kafka refuses the output for some other reason."""

    reason = "refused"


class InternalError(MessageError):
    """Labelling this one record fails because of a bug."""

    reason = "internal_error"


class UnreadableRow(DecodeError):
    """A row of a file that cannot be read."""

    reason = "bad_row"


class LanguageUnsupported(MessageError):
    """The language of a message has no pack."""

    reason = "language_unsupported"


# Models.


class PackError(MoodstreamError):
    """The model pack cannot be used: which file, and what is wrong with it."""

    exit_code = ExitCode.MODEL


class TextError(PackError):
    """A pack needs a text handling that this version does not have."""


class InferenceError(MoodstreamError):
    """One forward pass gave no usable result."""


class LanguageError(MoodstreamError):
    """Languages cannot be identified as the settings require: which setting, and what to do."""

    exit_code = ExitCode.USAGE


# The lab.


class LabError(MoodstreamError):
    """A model cannot be made or measured as asked: a recipe, a data set, a table or an option is wrong."""

    exit_code = ExitCode.USAGE


class RecipeError(LabError):
    """A recipe that cannot be read or makes no sense: which file, which entry, and what is wrong with it."""


class TrainingError(LabError):
    """A data set, base model or device that cannot be used for training."""


class TeacherError(LabError):
    """A teacher that does not suit this student: which one, and why."""


class CutError(LabError):
    """A model cannot be compressed as asked."""


class PackagesMissing(LabError):
    """The command needs packages that are not installed; `str()` says how to install them."""


class CasesError(LabError):
    """A file of behaviour cases cannot be read: which file, and what is wrong with it."""


class LabelError(LabError):
    """A field of a table that does not hold a label; `str()` says what it holds instead."""


class TargetError(LabError):
    """A folder that cannot be written, or may not: it is there already, or holds something else."""


class CheckpointError(LabError):
    """A checkpoint folder cannot be converted."""

    exit_code = ExitCode.MODEL


class ExportError(LabError):
    """A model has no form in transformers."""

    exit_code = ExitCode.MODEL


class ExportHeadError(ExportError):
    """The head to export was not named, or is none that can be exported."""

    exit_code = ExitCode.USAGE


# The demo.


class DemoError(MoodstreamError):
    """A part of the demo failed."""


class BrokerError(DemoError):
    """The embedded broker is not installed or does not start."""


class BrokerFolder(BrokerError):
    """The embedded broker's folder cannot be written: which one, and why."""

    exit_code = ExitCode.USAGE


class SampleError(DemoError):
    """A line of the samples file cannot be read; `str()` names the line."""


class FeederError(DemoError):
    """A sample could not be sent."""


class ReaderError(DemoError):
    """The output topics cannot be read."""


class AnswerError(DemoError):
    """A record on the output or dead-letter topic is not the worker's; `str()` says where it is."""


class WorkerDied(DemoError):
    """The worker ended unexpectedly; `str()` contains its exit code and its last lines."""
