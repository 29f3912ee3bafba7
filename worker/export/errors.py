"""Why a model cannot be exported."""


class ExportError(Exception):
    """The model has no form in transformers, or the folder cannot be written. Its text is one line."""
