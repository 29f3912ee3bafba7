"""`moodstream model show | verify | schema | import | export | diff`.

Models as arguments: a folder, or the name of a pack that ships.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.cli.config import columns
from worker.cli.group import CommandGroup
from worker.cli.model_diff import diff
from worker.errors import PackError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.heads import Head
    from worker.model.pack import Pack


class _Model(click.Path):
    """A folder with a pack or checkpoint, or the name of a pack that ships with Moodstream."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from worker.model.pack import model_folder

        return model_folder(Path(str(super().convert(value, param, ctx))))


MODEL = _Model(path_type=Path)

_FIRM = "\N{NO-BREAK SPACE}"
_OVER = f"{_FIRM}>{_FIRM}"  # a label and its threshold stay on one line


def describe(pack: "Pack") -> str:
    """Return the lines about a pack: heads, labels, thresholds, temperatures, files, figures of its card."""
    sizes = sizes_of(pack)
    first = (
        f"{pack.name}@{pack.revision}\n"
        f"folder      {pack.path}\n"
        f"reads       up to {pack.max_tokens} tokens; texts {_handling(pack)}\n"
        f"languages   {_languages(pack)}\n"
        f"encoder     {sizes['n_layers']} layers of {sizes['dim']}, {sizes['n_heads']} attention heads each, "
        f"{sizes['vocab_size']:,} tokens in the vocabulary\n"
        f"made        {pack.created or 'unknown'}\n"
    )
    parts = [first, *map(_head, pack.outputs)]
    parts.append(columns(("FILE", "BYTES"), [*pack.files.items(), ("all", sum(pack.files.values()))]))
    if table := card_figures(pack):
        parts.append(columns([name.upper() for name in table[0]], table[1:]))
    return "\n".join(parts)


def pack_json(pack: "Pack") -> dict[str, Any]:
    """Return the same as JSON values."""
    table = card_figures(pack)
    return {
        "name": pack.name,
        "revision": pack.revision,
        "folder": str(pack.path),
        "created": pack.created,
        "max_tokens": pack.max_tokens,
        "text": {"name": pack.text.name, "version": pack.text.version},
        "languages": None if pack.languages is None else sorted(pack.languages),
        "sizes": sizes_of(pack),
        "heads": pack.config["heads"],
        "files": dict(pack.files),
        "figures": [dict(zip(table[0], row, strict=True)) for row in table[1:]],
    }


def sizes_of(pack: "Pack") -> dict[str, int]:
    """Return the encoder's sizes under the names of DistilBertConfig."""
    defaults = {"n_layers": 6, "dim": 768, "n_heads": 12, "hidden_dim": 3072, "vocab_size": pack.vocab_size}
    return {name: pack.config.get(name, default) for name, default in defaults.items()}


def card_figures(pack: "Pack") -> list[list[str]]:
    """Return the table of figures in a pack's card, its header first; nothing where there is none."""
    from worker.model.pack import CARD

    if CARD not in pack.files:
        return []
    try:
        lines = (pack.path / CARD).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    rows: list[list[str]] = []
    for line in lines:
        if not line.startswith("|"):
            if rows:
                break
            continue
        plain = "".join(character for character in line if character.isprintable())
        cells = [cell.strip() for cell in plain.strip().strip("|").split("|")]
        if rows or "figure" in cells:
            rows.append(cells)
    return [row for number, row in enumerate(rows) if number != 1 and len(row) == len(rows[0])]


def _handling(pack: "Pack") -> str:
    handling = pack.text
    return "as they come" if handling.name == "raw" else f"prepared by {handling.name} {handling.version}"


def _languages(pack: "Pack") -> str:
    if pack.languages is None:
        return "does not say which languages it reads"
    return f"reads {', '.join(sorted(pack.languages))}"


def _head(head: "Head") -> str:
    kind = head.problem_type.replace("_", " ")
    title = f"{head.name}: {kind}, {len(head.labels)} label{'s' if len(head.labels) > 1 else ''}"
    if head.temperature != 1:
        title += f", temperature {head.temperature:g}"
    if head.by_token:
        layers = ", ".join(map(str, head.layers))
        share = f", tokens from {head.relative:.0%} of the strongest on" if head.relative else ""
        lines = [f"{head.labels[0]}{_OVER}{head.threshold:g}{share}, from layers {layers}"]
        if head.branch is not None:
            after, own = head.branch.after, head.branch.layers
            lines.append(f"{own} layers of its own after {f'layer {after}' if after else 'the embeddings'}")
        if head.gate is not None:
            gate = head.gate
            lines.append(f"asked where {gate.head} gives {gate.label} at least {gate.threshold:g}")
    elif not head.multi_label:
        lines = [", ".join(head.labels), *_adjusted(head)]
    else:
        pairs = zip(head.labels, head.thresholds, strict=True)
        lines = [", ".join(f"{label}{_OVER}{threshold:.2f}" for label, threshold in pairs)]
        lines += _adjusted(head)
        lines += [f"{name}: {', '.join(labels)}" for name, labels in head.groups.items()]
    wrapped = "".join(click.wrap_text(line, 100, "  ", "    ") + "\n" for line in lines)
    return f"{title}\n{wrapped.replace(_FIRM, ' ')}"


def _adjusted(head: "Head") -> list[str]:
    if not head.logit_adjustment:
        return []
    if head.calls_from is not None:
        return [f"{head.labels[1]}{_OVER}{head.calls_from:.2f}"]
    pairs = zip(head.labels, head.logit_adjustment, strict=True)
    numbers = ", ".join(f"{label}{_FIRM}{number:+.2f}" for label, number in pairs)
    return [f"the strongest label has the largest logit less its number: {numbers}"]


_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("model", metavar="PACK|CHECKPOINT", type=MODEL)
@click.argument("folder", metavar="FOLDER", type=_FOLDER)
@click.option("--head", help="The head to export, where there are several.")
@click.option("--replace", is_flag=True, help="Put it in place of an exported model or pack that is there.")
def export(model: Path, folder: Path, head: str | None, replace: bool) -> None:
    """Write a pack or checkpoint as a Hugging Face folder, with one of its heads.

    AutoModelForSequenceClassification.from_pretrained(FOLDER) loads it, AutoModel its encoder alone. Weights
    of an int8 pack come back as the pack rounds them. The temperature is part of the last layer; thresholds
    and the text handling are named in config.json and README.md.

    \b
      moodstream model export ./my-pack ./my-model --head sentiment
    """
    try:
        from worker.lab.convert.export import export_model
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"onnx", "safetensors"}:
            raise
        raise click.ClickException("model export needs: pip install 'moodstream[import]'") from None
    done = export_model(model, folder, head, replace=replace)
    click.echo(
        f"{done.folder}: DistilBertForSequenceClassification, head {done.head} ({len(done.labels)} labels), "
        f"{done.parameters / 1e6:.1f} million parameters"
    )


@click.group(cls=CommandGroup)
def model() -> None:
    """Show, verify, import, export and compare model packs.

    A pack is a folder with the model's graph, tokenizer, labels and card, and a manifest with the SHA-256
    sum of each file. Without FOLDER the commands take those of the setting model.path, or else the bundled
    pack.
    """


@model.command()
@click.argument("folders", metavar="[FOLDER]...", type=_FOLDER, nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(folders: tuple[Path, ...], as_json: bool) -> None:
    """Print what a pack is: heads, labels, thresholds, temperatures, text handling, sizes, figures.

    With --json several packs are a list.
    """
    packs = _load(folders)
    if as_json:
        shown = [pack_json(pack) for pack in packs]
        click.echo(json.dumps(shown if len(shown) > 1 else shown[0], indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(map(describe, packs)), nl=False)


@model.command()
@click.argument("folders", metavar="[FOLDER]...", type=_FOLDER, nargs=-1)
def verify(folders: tuple[Path, ...]) -> None:
    """Compare every byte of a pack with its manifest, and label one text with it; exit code 7 if it fails."""
    from worker.model.classifier import Classifier
    from worker.types import Failure

    for pack in _load(folders):
        (answer,) = Classifier.load(pack.path).classify(["This is a test."])
        if isinstance(answer, Failure):
            raise PackError(f"{pack.path}: {answer.message}")
        size = sum(pack.files.values())
        click.echo(
            f"{pack.name}@{pack.revision} is sound: {len(pack.files)} files, {size} bytes, as in the manifest"
        )


@model.command()
@click.argument("folders", metavar="[FOLDER]...", type=_FOLDER, nargs=-1)
def schema(folders: tuple[Path, ...]) -> None:
    """Print the JSON Schema of the output messages of a pack, or of several that run together.

    Columns follow from labels.
    """
    from worker.messages.schema import output_schema
    from worker.model.several import named_heads

    heads, _ = named_heads(_load(folders))
    click.echo(json.dumps(output_schema(heads), indent=2, ensure_ascii=False))


@model.command("import")
@click.argument("checkpoints", metavar="FOLDER|OWNER/NAME...", type=_FOLDER, nargs=-1, required=True)
@click.option(
    "--output", "-o", type=_FOLDER, default=None, help="Folder of the new pack.  [default: ./NAME-pack]"
)
@click.option("--name", default=None, help="Name of the pack.  [default: that of the checkpoint's folder]")
@click.option("--quantise/--no-quantise", default=True, show_default=True, help="Make its weights int8.")
@click.option(
    "--languages",
    metavar="CODES",
    default="",
    help="Languages that it reads, as in it or en,fr.  [default: those on its page, README.md]",
)
def import_(
    checkpoints: tuple[Path, ...], output: Path | None, name: str | None, quantise: bool, languages: str
) -> None:
    """Make packs from DistilBERT checkpoints: folders as transformers saves them, or Hugging Face names.

    A folder holds config.json, model.safetensors and tokenizer.json or vocab.txt. Labels and problem type
    come from its config.json. A name, OWNER/NAME, is fetched (pip install 'moodstream[hub]'). --output and
    --name are for one checkpoint; several of the same name need a command each. Text in a language that the
    pack does not read is marked; a pack that does not say what it reads is taken to read everything.

    \b
      moodstream model import ./distilbert-sst2 --output ./sst2-pack
      moodstream model import owner/distilbert-italian --output ./italian-pack
      moodstream run --model.path ./sst2-pack
      moodstream model import owner/sentiment owner/emotion
      moodstream run --model.path ./sentiment-pack,./emotion-pack
    """
    if len(checkpoints) > 1 and (output is not None or name is not None):
        raise click.UsageError("--output and --name are for one checkpoint: import the others by themselves")
    codes = _codes(languages)
    names = [name or checkpoint.resolve().name for checkpoint in checkpoints]
    if twice := next((one for place, one in enumerate(names) if one in names[:place]), None):
        raise click.UsageError(f"two checkpoints are named {twice}: import each by itself, with --output")
    for checkpoint, pack_name in zip(checkpoints, names, strict=True):
        _import(checkpoint, output or Path(f"{pack_name}-pack"), pack_name, codes, quantise=quantise)


def _codes(languages: str) -> list[str]:
    from worker.settings.base import WrongValue
    from worker.settings.languages import check_language

    try:
        return [check_language(code.strip()) for code in languages.split(",") if code.strip()]
    except WrongValue as error:
        raise click.BadParameter(f"{error.value!r} {error}", param_hint="--languages") from None


def _import(checkpoint: Path, output: Path, name: str, languages: "Sequence[str]", *, quantise: bool) -> None:
    try:
        from worker.lab.convert.hub import page_languages
        from worker.lab.convert.writer import convert_checkpoint
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"onnx", "safetensors"}:
            raise
        raise click.ClickException("model import needs: pip install 'moodstream[import]'") from None
    origin = None
    if not checkpoint.exists():
        checkpoint, origin = _fetched(checkpoint)
    pack = convert_checkpoint(
        checkpoint,
        output,
        name=name,
        quantise=quantise,
        origin=origin,
        languages=languages or page_languages(checkpoint),
    )
    heads = ", ".join(f"{head.name} ({len(head.labels)} labels)" for head in pack.outputs)
    click.echo(f"{pack.name}@{pack.revision} is in {output}: {heads}; {_languages(pack)}")


def _fetched(name: Path) -> tuple[Path, str | None]:
    """Fetch what may be a name on the hub, since nothing is at that path: its folder, and its origin."""
    from worker.lab.convert.hub import fetch, is_hub_name

    if not is_hub_name(str(name)):
        return name, None  # convert_checkpoint says that there is no such folder
    found = fetch(str(name))
    return found.folder, found.origin


model.add_command(export)
model.add_command(diff)


def _load(folders: "Sequence[Path]") -> "tuple[Pack, ...]":
    from worker.model.several import load_packs
    from worker.settings.load import load_settings

    return load_packs(folders or load_settings().settings.model.path)
