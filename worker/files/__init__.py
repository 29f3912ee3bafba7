"""Texts from files and pipes, labelled without a broker: what `moodstream label` does."""

from worker.files.inputs import STDIN, Format, Input, check_inputs, format_of, open_input
from worker.files.labeller import Answer, Labeller
from worker.files.rows import BadRow, InputError, Pause, Row

__all__ = [
    "STDIN",
    "Answer",
    "BadRow",
    "Format",
    "Input",
    "InputError",
    "Labeller",
    "Pause",
    "Row",
    "check_inputs",
    "format_of",
    "open_input",
]
