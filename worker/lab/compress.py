"""A whole compression: cut, find out what can be spared, train a little, convert, measure, draw the curve.

The card of a model that was made smaller: what was done to which model, and that model's own card.

The short training after a cut: the smaller model learns from the one that it was.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker.errors import TrainingError
from worker.lab.checkpoint import CARD, Checkpoint, check_place, write_folder
from worker.lab.compress_order import WHOLE, Cut, Order
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.curve import Point, agreement, dev_figures, draw, load_average, rates, table
from worker.lab.evaluate.examples import Examples, fitting
from worker.lab.prune import prune
from worker.lab.read_pack import read_model
from worker.lab.student import keep_layers, spread
from worker.lab.texts import texts_of
from worker.lab.vocabulary import trim
from worker.model.pack import Pack


def card(order: Order, original: Checkpoint, made: Checkpoint, *, recovered: bool) -> str:
    """Return MODEL_CARD.md."""
    sizes, old = made.sizes, order.model / CARD
    after = "Nothing was trained afterwards."
    if recovered:
        rounding = ", with int8's rounding in the loop" if order.quantised else ""
        after = f"Then it learnt from the original for at most {order.minutes:g} minutes{rounding}."
    below = old.read_text(encoding="utf-8") if old.is_file() else "The original had no card.\n"
    return f"""# {order.name or order.out.resolve().name}

Made smaller by `moodstream compress` from {original.title}: {sizes.n_layers} layers, {sizes.n_heads} \
attention heads, {sizes.hidden_dim} feed-forward columns and {sizes.vocab_size:,} tokens; \
{made.parameters:,} parameters instead of {original.parameters:,}. {after}

Figures in the card below are the original's, not this model's: measure it with `moodstream evaluate`.

---

{below}"""


Say = Callable[[str], None]

HELD_BACK, TIMED, JUDGED = 1_000, 1_000, 2_000
"""Texts at most: kept out of the recovery to measure on, to time, and to find out what can be spared."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts for each purpose. None of `measured` is in `learnt`."""

    learnt: list[str]
    measured: list[str]
    judged: list[str]


def compress(order: Order, say: Say) -> Pack:
    """Make the smaller models that the order asks for and measure them; return the last one's pack.

    Every pack is int8. Raises TrainingError, CheckpointError, PackError, ExportError or InputError.
    """
    order.check()
    check_place(order.out, [order.model])
    original = read_model(order.model)
    title = order.name or order.out.resolve().name
    work = order.work or order.out.with_name(order.out.name + "-work")
    texts = _read(order)
    write_folder(original, work / "original")
    packs = {"original": work / "original-pack"}
    convert_checkpoint(work / "original", packs["original"], name="original", replace=True)
    parameters = {"original": original.parameters}
    maker = _Maker(original, order, texts, work, say)
    for cut in order.cuts():
        for name, made in maker.variants(cut):
            folder = work / name
            write_folder(made, folder, card(order, original, made, recovered=name.endswith("-recovered")))
            packs[name] = work / f"{name}-pack"
            convert_checkpoint(folder, packs[name], name=title, replace=True)
            parameters[name] = made.parameters
            last = folder
    points = _measure(packs, parameters, order, texts, say)
    say(table(points))
    if order.curve is not None:
        for path in draw(points, load_average(), order.curve):
            say(f"drawn: {path}")
    return convert_checkpoint(last, order.out, name=title, replace=True)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes smaller models of one original."""

    original: Checkpoint
    order: Order
    texts: Texts
    work: Path
    say: Say

    def variants(self, cut: Cut) -> list[tuple[str, Checkpoint]]:
        """Return the model as it is after the cut, and after the recovery where there is one, by name."""
        made, name = self._trimmed(self._pruned(self._shortened(cut), cut), cut.name)
        found = [(name, made)]
        if self.order.recover:
            from worker.lab.recovery import recovered

            after = f"{name}-recovered"
            student = recovered(made, self.order, self.texts.learnt, name=name, work=self.work, say=self.say)
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
        from worker.lab.importance import importance_of

        self.say(f"{cut.name}: asking {len(self.texts.judged):,} texts what can be spared")
        return prune(made, importance_of(made, self.texts.judged), heads=cut.heads, hidden=cut.hidden)

    def _trimmed(self, made: Checkpoint, name: str) -> tuple[Checkpoint, str]:
        if not self.order.vocabulary:
            return made, name
        kept = [text for file in self.order.vocabulary for text in texts_of(file, self.order.text_field)]
        trimmed = trim(made, kept)
        words = trimmed.sizes.vocab_size
        self.say(f"{words:,} of {made.sizes.vocab_size:,} tokens stay")
        return trimmed, f"{words}-words" if name == WHOLE else f"{name}-{words}-words"


def _read(order: Order) -> Texts:
    """Read all texts once, and hold some back from learning, drawn by the seed."""
    learnt = [text for file in order.recover for text in texts_of(file, order.text_field)]
    others = [text for file in order.texts or order.vocabulary for text in texts_of(file, order.text_field)]
    rng = random.Random(order.seed)  # noqa: S311 - which texts are measured on is no secret
    measured = rng.sample(others, min(HELD_BACK, len(others)))
    if not others and learnt:
        rng.shuffle(learnt)
        count = min(HELD_BACK, len(learnt) // 10)
        measured, learnt = learnt[:count], learnt[count:]
    if order.recover and not learnt:
        raise TrainingError("no texts to recover on")
    held = set(measured)
    learnt = [text for text in learnt if text not in held]
    pool = others or learnt
    return Texts(learnt, measured, rng.sample(pool, min(JUDGED, len(pool))))


def _measure(
    packs: dict[str, Path], parameters: dict[str, int], order: Order, texts: Texts, say: Say
) -> list[Point]:
    """Time all packs side by side, and judge each on dev splits and beside the original."""
    sets = _sets(packs["original"], order, say)
    timed = texts.measured[:TIMED] or [text for each in sets for text in each.texts[:250]][:TIMED]
    if not timed:
        raise TrainingError("nothing to measure on: give texts (--texts FILE) or data sets (--data DIR)")
    say(f"timing {len(packs)} packs on {len(timed):,} texts, load {load_average():.1f}")
    speed = rates(packs, timed)
    points = []
    for name, pack in packs.items():
        size = sum(file.stat().st_size for file in pack.iterdir()) / 1e6
        alike = agreement(packs["original"], pack, texts.measured) if texts.measured else {}
        points.append(Point(name, parameters[name], size, speed[name], alike, dev_figures(pack, sets, say)))
    return points


def _sets(pack: Path, order: Order, say: Say) -> list[Examples]:
    """Return the dev splits that fit, none where the data sets are not at hand."""
    from worker.lab.data.sets import data_root
    from worker.lab.evaluate.score import PackScorer

    try:
        root = data_root(order.data)
    except TrainingError:
        if order.data:
            raise
        return []
    return fitting(PackScorer(pack, lambda _rows: None).heads, root, say=say)
