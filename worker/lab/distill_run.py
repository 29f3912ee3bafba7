"""A distillation's run: teachers asked, student taught."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer

from worker.errors import TrainingError
from worker.lab.checkpoint import Checkpoint, specs
from worker.lab.device import keep_memory
from worker.lab.distill_loop import Lesson, Loop, Weights
from worker.lab.losses import Form, class_weights
from worker.lab.network import Network
from worker.lab.plan import plan
from worker.lab.recipe import Optimiser, Run
from worker.lab.relations import Relations
from worker.lab.soft import files_digest
from worker.lab.targets import add_own, ask
from worker.lab.teachers import CheckpointTeacher, Teacher, network_of, teacher_at
from worker.lab.team import Team, gathered
from worker.lab.texts import Part, TextReader, thin

Say = Callable[[str], None]
_STATE = "state.safetensors"


def as_it_is(_network: Network) -> None:
    """Prepare nothing."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a distillation goes. `weights` says what each head counts."""

    optimiser: Optimiser = field(default_factory=Optimiser)
    run: Run = field(default_factory=Run)
    weights: Weights = field(default_factory=lambda: Weights({}))
    prepare: Callable[[Network], None] = as_it_is
    """Called with the network before its first step: quantisation in the loop is put in here."""
    prepared: str = ""
    """What `prepare` does, in a word: a run goes on only with the same."""


@dataclass(frozen=True, slots=True)
class Distilled:
    """What a run leaves."""

    student: Checkpoint
    steps: int
    planned: int
    minutes: float
    precision: str


def distil(
    teachers: Sequence[Teacher],
    student: Checkpoint,
    parts: Sequence[Part],
    work: Path,
    settings: Settings,
    *,
    resume: bool = False,
    say: Say,
) -> Distilled:
    """Teach the student what the teachers say of the texts; state and answers go to the folder `work`.

    Raises:
        TrainingError: a head that nobody teaches, a label unknown to the student, another run's state.
    """
    untaught = [name for name in student.heads if not _is_taught(name, teachers, parts)]
    if untaught:
        raise TrainingError(
            f"nobody teaches the student's head {untaught[0]}: no teacher has it, no labels train it"
        )
    thinned = [thin(part, settings.run.seed) for part in parts]
    job = _Job([teacher.folder for teacher in teachers], student, thinned, work, settings, resume)
    with gathered(settings.run.processes, partial(_take_part, job)) as team:
        return _teach(teachers, job, say, team)


@dataclass(frozen=True, slots=True)
class _Job:
    """All that another process of the run needs to know."""

    teachers: Sequence[Path]
    student: Checkpoint
    parts: Sequence[Part]
    work: Path
    settings: Settings
    resume: bool


def _take_part(job: _Job, team: Team) -> None:
    """Take part in a run as another process."""
    _teach([teacher_at(folder) for folder in job.teachers], job, lambda _line: None, team)


def _teach(teachers: Sequence[Teacher], job: _Job, say: Say, team: Team) -> Distilled:
    """Teach as one member of the team."""
    student, parts, settings = job.student, job.parts, job.settings
    keep_memory()
    lessons = _lessons(teachers, job, say, team)
    # Only now: while the first member asks the teachers, the others wait and leave it every core.
    if settings.run.threads or team.size > 1:
        torch.set_num_threads(settings.run.threads or max(1, torch.get_num_threads() // team.size))
    steps = plan(
        [[len(row) for row in lesson.ids] for lesson in lessons],
        [part.epochs for part in parts],
        settings.optimiser.max_padded_tokens,
        settings.run.seed,
    )
    network = network_of(student)
    settings.prepare(network)
    loop = Loop(
        network,
        specs(student.heads),
        lessons,
        steps,
        optimiser=settings.optimiser,
        run=settings.run,
        weights=settings.weights,
        identity=_identity(teachers, student, parts, settings),
        path=job.work / _STATE,
        say=say,
        team=team,
        relations=_relations(teachers, student) if settings.weights.relations else None,
        mask_id=Tokenizer.from_str(student.tokenizer).token_to_id("[MASK]") or 0,
    )
    loop.run(job.resume)
    made = loop.done
    tensors = {name: tensor.detach().float().numpy() for name, tensor in network.state_dict().items()}
    return Distilled(
        replace(student, tensors=tensors),
        made,
        len(steps),
        loop.position.elapsed_s / 60,
        loop.position.precision,
    )


def _lessons(teachers: Sequence[Teacher], job: _Job, say: Say, team: Team) -> list[Lesson]:
    """Return every part with its targets: the first member asks the teachers, the others find the answers."""
    if team.rank:
        team.agree(0)
    wanted = job.settings.weights.first > 0
    found = [
        _lesson(teachers, job.student, part, keep=job.work / "taught", first=wanted, say=say)
        for part in job.parts
    ]
    if not team.rank:
        team.agree(0)
    return found


def _relations(teachers: Sequence[Teacher], student: Checkpoint) -> Relations:
    """Return the first teacher's side that is a checkpoint's."""
    for teacher in teachers:
        if isinstance(teacher, CheckpointTeacher):
            return Relations(teacher, student)
    raise TrainingError("--relations: no teacher is a checkpoint, and a pack does not show its attention")


def _is_taught(name: str, teachers: Sequence[Teacher], parts: Sequence[Part]) -> bool:
    return any(name in teacher.heads for teacher in teachers) or any(
        name in (part.head, part.own_head) for part in parts
    )


def _lesson(
    teachers: Sequence[Teacher], student: Checkpoint, part: Part, *, keep: Path, first: bool, say: Say
) -> Lesson:
    """Tokenise one part and ask about it: the task's own teachers of its head, the others of all else."""
    reader, heads = TextReader(student), student.heads
    others = {name: head for name, head in heads.items() if name != part.own_head}
    rows = reader(part.texts, part.max_tokens)
    shown = next((teacher for teacher in teachers if first and teacher.dim == student.sizes.dim), None)
    targets = ask(
        teachers,
        others,
        part.texts,
        rows,
        max_tokens=part.max_tokens,
        keep=keep,
        say=say,
        first_of=shown,
    )
    if part.own_head:
        spec = next(spec for spec in specs(heads) if spec.name == part.own_head)
        add_own(targets, part, spec, rows, keep=keep, say=say)
    marks = {}
    if part.head and heads[part.head].by_token:
        marks = {
            number: reader.marked(row, places)
            for number, (row, places) in enumerate(zip(rows, part.labels, strict=True))
        }
    return Lesson(part, [row.ids for row in rows], targets, _form(part, student), marks)


def _form(part: Part, student: Checkpoint) -> Form:
    """Return how the recipe wants the loss of labelled rows."""
    task, weights = part.task, None
    if task is None or not part.head:
        return Form()
    head = student.heads[part.head]
    if task.balance and not head.multi_label and all(part.labels):
        weights = class_weights(part.labels, len(head.labels), task.balance)
    return Form(part.binary, task.loss == "asymmetric", weights, task.smoothing)


def _identity(
    teachers: Sequence[Teacher], student: Checkpoint, parts: Sequence[Part], settings: Settings
) -> str:
    """Return what makes a run what it is; a state of another one is refused."""
    digest = hashlib.sha256()
    for name, array in sorted(student.tensors.items()):
        digest.update(name.encode() + array.tobytes())
    for part in parts:
        digest.update(repr(part).encode("utf-8", "surrogatepass"))
        for folder in part.own_teachers:
            digest.update(files_digest(Path(folder)))
    run = (settings.run.seed, settings.run.minutes, settings.prepared)
    digest.update(
        repr((student.config, [teacher.identity for teacher in teachers], settings.optimiser, run,
              settings.weights)).encode()
    )  # fmt: skip
    return digest.hexdigest()[:16]
