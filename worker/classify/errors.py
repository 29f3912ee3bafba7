"""What can go wrong between a pack on disk and a label."""


class PackError(Exception):
    """The model pack cannot be used. Its text is one line that says which file, and what is wrong with it."""


class InferenceError(Exception):
    """One forward pass gave no usable result. Its text is one line and never holds a message's text."""
