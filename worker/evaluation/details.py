"""What stands behind the figures, as lines of text: every label, every group, who is taken for whom."""

from collections.abc import Iterable, Sequence

from worker.evaluation.result import Result, shown

Rows = list[Sequence[str]]


def details(models: Sequence[tuple[str, Iterable[Result]]]) -> str:
    """Return, for each model and set, a table of its labels and groups, and the confusion matrix."""
    parts = [_details(title, result) for title, results in models for result in results]
    return "\n".join(part for part in parts if part)


def _details(title: str, result: Result) -> str:
    parts = []
    if result.labels:
        rows: Rows = [("label", "rows", "given", "precision", "recall", "F1")]
        for name, label in result.labels.items():
            shares = (f"{100 * share:.1f}" for share in (label.precision, label.recall))
            rows.append((name, f"{label.rows:,}", f"{label.given:,}", *shares, shown("f1", label.f1)))
        parts.append(_aligned(rows))
    if result.groups:
        groups = [(name, shown("f1", figure)) for name, figure in result.groups.items()]
        parts.append(_aligned([("group", "F1"), *groups]))
    if result.confusion:
        names = list(result.labels)
        lines = zip(names, result.confusion, strict=True)
        body = [(name, *(f"{count:,}" for count in counts)) for name, counts in lines]
        parts.append(_aligned([("gold, answer", *names), *body]))
    return "\n".join((f"{title}: {result.title}", *parts)) if parts else ""


def _aligned(rows: Rows) -> str:
    """Return a table with an indent: names to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join((row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))))
        for row in rows
    )
    return "".join(f"    {line.rstrip()}\n" for line in lines)
