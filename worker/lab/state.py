"""Where a run stands, in one safetensors file: weights, AdamW's moments, the step and the time spent."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from worker.errors import TrainingError
from worker.lab.files import write_tensors

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(slots=True)
class Position:
    """How far a run is. `recipe` is a digest: a run goes on only with the recipe that it began with."""

    step: int
    elapsed_s: float
    recipe: str
    precision: str


def save(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, position: Position) -> None:
    """Write the state. Raises TrainingError where the disk refuses; an older state stays whole."""
    tensors = {
        f"weights/{name}": tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    for name, parameter in network.named_parameters():
        for moment, tensor in optimiser.state.get(parameter, {}).items():
            tensors[f"{moment}/{name}"] = tensor.detach().cpu().contiguous()
    write_tensors(
        path,
        tensors,
        {
            "step": str(position.step),
            "elapsed_s": repr(position.elapsed_s),
            "recipe": position.recipe,
            "precision": position.precision,
        },
    )


def load(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer) -> Position:
    """Read a state into network and optimiser. Raises TrainingError: damaged, or of another network."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - only has keys()
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path} cannot be read: {error}; start without --resume") from error
    weights = {name.removeprefix("weights/"): t for name, t in tensors.items() if name.startswith("weights/")}
    try:
        network.load_state_dict(weights)
        position = Position(
            int(metadata["step"]), float(metadata["elapsed_s"]), metadata["recipe"], metadata["precision"]
        )
    except (RuntimeError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} belongs to another network: {str(error).splitlines()[0]}") from error
    for name, parameter in network.named_parameters():
        if f"exp_avg/{name}" in tensors:
            optimiser.state[parameter] = {
                moment: tensors[f"{moment}/{name}"].to(parameter.device) for moment in _MOMENTS
            }
    return position
