"""What can go wrong with languages: with the settings at the start, and with one message."""


class LanguageError(Exception):
    """Languages cannot be told as the settings ask. One line: which setting, and what to do."""


class LanguageUnsupported(Exception):
    """The language of a message has no pack. `reason` is the stable code for metrics and headers."""

    reason = "language_unsupported"
