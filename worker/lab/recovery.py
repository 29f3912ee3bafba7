"""The short training after a cut: the smaller model learns from the one that it was cut from (torch)."""

from collections.abc import Callable, Sequence
from pathlib import Path

from worker.lab.checkpoint import Checkpoint
from worker.lab.compress_order import Order
from worker.lab.distill_loop import Weights
from worker.lab.distill_run import Settings, distil
from worker.lab.quantised import FORM, quantise
from worker.lab.recipe import Optimiser, Run
from worker.lab.student import without_temperatures
from worker.lab.teachers import CheckpointTeacher
from worker.lab.texts import Part

Say = Callable[[str], None]

_EPOCHS = 1_000
"""More passes than any run makes: the time limit ends it."""


def recovered(
    made: Checkpoint, order: Order, texts: Sequence[str], *, name: str, work: Path, say: Say
) -> Checkpoint:
    """Return the model after at most `order.minutes` of learning from the original's soft targets.

    The original stands in `work / "original"`. Raises TrainingError.
    """
    optimiser = Optimiser(trunk_rate=order.rate, head_rate=order.rate)
    settings = Settings(
        optimiser,
        Run(seed=order.seed, threads=order.threads, minutes=order.minutes),
        Weights({}),
        *((quantise, FORM) if order.quantised else ()),
    )
    say(f"{name}: recovering on {len(texts):,} texts for {order.minutes:g} minutes")
    part = Part("recovery", list(texts), epochs=min(_EPOCHS, max(1, 200_000 // max(1, len(texts)))))
    found = distil(
        [CheckpointTeacher(work / "original")],
        without_temperatures(made),
        [part],
        work / f"{name}-run",
        settings,
        resume=order.resume,
        say=say,
    )
    return found.student
