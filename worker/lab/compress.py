"""A whole compression: measure importance, cut, train briefly, convert, measure, draw the curve."""

import random
from dataclasses import dataclass
from pathlib import Path

from worker.errors import CutError, LabError
from worker.lab import Progress
from worker.lab.card import smaller_card
from worker.lab.checkpoint import Checkpoint, read_model, write_folder
from worker.lab.convert.folders import check_target
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.curve import Point, agreement, dev_figures, draw, load_average, rates, table
from worker.lab.data.sets import data_root
from worker.lab.evaluate.examples import Examples, fitting
from worker.lab.evaluate.score import PackScorer
from worker.lab.options import WHOLE, CompressOptions, Cut
from worker.lab.prune import keep_layers, prune, spread, trim
from worker.lab.texts import texts_of
from worker.model.pack import Pack

HELD_BACK, TIMED, WEIGHED = 1_000, 1_000, 2_000
"""The most texts held out from the recovery for measuring, for timing, and for measuring importance."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts for each purpose. None of `measured` is in `learnt`."""

    learnt: list[str]
    measured: list[str]
    weighed: list[str]


def run(options: CompressOptions, say: Progress) -> Pack:
    """Make and measure the smaller models that the options ask for; return the last one's pack.

    Every pack is int8. Raises LabError, PackError or InputError.
    """
    check_target(options.out, options.model, replace=True)
    original = read_model(options.model)
    title, work = options.title, options.work_folder
    texts = _read(options)
    write_folder(original, work / "original")
    packs = {"original": work / "original-pack"}
    convert_checkpoint(work / "original", packs["original"], name="original", replace=True)
    parameters = {"original": original.parameters}
    maker = _Maker(original, options, texts, work, say)
    for cut in options.cuts():
        for name, made in maker.variants(cut):
            folder = work / name
            write_folder(
                made, folder, smaller_card(options, original, made, recovered=name.endswith("-recovered"))
            )
            packs[name] = work / f"{name}-pack"
            convert_checkpoint(folder, packs[name], name=title, replace=True)
            parameters[name] = made.parameters
            last = folder
    points = _measure(packs, parameters, options, texts, say)
    say(table(points))
    if options.curve is not None:
        for path in draw(points, load_average(), options.curve):
            say(f"drawn: {path}")
    return convert_checkpoint(last, options.out, name=title, replace=True)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes smaller models of one original."""

    original: Checkpoint
    options: CompressOptions
    texts: Texts
    work: Path
    say: Progress

    def variants(self, cut: Cut) -> list[tuple[str, Checkpoint]]:
        """Return the model after the cut, and also after the recovery if there is one, with their names."""
        made, name = self._trimmed(self._pruned(self._shortened(cut), cut), cut.name)
        found = [(name, made)]
        if self.options.recover:
            from worker.lab.distill import recovered  # noqa: PLC0415 - torch: cutting layers does not need it

            after = f"{name}-recovered"
            student = recovered(
                made, self.options, self.texts.learnt, name=name, work=self.work, say=self.say
            )
            found.append((after, student))
        return found

    def _shortened(self, cut: Cut) -> Checkpoint:
        if cut.layers is None:
            return self.original
        count = self.original.sizes.n_layers
        return keep_layers(
            self.original, spread(count, cut.layers) if isinstance(cut.layers, int) else cut.layers
        )

    def _pruned(self, made: Checkpoint, cut: Cut) -> Checkpoint:
        if cut.heads is None and cut.hidden is None:
            return made
        from worker.lab.importance import importance_of  # noqa: PLC0415 - torch, as above

        self.say(f"{cut.name}: measuring importance on {len(self.texts.weighed):,} texts")
        return prune(made, importance_of(made, self.texts.weighed), heads=cut.heads, hidden=cut.hidden)

    def _trimmed(self, made: Checkpoint, name: str) -> tuple[Checkpoint, str]:
        if not self.options.vocabulary:
            return made, name
        kept = [text for file in self.options.vocabulary for text in texts_of(file, self.options.text_field)]
        trimmed = trim(made, kept)
        words = trimmed.sizes.vocab_size
        self.say(f"keeping {words:,} of {made.sizes.vocab_size:,} tokens")
        return trimmed, f"{words}-words" if name == WHOLE else f"{name}-{words}-words"


def _read(options: CompressOptions) -> Texts:
    """Read all texts once, and hold out a random part from the training texts."""
    learnt = [text for file in options.recover for text in texts_of(file, options.text_field)]
    others = [
        text for file in options.texts or options.vocabulary for text in texts_of(file, options.text_field)
    ]
    rng = random.Random(options.seed)  # noqa: S311 - which texts are measured on is no secret
    # Where the same texts are learnt from, most of them must be left for that.
    most = len(others) if set(learnt).isdisjoint(others) else max(1, len(others) // 10)
    measured = rng.sample(others, min(HELD_BACK, most)) if others else []
    if not others and learnt:
        rng.shuffle(learnt)
        count = min(HELD_BACK, len(learnt) // 10)
        measured, learnt = learnt[:count], learnt[count:]
    held = set(measured)
    learnt = [text for text in learnt if text not in held]
    if options.recover and not learnt:
        raise CutError("no texts to recover on, other than those to measure on")
    pool = others or learnt
    return Texts(learnt, measured, rng.sample(pool, min(WEIGHED, len(pool))))


def _measure(
    packs: dict[str, Path], parameters: dict[str, int], options: CompressOptions, texts: Texts, say: Progress
) -> list[Point]:
    """Time all packs side by side; measure each one on dev splits and against the original."""
    sets = _sets(packs["original"], options, say)
    timed = texts.measured[:TIMED] or [text for each in sets for text in each.texts[:250]][:TIMED]
    if not timed:
        raise CutError("nothing to measure on: give texts (--texts FILE) or data sets (--data DIR)")
    say(f"timing {len(packs)} packs on {len(timed):,} texts, load {load_average():.1f}")
    speed = rates(packs, timed)
    points = []
    for name, pack in packs.items():
        size = sum(file.stat().st_size for file in pack.iterdir()) / 1e6
        alike = agreement(packs["original"], pack, texts.measured) if texts.measured else {}
        points.append(Point(name, parameters[name], size, speed[name], alike, dev_figures(pack, sets, say)))
    return points


def _sets(pack: Path, options: CompressOptions, say: Progress) -> list[Examples]:
    """Return the dev splits that fit; none if the data sets are missing."""
    try:
        root = data_root(options.data)
    except LabError:
        if options.data:
            raise
        return []
    return fitting(PackScorer(pack, lambda _rows: None).heads, root, say=say)
