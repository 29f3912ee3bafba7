"""What teachers say of all texts: asked once, kept on disk in shards, and laid on the student's tokens."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.errors import TrainingError
from worker.lab import soft
from worker.lab.data.labels import HeadSpec
from worker.lab.evaluate.heads import HeadInfo
from worker.lab.evaluate.score import TokenScores
from worker.lab.shards import read_shard, write_shard
from worker.lab.teachers import Answers, Teacher
from worker.lab.texts import Part, Row
from worker.types import Range

Say = Callable[[str], None]
Floats = NDArray[np.float32]

SHARD = 4_096
"""Texts in one file of answers: a kill in the middle costs no more than these."""


class Soft(NamedTuple):
    """Probabilities (texts, columns) for these columns of a student's head: the mean of so many teachers'."""

    columns: tuple[int, ...]
    scores: Floats
    teachers: int


@dataclass(slots=True)
class Targets:
    """What the student should say of the texts of one part."""

    soft: dict[str, list[Soft]] = field(default_factory=dict)
    """By head; teachers that know other labels of it stand apart."""
    tokens: dict[str, dict[int, Floats]] = field(default_factory=dict)
    """By token head and number of the text: a probability for each of the student's tokens."""
    first: NDArray[np.float16] | None = None
    """A teacher's last hidden state of the first token, (texts, dim)."""


def ask(
    teachers: Sequence[Teacher],
    heads: Mapping[str, HeadInfo],
    texts: Sequence[str],
    rows: Sequence[Row],
    *,
    max_tokens: int,
    keep: Path,
    say: Say,
    first_of: Teacher | None = None,
) -> Targets:
    """Return what the teachers say of some texts, for the student's `heads` and its tokens (`rows`).

    Answers are kept in the folder `keep`, found again by teacher and texts. Of `first_of` the last hidden
    states are wanted too. Raises TrainingError where a teacher knows a label that the student does not.
    """
    targets = Targets()
    by_token: dict[str, list[dict[int, Floats]]] = {}
    for teacher in teachers:
        found = answers_of(teacher, texts, max_tokens, keep, say)
        for name, head in heads.items():
            if name in found.scores:
                _add_scores(targets, teacher, head, found.scores[name])
            elif name in found.tokens:
                told = {row: _laid_on(each, rows[row].ranges) for row, each in found.tokens[name].items()}
                by_token.setdefault(name, []).append(told)
        if teacher is first_of:
            targets.first = found.first
    targets.tokens = {name: _means(told) for name, told in by_token.items()}
    return targets


def add_own(
    targets: Targets, part: Part, head: HeadSpec, rows: Sequence[Row], *, keep: Path, say: Say
) -> None:
    """Add what a part's own teachers say of the head that they teach, of every text: no gate is asked.

    Raises TrainingError: see `training.soft`.
    """
    say(f"{part.name}: asking {', '.join(part.own_teachers)}")
    if head.by_token:
        told = soft.taught_tokens(part.own_teachers, head, part.texts, [row.ids for row in rows], keep)
        for number, (scores, row) in enumerate(zip(told, rows, strict=True)):
            scores[[start == end for start, end in row.ranges]] = 0.0
            targets.tokens.setdefault(head.name, {})[number] = scores
        return
    given, columns = soft.taught(part.own_teachers, head, part.texts, part.max_tokens, keep)
    targets.soft[head.name] = [Soft(tuple(columns), given, len(part.own_teachers))]


def answers_of(teacher: Teacher, texts: Sequence[str], max_tokens: int, keep: Path, say: Say) -> Answers:
    """Return a teacher's answers to all texts, from disk where they are there. Raises TrainingError."""
    shards = []
    for start in range(0, len(texts), SHARD):
        part = texts[start : start + SHARD]
        words = "\0".join([teacher.identity, str(max_tokens), *part])
        digest = hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:20]
        path = keep / f"taught-{digest}.npz"
        shard = read_shard(path)
        if shard is None:
            say(f"asking {teacher.title}: {start:,} of {len(texts):,} texts")
            shard = teacher.answers(part, max_tokens)
            write_shard(path, shard)
        shards.append(shard)
    return _joined(shards)


def _joined(shards: Sequence[Answers]) -> Answers:
    """Put shards one after another."""
    scores = {name: np.concatenate([shard.scores[name] for shard in shards]) for name in shards[0].scores}
    tokens = {
        name: {
            number * SHARD + row: told
            for number, shard in enumerate(shards)
            for row, told in shard.tokens[name].items()
        }
        for name in shards[0].tokens
    }
    firsts = [shard.first for shard in shards if shard.first is not None]
    return Answers(scores, tokens, np.concatenate(firsts) if firsts else None)


def _add_scores(targets: Targets, teacher: Teacher, head: HeadInfo, scores: Floats) -> None:
    """Take up a teacher's probabilities: into the mean of those that know the same labels."""
    theirs = teacher.heads[head.name]
    if theirs.multi_label != head.multi_label:
        raise TrainingError(f"teacher {teacher.title}: its head {head.name} is {theirs.problem_type}")
    if unknown := [label for label in theirs.labels if label not in head.labels]:
        raise TrainingError(
            f"teacher {teacher.title}: its head {head.name} has the label {unknown[0]!r}, "
            "the student's has not"
        )
    columns = tuple(sorted(head.labels.index(label) for label in theirs.labels))
    order = [theirs.labels.index(head.labels[column]) for column in columns]
    known = targets.soft.setdefault(head.name, [])
    for place, told in enumerate(known):
        if told.columns == columns:
            mean = (told.scores * told.teachers + scores[:, order]) / (told.teachers + 1)
            known[place] = Soft(columns, mean.astype(np.float32), told.teachers + 1)
            return
    known.append(Soft(columns, np.ascontiguousarray(scores[:, order]), 1))


def _laid_on(told: TokenScores, ranges: Sequence[Range]) -> Floats:
    """Return a teacher's probabilities for the student's tokens: the largest that shares characters."""
    if told.ranges == list(ranges):
        found = np.array(told.scores, np.float32)
        found[[start == end for start, end in ranges]] = 0.0
        return found
    return np.array(
        [
            max(
                (score for score, (begin, stop) in zip(told.scores, told.ranges, strict=True)
                 if begin < end and start < stop and start < end),
                default=0.0,
            )
            for start, end in ranges
        ],
        np.float32,
    )  # fmt: skip


def _means(told: Sequence[Mapping[int, Floats]]) -> dict[int, Floats]:
    """Return the mean of the teachers that were asked of a text."""
    rows = sorted({row for each in told for row in each})
    return {
        row: np.asarray(np.mean([each[row] for each in told if row in each], axis=0), np.float32)
        for row in rows
    }
