"""Which texts of a window share a forward pass."""

from collections.abc import Sequence


def plan(lengths: Sequence[int], *, max_padded_tokens: int, max_padding_share: float) -> list[list[int]]:
    """Cut a window into micro-batches of texts of like length.

    Texts are sorted by length and taken in that order. A micro-batch ends where one more text would take
    it over `max_padded_tokens` (rows times the longest row) or would make more of it than
    `max_padding_share` padding. A text longer than the budget gets a batch of its own: none is left out.

    Args:
        lengths: tokens of each text.
        max_padded_tokens: budget of one micro-batch, padding counted.
        max_padding_share: largest part of a micro-batch that may be padding, 0 to 1.

    Returns:
        Indices into `lengths`, each exactly once, longest micro-batches last.
    """
    batches: list[list[int]] = []
    batch: list[int] = []
    real = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[index]
        padded = (len(batch) + 1) * length
        if batch and (padded > max_padded_tokens or padded - real - length > padded * max_padding_share):
            batches.append(batch)
            batch, real = [], 0
        batch.append(index)
        real += length
    if batch:
        batches.append(batch)
    return batches
