"""Runs behaviour cases against a classifier, and reports each family's rate and its failures.

The cases are checked on the fields of the output message, which is what a consumer of the topic sees.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from worker.heads import SINGLE, Head
from worker.lab.evaluate.cases import Case, Family, load_families
from worker.messages.columns import SpanColumn, TextColumns, head_columns
from worker.messages.encode import OutputEncoder
from worker.model.classifier import Classifier
from worker.types import Failure

Fields = Mapping[str, Any]
"""The fields of one text's output message."""

LabelTexts = Callable[[Sequence[str]], Sequence[Fields]]
"""Labels texts; returns the fields of each text, in order."""

BACKWARD = 0.02
"""`order`: how far a score may fall between neighbours. A score near 0 or 1 has no room to move."""

ENOUGH = 0.5
"""`spans`: the share of the marked characters, and of a word to be marked, that must be right."""


@dataclass(frozen=True, slots=True)
class Miss:
    """A case that failed: its text, and the answer."""

    text: str
    said: str


class Moved(NamedTuple):
    """The column whose score changes most, and its mean change (a difference of probabilities)."""

    column: str
    by: float


@dataclass(frozen=True, slots=True)
class FamilyResult:
    """The result of one family. `skipped` is the reason if it could not be run; it then has no rate.

    `moved` is only for `swap`: the score that changes most between two of the words put in, averaged over all
    cases of the family whose texts were all labelled.
    """

    family: Family
    misses: tuple[Miss, ...] = ()
    skipped: str | None = None
    moved: Moved | None = None

    @property
    def rate(self) -> float:
        """The share of the cases that passed, 0 to 1."""
        return 1 - len(self.misses) / len(self.family.cases)

    @property
    def holds(self) -> bool:
        """Whether the rate is reached and no score changes too much; also true for a skipped family."""
        if self.skipped is not None:
            return True
        still = self.moved is None or self.moved.by <= (self.family.within or 0)
        return still and self.rate >= self.family.rate


@dataclass(frozen=True, slots=True)
class Report:
    """The results of all families."""

    model: str
    results: tuple[FamilyResult, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return, for JSON, each family's reached and required rate and its failed cases."""
        families: dict[str, Any] = {}
        for result in self.results:
            family = result.family
            entry = {"about": family.about, "cases": len(family.cases), "required": family.rate}
            if result.skipped is None:
                entry |= {
                    "rate": round(result.rate, 4),
                    "holds": result.holds,
                    **({} if result.moved is None else {"moved": result.moved._asdict()}),
                    "misses": [{"text": miss.text, "said": miss.said} for miss in result.misses],
                }
            else:
                entry["skipped"] = result.skipped
            families[family.name] = entry
        return {"model": self.model, "families": families}

    def as_markdown(self) -> str:
        """Return the rates as a Markdown table for a model card, ending with a line break."""
        lines = [
            "| family | what is asked | cases | required | reached |",
            "| --- | --- | ---: | ---: | ---: |",
        ]
        for result in self.results:
            family = result.family
            reached = "not asked" if result.skipped else f"{result.rate:.0%}"
            if result.moved is not None:
                reached += f", {result.moved.column} by {result.moved.by:.3f}"
            shown = reached if result.holds else f"**{reached}**"
            lines.append(
                f"| {family.name} | {family.about} | {len(family.cases)} | {family.rate:.0%} | {shown} |"
            )
        skipped = sorted({result.skipped for result in self.results if result.skipped})
        return "\n".join([*lines, "", *(f"Not asked: {reason}." for reason in skipped)]).rstrip("\n") + "\n"


def measure(cases: Path, pack: Path | None = None, *, threads: int = 0) -> Report:
    """Run the cases in the folder `cases` against a pack, by default the bundled one.

    Raises:
        CasesError: the cases cannot be read.
        PackError: the pack cannot.
    """
    families = load_families(cases)
    classifier = Classifier.load(pack, threads=threads)
    heads, model = classifier.pack.outputs, f"{classifier.pack.name}@{classifier.pack.revision}"
    encoder = OutputEncoder(heads, model=model, topic="", include_text=False)

    def say(texts: Sequence[str]) -> list[Fields]:
        answers = classifier.classify(texts)
        return [
            {"failure": answer.message} if isinstance(answer, Failure) else encoder.fields(answer, text)
            for text, answer in zip(texts, answers, strict=True)
        ]

    return Report(model, run(families, say, heads))


def run(families: Sequence[Family], say: LabelTexts, heads: Sequence[Head]) -> tuple[FamilyResult, ...]:
    """Run families. Each text is labelled once, however many cases contain it."""
    by_name = {head.name: head for head in heads}
    reasons = [_skipped(family, by_name) for family in families]
    asked = [family for family, reason in zip(families, reasons, strict=True) if reason is None]
    texts = list({text: None for family in asked for case in family.cases for text in case.texts})
    said = dict(zip(texts, say(texts), strict=True))
    columns = _Columns(heads)
    results = []
    for family, reason in zip(families, reasons, strict=True):
        if reason is not None:
            results.append(FamilyResult(family, skipped=reason))
            continue
        judge = _Judge(family, columns)
        answers = [[said[text] for text in case.texts] for case in family.cases]
        misses = (judge.miss(case, answer) for case, answer in zip(family.cases, answers, strict=True))
        whole = [case for case in answers if not any("failure" in fields for fields in case)]
        moved = _moved_most(whole, columns.scores) if family.check == "swap" and whole else None
        results.append(FamilyResult(family, tuple(miss for miss in misses if miss is not None), moved=moved))
    return tuple(results)


def _skipped(family: Family, heads: Mapping[str, Head]) -> str | None:
    """Return the reason why a family does not suit a pack with these heads, or None."""
    if family.head is None:
        return None
    head = heads.get(family.head)
    if head is None:
        return f"the pack has no head `{family.head}`"
    if head.by_token != (family.check == "spans"):
        return f"the head `{family.head}` is of another kind than `{family.check}` asks of"
    missing = sorted(family.labels - set(head.labels))
    if missing:
        return f"the head `{family.head}` has no label `{missing[0]}`"
    return None


def _moved_most(answers: Sequence[Sequence[Fields]], columns: Sequence[str]) -> Moved:
    """Return the column with the largest mean difference between two answers to a case, and that mean."""
    pairs = [pair for said in answers for pair in combinations(said, 2)]
    means = {name: sum(abs(one[name] - other[name]) for one, other in pairs) / len(pairs) for name in columns}
    return Moved(*max(means.items(), key=lambda item: item[1]))


class _Columns:
    """The columns of an output message by what a check asks for.

    `texts` and `spans` are by head; `scores` are the columns of all labels' probabilities; `labels` are the
    columns of the single-label heads' labels.
    """

    def __init__(self, heads: Sequence[Head]) -> None:
        found = head_columns(heads)
        self.texts = {entry.head: entry for entry in found if isinstance(entry, TextColumns)}
        self.spans = {entry.head: entry.column for entry in found if isinstance(entry, SpanColumn)}
        self.scores = [column for entry in self.texts.values() for column in entry.scores.values()]
        single = {head.name for head in heads if head.problem_type == SINGLE}
        self.labels = [entry.label for entry in self.texts.values() if entry.head in single]


class _Judge:
    """Decides the cases of one family."""

    def __init__(self, family: Family, columns: _Columns) -> None:
        self._family = family
        self._columns = columns
        self._checks: Mapping[str, Callable[[Case, Sequence[Fields]], str | None]] = {
            "label": self._label,
            "holds": self._holds,
            "pair": self._pair,
            "order": lambda _, said: self._order(said),
            "swap": lambda _, said: self._swap(said),
            "same": lambda _, said: self._same(said),
            "spans": self._spans,
        }

    def miss(self, case: Case, said: Sequence[Fields]) -> Miss | None:
        """Return what is wrong with the answers `said` to a case's texts, or None if nothing is."""
        failed = next((fields["failure"] for fields in said if "failure" in fields), None)
        wrong = failed if failed is not None else self._checks[self._family.check](case, said)
        shown = case.texts[0] if self._family.check == "swap" else " | ".join(case.texts)
        return None if wrong is None else Miss(shown, wrong)

    def _own(self) -> TextColumns:
        return self._columns.texts[str(self._family.head)]

    def _label(self, case: Case, said: Sequence[Fields]) -> str | None:
        own = self._own()
        found = said[0][own.label]
        return None if found in case.wanted else f"{found} {said[0][own.score]:.2f}"

    def _holds(self, case: Case, said: Sequence[Fields]) -> str | None:
        found = said[0][self._own().passed]
        return None if set(found) & set(case.wanted) else ", ".join(found) or "no label"

    def _pair(self, case: Case, said: Sequence[Fields]) -> str | None:
        found = [fields[self._own().label] for fields in said]
        return None if found == list(case.wanted) else " | ".join(found)

    def _order(self, said: Sequence[Fields]) -> str | None:
        up, down = (self._own().scores[label] for label in (self._family.up, self._family.down))
        values = [fields[up] - fields[down] for fields in said]
        rises = (
            all(after > before - BACKWARD for before, after in pairwise(values)) and values[-1] > values[0]
        )
        return None if rises else " | ".join(f"{value:+.2f}" for value in values)

    def _swap(self, said: Sequence[Fields]) -> str | None:
        column, by = _moved_most([said], self._columns.scores)
        return None if by <= (self._family.within or 0) else f"{column} moves by {by:.3f} on average"

    def _same(self, said: Sequence[Fields]) -> str | None:
        if self._family.within is None:
            columns = self._columns.labels if self._family.head is None else [self._own().label]
            found = [[fields[column] for column in columns] for fields in said]
            return None if all(labels == found[0] for labels in found) else " | ".join(map(", ".join, found))
        names = self._columns.scores if self._family.head is None else [*self._own().scores.values()]
        moved, column = max((abs(said[0][name] - other[name]), name) for name in names for other in said[1:])
        return None if moved <= self._family.within else f"{column} moves by {moved:.3f}"

    def _spans(self, case: Case, said: Sequence[Fields]) -> str | None:
        text = case.texts[0]
        found = said[0][self._columns.spans[str(self._family.head)]]
        marked = {place for start, end in found for place in range(start, end)}
        wanted = {place for start, end in case.spans for place in range(start, end)}
        fits = len(marked & wanted) >= ENOUGH * len(marked)
        all_hit = all(
            len(marked & set(range(start, end))) >= ENOUGH * (end - start) for start, end in case.spans
        )
        if fits and all_hit:
            return None
        return ", ".join(repr(text[start:end]) for start, end in found) or "nothing"
