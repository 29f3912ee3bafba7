"""Adjusts the emotions and the toxicity of a finished pack again, without touching its weights.

`python -m worker.lab.refit PACK [DATA]` fits the `logit_adjustment` of these two heads on the pack as the
service runs it, and then the thresholds of the words that are marked where a text is called toxic. It writes
them into the pack, with a new revision. The pack's card gets its new answers and the new line on each head,
and says that its figures are older. `moodstream train` and `distill` fit the same for the packs that they
make, and measure them.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from worker.errors import ExitCode, LabError, PackError, TrainingError
from worker.heads import Head
from worker.lab.card import hard_table, head_line
from worker.lab.convert.folders import written
from worker.lab.convert.writer import write_json, write_manifest
from worker.lab.data.sets import data_root
from worker.lab.evaluate.score import pack_scorer
from worker.lab.evaluate.tuning import ADJUSTING, adjust
from worker.model.pack import CARD, CONFIG, Pack, load_pack, model_folder

REFITTED = (
    "Since these figures and the rates of behaviour below were measured, the adjustments of the labels and\n"
    "the thresholds of marked words have been fitted again (`python -m worker.lab.refit`)."
)
"""What a card says after this command: it measures nothing."""

_FIGURES = "## Figures"


def refit(folder: Path, root: Path) -> Pack:
    """Fit again and replace the pack in `folder`; `root` holds the data sets.

    Raises:
        PackError: the folder is no pack.
        TrainingError: it has none of these heads, or a data set is missing or does not fit one.
    """
    folder = model_folder(folder)
    pack = load_pack(folder)
    scorer = pack_scorer(folder)
    fitted = adjust(scorer, root)
    if not fitted:
        raise TrainingError(f"{pack.name} has none of the heads that are adjusted: {', '.join(ADJUSTING)}")
    heads = {name: {**entry, **fitted.get(name, {})} for name, entry in pack.config["heads"].items()}
    with written(folder) as draft:
        for name in pack.files:
            (draft / name).write_bytes((folder / name).read_bytes())
        write_json(draft / CONFIG, {**pack.config, "heads": heads})
        write_manifest(draft, pack.name)
        if CARD in pack.files:
            card = (draft / CARD).read_text(encoding="utf-8")
            card = with_head_lines(with_note(card), pack.heads, load_pack(draft).heads)
            (draft / CARD).write_text(with_table(card, hard_table(draft)), encoding="utf-8")
            write_manifest(draft, pack.name)
    return load_pack(folder)


def with_head_lines(card: str, old: Iterable[Head], new: Iterable[Head]) -> str:
    """Return a card with the line that says what each head answers replaced."""
    for before, after in zip(old, new, strict=True):
        card = card.replace(head_line(before), head_line(after))
    return card


def with_note(card: str) -> str:
    """Return a card that says, where its figures begin, that they are of the pack before."""
    if REFITTED in card:
        return card
    return card.replace(f"\n{_FIGURES}\n", f"\n{_FIGURES}\n\n{REFITTED}\n", 1)


def with_table(card: str, table: str) -> str:
    """Return a card with one of its Markdown tables replaced: the one that has the first line of `table`."""
    first = table.partition("\n")[0]
    return "\n".join(_lines(card.split("\n"), first, table))


def _lines(card: list[str], first: str, table: str) -> Iterator[str]:
    inside = False
    for line in card:
        if line == first:
            inside = True
            yield table
        inside = inside and line.startswith("|")
        if not inside:
            yield line


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        sys.stderr.write("usage: python -m worker.lab.refit PACK [DATA]\n")
        sys.exit(ExitCode.USAGE)
    try:
        made = refit(Path(sys.argv[1]), data_root(sys.argv[2] if len(sys.argv) > 2 else None))
    except (LabError, PackError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    sys.stdout.write(f"{made.name}@{made.revision} is in {made.path}\n")
