"""`moodstream model diff`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.cli.config import columns

if TYPE_CHECKING:
    from worker.heads import Head
    from worker.lab.evaluate.compare import Comparison, Pair
    from worker.model.classifier import Classifier
    from worker.model.pack import Pack

_FOLDER = click.Path(path_type=Path)
_TOGETHER = 512


@click.command()
@click.argument("before", metavar="A", type=_FOLDER)
@click.argument("after", metavar="B", type=_FOLDER)
@click.option(
    "--file", "file", required=True, type=click.Path(), help="Texts: JSON lines, CSV, Parquet, .txt."
)
@click.option("--text-field", default="text", show_default=True, help="Field or column with the text.")
@click.option(
    "--show",
    "shown",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Print so many changes a head.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, every change included.")
def diff(before: Path, after: Path, *, file: str, text_field: str, shown: int, as_json: bool) -> None:
    """Show what changed between two packs, message by message.

    For each head that both have: how many messages get other labels, and how far the label that moved most
    did on average. Then the changed messages, those that moved most first.

    \b
      moodstream model diff ./old ./new --file posts.jsonl
    """
    from worker.lab.evaluate.compare import compare
    from worker.model.classifier import Classifier
    from worker.tables.open import check_inputs

    check_inputs([file])
    packs = (Classifier.load(before), Classifier.load(after))
    descriptions = [_description(classifier.pack) for classifier in packs]
    by_token = [{head.name for head in classifier.pack.token_heads} for classifier in packs]
    shared = []
    for name in descriptions[0]["heads"]:
        if name not in descriptions[1]["heads"]:
            continue
        if (name in by_token[0]) == (name in by_token[1]):
            shared.append(name)
        else:
            click.echo(f"moodstream: head {name} marks words in one pack alone: left out", err=True)
    found = compare(_pairs(*packs, file, text_field), shared)
    if as_json:
        value = {"before": descriptions[0], "after": descriptions[1], **found.as_json()}
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        click.echo(_text(descriptions, found, shown), nl=False)


def _pairs(before: "Classifier", after: "Classifier", file: str, text_field: str) -> "Iterator[Pair]":
    """Yield every text with both packs' answers."""
    texts: list[str] = []
    for text in _texts(file, text_field):
        texts.append(text)
        if len(texts) == _TOGETHER:
            yield from zip(texts, before.classify(texts), after.classify(texts), strict=True)
            texts.clear()
    yield from zip(texts, before.classify(texts), after.classify(texts), strict=True)


def _texts(file: str, text_field: str) -> Iterator[str]:
    """Yield the texts of a file as `moodstream label` reads them. A row without one is told, no more."""
    import contextlib

    from worker.messages.fields import Fields
    from worker.stream.labeller import texts_of, wanted_columns
    from worker.tables.open import open_input

    fields = Fields.at(text_field)
    with contextlib.closing(open_input(file, wanted_columns(fields.places))) as source:
        yield from texts_of(
            source, fields, lambda place, reason: click.echo(f"{source.name}:{place}: {reason}", err=True)
        )


def _description(pack: "Pack") -> dict[str, Any]:
    """Return what can differ between two packs besides their weights."""
    return {
        "model": f"{pack.name}@{pack.revision}",
        "bytes": sum(pack.files.values()),
        "text": f"{pack.text.name} {pack.text.version}",
        "max_tokens": pack.max_tokens,
        "heads": {head.name: _head(head) for head in pack.outputs},
    }


def _head(head: "Head") -> dict[str, Any]:
    told: dict[str, Any] = {"problem_type": head.problem_type, "labels": head.labels}
    if head.multi_label:
        told["thresholds"] = head.thresholds
    if not head.by_token:
        told["logit_adjustment"] = head.logit_adjustment
    if head.by_token:
        told |= {"threshold": head.threshold, "relative": head.relative}
    told["temperature"] = head.temperature
    return told | {"layers": head.layers} if head.by_token else told


def _text(descriptions: list[dict[str, Any]], found: "Comparison", shown: int) -> str:
    before, after = descriptions
    lines = [f"{before['model']} -> {after['model']}"]
    lines += [
        f"{name.replace('_', ' ')}: {before[name]} -> {after[name]}"
        for name in ("bytes", "text", "max_tokens")
        if before[name] != after[name]
    ]
    lines += _head_lines(before["heads"], after["heads"])
    lines.append(f"\n{found.rows:,} messages, {found.changed:,} with other labels or marks")
    lines += [f"not compared: {failure}" for failure in found.failures]
    rows = [
        (
            name,
            len(head.changes),
            _share(len(head.changes), head.rows),
            f"{head.mean:.4f}",
            f"{head.most:.4f}",
        )
        for name, head in found.heads.items()
    ]
    text = (
        "\n".join(lines) + "\n\n" + columns(("HEAD", "CHANGED", "SHARE", "MEAN MOVE", "LARGEST MOVE"), rows)
    )
    for name, head in found.heads.items():
        most = sorted(head.changes, key=lambda change: -change.moved)[:shown]
        if most:
            text += f"\n{name}\n"
        for change in most:
            answers = f"{change.before or '-'} -> {change.after or '-'}"
            text += f"  {answers}  ({change.moved:.3f})  {_short(change.text)}\n"
        if len(head.changes) > len(most):
            text += f"  and {len(head.changes) - len(most):,} more\n"
    return text


def _head_lines(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each head that is gone, new, or set up otherwise."""
    for name in dict.fromkeys([*before, *after]):
        if name not in after:
            yield f"head {name}: gone"
        elif name not in before:
            yield f"head {name}: new"
        else:
            changed = [key for key in after[name] if before[name].get(key) != after[name][key]]
            if changed:
                yield f"head {name}: other {', '.join(changed).replace('_', ' ')}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _short(text: str, longest: int = 80) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
