"""Runs every stage of the chain on tiny models and made-up rows, so that the chain cannot rot unseen.

`python -m worker.lab.chain.smoke [WORK]`, which `make pack-smoke` runs. Everything is as in the real chain
but the size: each stage loads what the stages before it wrote. All of it happens in this process, which loads
torch once.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from worker.errors import LabError, MoodstreamError
from worker.lab import Progress
from worker.lab.chain.bases import write_bases
from worker.lab.chain.places import Layout
from worker.lab.chain.record import Found
from worker.lab.chain.rows import write_rows
from worker.lab.chain.runner import Start, Started, run_chain
from worker.lab.chain.stage import make_stage
from worker.lab.chain.stages import STAGES, Stage
from worker.lab.recipe import BASE
from worker.lab.train import say_to_stderr

TEXTS = ("what a lovely film", "the train was late again", "it is monday")


def small_layout(folder: Path) -> Layout:
    """Write tiny bases and made-up rows to `folder`, and return the layout of a small run in it."""
    write_bases(folder / "bases")
    write_rows(folder / "data")
    return Layout(
        data=folder / "data",
        work=folder / "train",
        packs=folder / "packs",
        bases=folder / "bases",
        installed={BASE: folder / "bases" / BASE},
        small=True,
    )


def in_this_process(layout: Layout, say: Progress = lambda _line: None) -> Start:
    """Return what makes each stage at once, here."""

    def start(each: Found, resume: bool) -> Started:
        make_stage(each.stage, layout, each.digest, resume=resume, say=say)
        return _Over()

    return start


class _Over:
    """A stage that has ended well."""

    def poll(self) -> int:
        return 0

    def terminate(self) -> None:
        pass

    def wait(self) -> int:
        return 0


def smoke(folder: Path, say: Progress, stages: Sequence[Stage] = STAGES) -> None:
    """Run stages of the chain small in `folder`, then let the packs that ship label a few texts.

    Raises LabError or PackError: a stage failed, or a pack does not label the texts.
    """
    layout = small_layout(folder)
    run_chain(stages, layout, in_this_process(layout), say=say)
    for stage in stages:
        if stage.ships:
            say(f"{layout.pack(stage)} labels: {_labelled(layout.pack(stage), folder)}")


def _labelled(pack: Path, folder: Path) -> str:
    """Return the sentiment of TEXTS as `moodstream label` gives it with this pack. Raises LabError."""
    texts = folder / "texts.txt"
    texts.write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    command = [sys.executable, "-m", "worker", "label", str(texts), "--model", str(pack)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own module
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or len(rows) != len(TEXTS):
        raise LabError(f"{pack} labelled {len(rows)} of {len(TEXTS)} texts: {done.stderr.strip()[-300:]}")
    return ", ".join(str(row["sentiment_label"]) for row in rows)


if __name__ == "__main__":
    began = time.monotonic()
    try:
        if sys.argv[1:]:
            smoke(Path(sys.argv[1]), say_to_stderr)
        else:
            with tempfile.TemporaryDirectory(prefix="moodstream-smoke-") as made:
                smoke(Path(made), say_to_stderr)
    except MoodstreamError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    say_to_stderr(f"the whole chain ran in {time.monotonic() - began:.0f} s")
