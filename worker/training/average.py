"""The mean of two checkpoints' weights: `python -m worker.training.average A B OUT --share 0.25`.

Two stages of one run, or two fine-tunings of one base, lie close enough together for their mean to be a
model, and often a better one than either (Wortsman et al. 2022, arXiv:2203.05482 and arXiv:2109.01903).
"""

import json
import sys
from pathlib import Path
from typing import Any

import click

from worker.training.errors import TrainingError
from worker.training.files import write_checkpoint


def average(first: Path, second: Path, out: Path, share: float) -> None:
    """Write the checkpoint (1 - share) · first + share · second to the folder `out`.

    Configuration, heads and tokenizer are the first's. Raises TrainingError where shapes differ.
    """
    from safetensors.torch import load_file  # noqa: PLC0415 - part of the extra `train`

    tensors, others = ({**load_file(folder / "model.safetensors")} for folder in (first, second))
    shapes, other_shapes = ({name: tuple(t.shape) for name, t in each.items()} for each in (tensors, others))
    if shapes != other_shapes:
        names = sorted(set(shapes.items()) ^ set(other_shapes.items()))
        raise TrainingError(f"{first} and {second} are not of one shape: {names[0][0]} differs")
    mean = {
        name: ((1 - share) * tensor + share * others[name]).contiguous() for name, tensor in tensors.items()
    }
    config: dict[str, Any] = json.loads((first / "config.json").read_text(encoding="utf-8"))
    write_checkpoint(out, config, mean, first / "tokenizer.json")


@click.command()
@click.argument("first", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("second", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--share", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Weight of SECOND."
)
def main(first: Path, second: Path, out: Path, share: float) -> None:
    """Average the weights of two checkpoints of one shape."""
    try:
        average(first, second, out, share)
    except (TrainingError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
