"""Why a checkpoint cannot become a pack."""


class CheckpointError(Exception):
    """The checkpoint folder cannot be converted. Its text is one line for the person who brought it."""
