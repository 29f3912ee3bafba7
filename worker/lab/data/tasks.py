"""The tasks of a recipe with their rows: token ids, targets, teachers' answers and form of the loss."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from worker.errors import TrainingError
from worker.heads import Branch, Head
from worker.lab import Progress
from worker.lab.data import sets as data
from worker.lab.data.labels import head_named
from worker.lab.data.table import TableReader, TableRows, passes
from worker.lab.data.table_rows import TableOptions
from worker.lab.data.tokens import Ids, encode, encode_marked
from worker.lab.losses import Form, form_of
from worker.lab.recipe import Recipe, Task
from worker.lab.teachers import head_scores, head_token_scores, shared
from worker.model.text.normaliser import Normaliser, normaliser


@dataclass(slots=True)
class Answered:
    """What a head learns about a task's texts: labels, teachers' answers, or both."""

    head: Head
    labels: list[tuple[int, ...]]
    """Label indices; none for a text that has no label for this head."""
    teacher_scores: Any = None
    """Teachers' probabilities, (rows, their labels); or None."""
    columns: tuple[int, ...] = ()
    """The index in the head of each of the teacher's labels."""


@dataclass(slots=True)
class TaskData:
    """A task of the recipe with its rows read and tokenised."""

    task: Task
    head: Head
    binary: bool
    ids: list[Ids]
    labels: list[tuple[int, ...]]
    wanted: list[Any]
    """A token head's targets, (tokens,) for each text."""
    labelled: bool
    """Whether the rows are labelled (possibly with no label, if multi-label); else they need a teacher."""
    teacher_scores: Any = None
    """Teachers' probabilities: (rows, their labels), or (tokens,) per row for a token head; or None."""
    columns: tuple[int, ...] = ()
    """The index in the head of each of the teacher's labels."""
    form: Form = field(default_factory=Form)
    also: list[Answered] = field(default_factory=list)
    """What other heads learn from the same texts, which may lack labels."""
    table: TableRows | None = None
    """The table that the rows come from, with its held-out rows; None for a known data set."""

    @property
    def own(self) -> Answered:
        """What the task's own head learns, if it reads whole texts."""
        return Answered(self.head, self.labels, self.teacher_scores, self.columns)

    @property
    def epochs(self) -> float:
        """Passes over the rows: the recipe's number, or one chosen by the number of rows."""
        return self.task.epochs or passes(len(self.ids))


def read_tasks(
    recipe: Recipe,
    root: Path | None,
    tokenizer: Path,
    work: Path,
    say: Progress,
    *,
    handling: Normaliser | None = None,
) -> list[TaskData]:
    """Read and tokenise every task's train split or table, and ask the teachers.

    `root` holds the known data sets; it may be None if the recipe names only tables. `handling` prepares the
    texts; by default what the recipe names, with the table of emoji names that new packs get.

    Raises TrainingError.
    """
    handling = handling or normaliser(recipe.text, recipe.text_version)
    tables = iter(_read_tables(recipe, TableReader(tokenizer, handling, recipe.run.seed, say)))
    tasks = []
    for task in recipe.tasks:
        if task.file:
            table = next(tables)
            entry = TaskData(
                task, table.head, table.binary, table.ids, table.labels, [], labelled=True, table=table
            )
            texts, group = table.texts() if task.all_teachers else [], (1, False)
        else:
            split = _load(task, root)
            entry = _tokenised(task, _head(recipe, task.head or split.head), split, tokenizer, handling)
            texts, group = split.texts, (split.group_size, split.first_leads)
            entry.also = _also(recipe, task, texts, root)
        if task.all_teachers:
            say(f"{task.title}: asking {', '.join(task.all_teachers)}")
            _ask(entry, texts, work, *group)
        elif not entry.labelled and not entry.head.by_token:
            raise TrainingError(f"data set {task.data} has no labels: it needs a teacher")
        entry.form = form_of(entry.task, entry.head, entry.labels, binary=entry.binary)
        tasks.append(entry)
    return tasks


def _ask(entry: TaskData, texts: list[str], work: Path, alike: int, leads: bool) -> None:
    """Ask a task's teachers about its texts, in groups of `alike` texts that get the same answer."""
    task = entry.task
    if entry.head.by_token:
        if alike > 1:
            raise TrainingError(
                f"data set {task.data}: a token head cannot give several texts the same answer"
            )
        entry.teacher_scores = head_token_scores(
            task.all_teachers, entry.head, texts, entry.ids, work / "taught"
        )
        return
    taught: list[TaskData | Answered] = [entry, *entry.also]
    for each in taught:
        given = head_scores(task.all_teachers, each.head, texts, task.max_tokens, work / "taught")
        each.teacher_scores, each.columns = shared(given.scores, alike, leads), given.columns


def _load(task: Task, root: Path | None) -> data.Labelled:
    if root is None:
        raise TrainingError(f"data set {task.data}: no data folder; name it with --data or MOODSTREAM_DATA")
    return data.load(task.data, "train", root, task.rows)


def _also(recipe: Recipe, task: Task, texts: list[str], root: Path | None) -> list[Answered]:
    """Return the labels for other heads that a task names. Raises TrainingError."""
    if root is None:
        return []
    found = data.load_also(task.data, task.also, texts, root)
    return [Answered(_head(recipe, name), labels) for name, labels in found.items()]


def _read_tables(recipe: Recipe, reader: TableReader) -> list[TableRows]:
    """Read the recipe's tables, all at once: those of one head share their labels."""
    tasks = [task for task in recipe.tasks if task.file]
    return reader.read([_options(task) for task in tasks], [task.max_tokens for task in tasks])


def _options(task: Task) -> TableOptions:
    return TableOptions(
        Path(task.file),
        task.text_column,
        task.label_column,
        task.head,
        task.labels,
        task.rows,
        task.held_out,
        Path(task.dev) if task.dev else None,
        task.skip_bad,
        task.encoding,
    )


def _head(recipe: Recipe, name: str) -> Head:
    """Return a head with the recipe's changes to it."""
    head = head_named(name)
    for depths in recipe.depths:
        if depths.head == name:
            own = depths.branch
            branch = Branch(own.after, own.layers) if own else None
            head = replace(head, layers=depths.layers, branch=branch)
            if depths.gate and head.gate is not None:
                head = replace(head, gate=replace(head.gate, threshold=depths.gate))
    return head


def _tokenised(
    task: Task, head: Head, split: data.Labelled, tokenizer: Path, handling: Normaliser
) -> TaskData:
    """Return a task's rows as the network reads them."""
    if head.name != split.head:  # only the texts, for teachers to answer
        ids = encode(tokenizer, split.texts, task.max_tokens, handling)
        nothing: list[tuple[int, ...]] = [()] * len(ids)
        return TaskData(task, head, binary=False, ids=ids, labels=nothing, wanted=[], labelled=False)
    wanted: list[Any] = []
    if head.by_token:
        ids, marked = encode_marked(tokenizer, split.texts, split.labels, task.max_tokens, handling)
        wanted = list(marked)
    else:
        ids = encode(tokenizer, split.texts, task.max_tokens, handling)
    return TaskData(task, head, split.binary, ids, split.labels, wanted, labelled=all(split.labels))
