"""What ends a source."""


class SourceFenced(Exception):
    """Another worker has joined the group in the same slot. `str()` is one line for a person."""
