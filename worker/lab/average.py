"""The mean of a network's weights with those of other checkpoints.

Two stages of one run, or two fine-tunings of one base, lie close enough together for their mean to be a
model, and often a better one than either (Wortsman et al. 2022, arXiv:2203.05482 and arXiv:2109.01903).
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from worker.errors import TrainingError
from worker.lab.recipe import Mean


def average(network: torch.nn.Module, means: Sequence[Mean]) -> None:
    """Move the weights, (1 - share) · own + share · theirs, for one checkpoint after the other.

    Frozen ones stay. Raises TrainingError where a checkpoint cannot be read or has other tensors.
    """
    frozen = {name for name, weight in network.named_parameters() if not weight.requires_grad}
    for mean in means:
        theirs = weights_of(Path(mean.checkpoint))
        own = network.state_dict()
        shapes, others = ({name: tuple(t.shape) for name, t in each.items()} for each in (own, theirs))
        if shapes != others:
            names = sorted(set(shapes.items()) ^ set(others.items()))
            raise TrainingError(f"means: {mean.checkpoint} is of another shape: {names[0][0]} differs")
        network.load_state_dict(
            {
                name: tensor if name in frozen else (1 - mean.share) * tensor + mean.share * theirs[name]
                for name, tensor in own.items()
            }
        )


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """Return a checkpoint's tensors by name. Raises TrainingError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(folder / "model.safetensors"))
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"means: {folder} is no checkpoint folder: {error}") from error
