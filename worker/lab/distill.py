"""Distillation: a student learns its teachers' answers to many texts (Hinton et al. 2015, arXiv:1503.02531).

Each batch has texts of one part and trains all of the student's heads at once.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn import functional

from worker.errors import LabError, TeacherError
from worker.heads import Head
from worker.lab import Progress
from worker.lab.build import Places, finish
from worker.lab.card import Figures, distilled_card, recipe_card
from worker.lab.checkpoint import Checkpoint, Trained, average
from worker.lab.convert.folders import check_target
from worker.lab.data.sets import SOURCES, data_root
from worker.lab.data.tokens import Ids
from worker.lab.device import LocalSgd, keep_memory, local_sgd
from worker.lab.losses import Form, Relations, form_of, loss, targets, teacher_loss, token_loss
from worker.lab.network import QUANTISED, Network, network_of, quantise, weights_of
from worker.lab.options import CompressOptions, DistillOptions, read_layers
from worker.lab.plan import Step, plan
from worker.lab.recipe import Mean, Optimiser, Recipe, Run, load_recipe
from worker.lab.student import student_of, without_heads
from worker.lab.teachers import (
    CheckpointTeacher,
    Targets,
    Teacher,
    TeacherScores,
    ask,
    files_digest,
    head_scores,
    head_token_scores,
    teacher_at,
)
from worker.lab.texts import Part, Row, TextReader, marks, read_recipe, read_texts, thin
from worker.lab.trainer import Lesson, Loss, Trainer, set_threads
from worker.model.pack import Pack


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of the terms that no labels belong to; a task's own weight is a factor on its batches."""

    first: float = 1.0
    """For the distance between the student's and the teacher's first token: 1 - cosine (Sanh et al. 2019)."""
    relations: float = 0.0
    """For the divergence of the last layer's relations between tokens: see `losses.Relations`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a distillation."""

    optimiser: Optimiser = field(default_factory=Optimiser)
    run: Run = field(default_factory=Run)
    weights: Weights = field(default_factory=Weights)
    quantised: bool = False
    """Round during training as the int8 graph does."""
    means: tuple[Mean, ...] = ()
    """Other checkpoints of the same shape to average the trained weights with, at the end."""


def run(options: DistillOptions, say: Progress) -> Pack:
    """Run a distillation with these options; return the pack.

    Raises:
        LabError: the options are invalid, or a part of the run fails.
        PackError, InputError: a folder or file cannot be read.
    """
    recipe = load_recipe(options.labels) if options.labels is not None else None
    for folder in options.teachers:
        check_target(options.out, folder, replace=True)
    settings = _settings(options, recipe)
    teachers = [teacher_at(folder) for folder in options.teachers]
    lender = next((each for each in options.teachers if (each / "model.safetensors").is_file()), None)
    layers = read_layers(options.layers) if options.layers is not None else None
    student = student_of(options.student, lender, layers, settings.run.seed)
    student = _with_shared_heads(student, teachers, recipe, say)
    places = Places(_data(options, recipe, say), options.work_folder, options.out, measure=options.measure)
    parts = read_texts(
        options.texts,
        options.text_field,
        max_tokens=options.max_tokens,
        epochs=options.epochs,
        temperature=options.temperature,
    )
    if recipe is not None and places.data is not None:
        parts += read_recipe(recipe, places.data, student.heads)
    trained = distil(teachers, student, parts, places.work, settings, resume=options.resume, say=say)
    names = {teacher.title: teacher.identity for teacher in teachers}

    def describe(fitted: Trained, figures: Figures, draft: Path) -> str:
        if recipe is not None and figures:
            return recipe_card(recipe.changed(name=options.title), fitted, names, figures, draft)
        why = "--no-measure was given" if places.data is not None else "the data sets were not available"
        return distilled_card(options.title, fitted, names, parts, figures, unmeasured=why)

    return finish(trained, places, options.title, describe, say)


def _settings(options: DistillOptions, recipe: Recipe | None) -> Settings:
    weights = Weights(options.first_weight, options.relations_weight)
    return Settings(
        *options.settings(recipe), weights, options.quantised, recipe.means if recipe is not None else ()
    )


def _data(options: DistillOptions, recipe: Recipe | None, say: Progress) -> Path | None:
    """Return the folder of the data sets. A recipe needs it; without it nothing is measured."""
    try:
        return data_root(options.data, recipe.data if recipe else "")
    except LabError:
        if recipe is not None or options.data:
            raise
        say("no data sets found (--data): the pack is neither tuned nor measured")
        return None


def _with_shared_heads(
    student: Checkpoint, teachers: Sequence[Teacher], recipe: Recipe | None, say: Progress
) -> Checkpoint:
    """Drop the student's heads that no teacher has and no labels train."""
    known = {name for teacher in teachers for name in teacher.heads}
    tasks = [each for task in (recipe.tasks if recipe else ()) for each in task.by_set]
    known |= {task.head or SOURCES[task.data].head for task in tasks if task.data in SOURCES}
    left_out = [name for name in student.heads if name not in known]
    for name in left_out:
        say(f"head {name} is left out: no teacher has it and no labels train it")
    return without_heads(student, left_out)


def distil(
    teachers: Sequence[Teacher],
    student: Checkpoint,
    parts: Sequence[Part],
    work: Path,
    settings: Settings,
    *,
    resume: bool = False,
    say: Progress,
) -> Trained:
    """Train the student on the teachers' answers to the texts; state and answers go to the folder `work`.

    Raises:
        TeacherError: a head has no teacher and no labels, or a teacher has a label unknown to the student.
        TrainingError: the saved state belongs to another run.
    """
    known = {name for teacher in teachers for name in teacher.heads}
    known |= {name for part in parts for name in (part.head, part.own_head, *part.also)}
    if missing := [name for name in student.heads if name not in known]:
        raise TeacherError(f"nothing trains the student's head {missing[0]}: it has no teacher and no labels")
    thinned = [thin(part, settings.run.seed) for part in parts]
    rows = {part.name: len(part.texts) for part in parts}
    job = _Job([teacher.folder for teacher in teachers], student, thinned, rows, work, settings, resume)
    with local_sgd(settings.run.processes, partial(_take_part, job)) as group:
        return _distil(teachers, job, say, group)


@dataclass(frozen=True, slots=True)
class _Job:
    """Everything that another process of the run needs."""

    teachers: Sequence[Path]
    student: Checkpoint
    parts: Sequence[Part]
    """Thinned to the rows that are read."""
    rows: dict[str, int]
    """How many each part has in all."""
    work: Path
    settings: Settings
    resume: bool


def _take_part(job: _Job, group: LocalSgd) -> None:
    """Take part in a run as one of its other processes."""
    _distil([teacher_at(folder) for folder in job.teachers], job, lambda _line: None, group)


def _distil(teachers: Sequence[Teacher], job: _Job, say: Progress, group: LocalSgd) -> Trained:
    student, parts, settings = job.student, job.parts, job.settings
    keep_memory()
    with group.first_alone():
        prepared = [_prepare(teachers, job, part, say) for part in parts]
    # Only now: while the first process asks the teachers, the others wait and leave it all cores.
    set_threads(settings.run, group)
    steps = plan(
        [[len(row) for row in each.ids] for each in prepared],
        [part.epochs for part in parts],
        settings.optimiser.max_padded_tokens,
        settings.run.seed,
    )
    network = network_of(student)
    if settings.quantised:
        quantise(network)
    relations = _relations(teachers, student) if settings.weights.relations else None
    trainer = Trainer(
        DistillationLesson(network, list(student.heads.values()), prepared, settings.weights, relations),
        network,
        steps,
        optimiser=settings.optimiser,
        run=settings.run,
        identity=_identity(teachers, student, parts, settings),
        mask_id=Tokenizer.from_str(student.tokenizer).token_to_id("[MASK]") or 0,
        work=job.work,
        say=say,
        group=group,
    )
    trainer.run(job.resume)
    return trainer.trained(
        replace(student, tensors=average(weights_of(network), settings.means), pack=None),
        job.rows,
    )


def _relations(teachers: Sequence[Teacher], student: Checkpoint) -> Relations:
    """Return the relations loss against the first teacher that is a checkpoint."""
    for teacher in teachers:
        if isinstance(teacher, CheckpointTeacher):
            return Relations(teacher.checkpoint, teacher.network, student)
    raise TeacherError("--relations: no teacher is a checkpoint, and a pack does not show its attention")


def _identity(
    teachers: Sequence[Teacher], student: Checkpoint, parts: Sequence[Part], settings: Settings
) -> str:
    """Return the digest that identifies a run; a state with another one is refused."""
    digest = hashlib.sha256()
    for name, array in sorted(student.tensors.items()):
        digest.update(name.encode() + array.tobytes())
    for part in parts:
        digest.update(repr(part).encode("utf-8", "surrogatepass"))
        if part.task is not None and part.task.alone:
            digest.update(b"alone")
        for folder in part.own_teachers:
            digest.update(files_digest(Path(folder)))
    names = [teacher.identity for teacher in teachers]
    run = (settings.run.seed, settings.run.minutes, QUANTISED if settings.quantised else "")
    digest.update(repr((student.config, names, settings.optimiser, run, settings.weights)).encode())
    return digest.hexdigest()[:16]


@dataclass(slots=True)
class _Prepared:
    """One part's texts, tokenised, with the teachers' answers."""

    part: Part
    ids: list[Ids]
    targets: Targets
    form: Form
    """The form of the loss on labelled rows."""
    marks: dict[int, NDArray[np.float32]]
    """For labelled rows of a token head: 1 or 0 for each token."""


def _prepare(teachers: Sequence[Teacher], job: _Job, part: Part, say: Progress) -> _Prepared:
    """Tokenise one part and ask the teachers: the task's own for its head, the others for all other heads.

    If the part's task stands alone, only its own head gets targets.
    """
    student, cache = job.student, job.work / "taught"
    heads = student.heads
    alone = part.task is not None and part.task.alone
    rows = TextReader(student)(part.texts, part.max_tokens)
    first = job.settings.weights.first > 0
    found = ask(
        () if alone else teachers,
        {name: head for name, head in heads.items() if name != part.own_head},
        part.texts,
        rows,
        max_tokens=part.max_tokens,
        folder=cache,
        say=say,
        first_of=next((each for each in teachers if first and each.dim == student.sizes.dim), None),
    )
    if part.own_head:
        say(f"{part.name}: asking {', '.join(part.own_teachers)}")
        _add_own(found, part, heads[part.own_head], rows, cache)
    found.share(part.alike, part.leads)
    by_token = bool(part.head) and heads[part.head].by_token
    marked = {
        number: marks(row, places)
        for number, (row, places) in enumerate(zip(rows, part.labels, strict=True) if by_token else ())
    }
    form = Form()
    if part.task is not None and part.head:
        form = form_of(part.task, heads[part.head], part.labels, binary=part.binary)
    return _Prepared(part, [row.ids for row in rows], found, form, marked)


def _add_own(found: Targets, part: Part, head: Head, rows: Sequence[Row], cache: Path) -> None:
    """Add the answers of a part's own teachers to every text for their head, ignoring its gate."""
    if not head.by_token:
        found.scores[head.name] = [head_scores(part.own_teachers, head, part.texts, part.max_tokens, cache)]
        return
    told = head_token_scores(part.own_teachers, head, part.texts, [row.ids for row in rows], cache)
    for number, (scores, row) in enumerate(zip(told, rows, strict=True)):
        scores[[start == end for start, end in row.ranges]] = 0.0
        found.tokens.setdefault(head.name, {})[number] = scores


class DistillationLesson(Lesson):
    """Trains every head of the student that has targets for a batch of one part's texts."""

    def __init__(
        self,
        network: Network,
        heads: Sequence[Head],
        prepared: Sequence[_Prepared],
        weights: Weights,
        relations: Relations | None,
    ) -> None:
        self._network, self._heads, self._parts = network, heads, prepared
        self._weights, self._relations = weights, relations
        self.titles = [each.part.name for each in prepared]
        self.ids = [each.ids for each in prepared]
        self.masked = [each.part.task.masked if each.part.task is not None else 0.0 for each in prepared]

    def begin(self) -> None:
        """Move the teacher network of the relations loss to the device."""
        if self._relations is not None:
            self._relations.to(self.device)

    def loss(self, step: Step, ids: torch.Tensor, real: torch.Tensor | None) -> Loss:
        """Return the weighted losses of one batch by head; `first` is the distance of the hidden states."""
        prepared, rows = self._parts[step.task], list(step.rows)
        given = prepared.targets
        states: list[torch.Tensor] = []
        asked = any(row in told for told in given.tokens.values() for row in rows)
        if asked or prepared.marks or self._relations is not None:
            states, first = self._network.distilbert.states_and_first(ids, real)
        else:
            first = self._network(ids, real)
        parts: dict[str, torch.Tensor] = {}
        for head in self._heads:
            if head.by_token:
                value = self._token_loss(prepared, head, rows, states, real)
            else:
                value = self._text_loss(prepared, head, rows, first)
            if value is not None:
                parts[head.name] = value
        if given.first is not None and self._weights.first:
            wanted = torch.from_numpy(given.first[rows].astype(np.float32)).to(self.device)
            cosine = functional.cosine_similarity(first.float(), wanted, dim=1)
            parts["first"] = (1 - cosine).mean() * self._weights.first
        if self._relations is not None:
            divergence = self._relations.loss(self._network, states[-1], ids, real)
            parts["relations"] = divergence * self._weights.relations
        weight = prepared.part.task.weight if prepared.part.task is not None else 1.0
        return Loss(torch.stack(list(parts.values())).sum() * weight, parts)

    def _text_loss(
        self, prepared: _Prepared, head: Head, rows: list[int], first: torch.Tensor
    ) -> torch.Tensor | None:
        """Return one head's loss on a batch: against teachers, labels, or both, mixed as the recipe says.

        Texts without a label for the head have the teachers alone.
        """
        logits, part = self._network.text_head(head.name)(first), prepared.part
        scores, own = prepared.targets.scores.get(head.name, ()), part.head == head.name
        labels = part.labels if own else part.also.get(head.name)

        def from_teachers(places: list[int]) -> torch.Tensor | None:
            asked = [rows[place] for place in places]
            return mean_teacher_loss(scores, logits[places], asked, head.multi_label, part.temperature)

        if labels is None or part.task is None:
            return from_teachers(list(range(len(rows))))
        hard = part.task.hard if scores else 1.0
        given = [labels[row] for row in rows]
        terms = []
        for labelled, share in ((True, 1 - hard), (False, 1.0)):
            places = [place for place, each in enumerate(given) if bool(each) == labelled]
            if not places:
                continue
            part_of_all = len(places) / len(rows)
            if share and (told := from_teachers(places)) is not None:
                terms.append(share * part_of_all * told)
            if labelled:
                wanted = targets(head, [given[place] for place in places]).to(self.device)
                form = prepared.form if own else Form()
                terms.append(hard * part_of_all * loss(head, logits[places], wanted, form))
        return torch.stack(terms).sum() if terms else None

    def _token_loss(
        self,
        prepared: _Prepared,
        head: Head,
        rows: list[int],
        states: Sequence[torch.Tensor],
        mask: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """Return a token head's loss on the texts of a batch whose tokens have targets."""
        told = prepared.targets.tokens.get(head.name, {})
        own = prepared.marks if prepared.part.head == head.name else {}
        places = [place for place, row in enumerate(rows) if row in told or row in own]
        if not places:
            return None
        read = [state[places] for state in states]
        logits = self._network.token_head(head.name)(read, None if mask is None else mask[places])
        wanted, real = torch.zeros(logits.shape), torch.zeros(logits.shape)
        hard = prepared.part.task.hard if prepared.part.task is not None else 0.0
        for at, place in enumerate(places):
            row = rows[place]
            real[at, : len(prepared.ids[row])] = 1.0
            given = [values for values in (own.get(row), told.get(row)) if values is not None]
            mixed = given[0] if len(given) == 1 else hard * given[0] + (1 - hard) * given[1]
            wanted[at, : len(mixed)] = torch.from_numpy(np.asarray(mixed, np.float32))
        return token_loss(logits, wanted.to(self.device), real.to(self.device))


def mean_teacher_loss(
    given: Sequence[TeacherScores],
    logits: torch.Tensor,
    rows: list[int],
    multi_label: bool,
    temperature: float,
) -> torch.Tensor | None:
    """Return the student's distance from its teachers, averaged over them; None without teachers."""
    if not given:
        return None
    each = []
    for told in given:
        scores = torch.from_numpy(told.scores[rows]).to(logits.device)
        each.append(told.teachers * teacher_loss(logits, scores, told.columns, multi_label, temperature))
    return torch.stack(each).sum() / sum(told.teachers for told in given)


def recovered(
    made: Checkpoint, options: CompressOptions, texts: Sequence[str], *, name: str, work: Path, say: Progress
) -> Checkpoint:
    """Train a smaller model for at most `options.minutes` to imitate the original, and return it.

    The original is in `work / "original"`. Raises LabError.
    """
    settings = Settings(
        Optimiser(trunk_rate=options.rate, head_rate=options.rate),
        Run(seed=options.seed, threads=options.threads, minutes=options.minutes),
        quantised=options.quantised,
    )
    say(f"{name}: recovering on {len(texts):,} texts for {options.minutes:g} minutes")
    # More passes than there is time for: the time limit ends the run.
    part = Part("recovery", list(texts), epochs=min(1_000, max(1, 200_000 // max(1, len(texts)))))
    return distil(
        [CheckpointTeacher(work / "original")],
        made.without_temperatures(),
        [part],
        work / f"{name}-run",
        settings,
        resume=options.resume,
        say=say,
    ).checkpoint
