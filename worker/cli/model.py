"""`moodstream model show | verify | schema | import | export | diff`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from worker.cli.lazy import CommandGroup
from worker.cli.model_diff import diff
from worker.cli.model_export import export

if TYPE_CHECKING:
    from worker.classify import Pack

_FOLDER = click.Path(path_type=Path)


@click.group(cls=CommandGroup)
def model() -> None:
    """Show, verify, import, export and compare model packs.

    A pack is a folder with the model's graph, tokenizer, labels and card, and a manifest with the SHA-256
    sum of each file. Without FOLDER the commands take the setting model.path, or else the bundled pack.
    """


@model.command()
@click.argument("folder", type=_FOLDER, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(folder: Path | None, as_json: bool) -> None:
    """Print what a pack is: heads, labels, thresholds, temperatures, text handling, sizes, figures."""
    import json  # noqa: PLC0415 - beside it

    from worker.cli import pack_text  # noqa: PLC0415 - this command alone needs it

    pack = _load(folder)
    if as_json:
        click.echo(json.dumps(pack_text.as_json(pack), indent=2, ensure_ascii=False))
    else:
        click.echo(pack_text.describe(pack), nl=False)


@model.command()
@click.argument("folder", type=_FOLDER, required=False)
def verify(folder: Path | None) -> None:
    """Compare every byte of a pack with its manifest, and label one text with it; exit code 7 if it fails."""
    from worker.classifier import Classifier  # noqa: PLC0415 - loads onnxruntime
    from worker.types import Failure  # noqa: PLC0415 - beside it

    pack = _load(folder)
    (answer,) = Classifier.load(pack.path).classify(["This is a test."])
    if isinstance(answer, Failure):
        from worker.classify import PackError  # noqa: PLC0415 - see above

        raise PackError(f"{pack.path}: {answer.message}")
    size = sum(pack.files.values())
    click.echo(
        f"{pack.name}@{pack.revision} is sound: {len(pack.files)} files, {size} bytes, as in the manifest"
    )


@model.command()
@click.argument("folder", type=_FOLDER, required=False)
def schema(folder: Path | None) -> None:
    """Print the JSON Schema of the output messages of a pack: its columns follow from its labels."""
    import json  # noqa: PLC0415 - beside it

    from worker.encode.schema import output_schema  # noqa: PLC0415 - loads pydantic

    click.echo(json.dumps(output_schema(_load(folder).outputs), indent=2, ensure_ascii=False))


@model.command("import")
@click.argument("checkpoint", metavar="FOLDER|OWNER/NAME", type=_FOLDER)
@click.option(
    "--output", "-o", type=_FOLDER, default=None, help="Folder of the new pack.  [default: ./NAME-pack]"
)
@click.option("--name", default=None, help="Name of the pack.  [default: that of the checkpoint's folder]")
@click.option("--quantise/--no-quantise", default=True, show_default=True, help="Make its weights int8.")
def import_(checkpoint: Path, output: Path | None, name: str | None, quantise: bool) -> None:
    """Make a pack from a DistilBERT checkpoint: a folder as transformers saves it, or a Hugging Face name.

    The folder holds config.json, model.safetensors and tokenizer.json or vocab.txt. Labels and problem type
    come from its config.json. A name, OWNER/NAME, is fetched (pip install 'moodstream[hub]').

    \b
      moodstream model import ./distilbert-sst2 --output ./sst2-pack
      moodstream model import owner/distilbert-italian --output ./italian-pack
      moodstream run --model.path ./sst2-pack
    """
    try:
        from worker.convert import convert_checkpoint  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"onnx", "safetensors"}:
            raise
        raise click.ClickException("model import needs: pip install 'moodstream[import]'") from None
    name, origin = name or checkpoint.resolve().name, None
    output = output or Path(f"{name}-pack")
    if not checkpoint.exists():
        checkpoint, origin = _fetched(checkpoint)
    pack = convert_checkpoint(checkpoint, output, name=name, quantise=quantise, origin=origin)
    heads = ", ".join(f"{head.name} ({len(head.labels)} labels)" for head in pack.outputs)
    click.echo(f"{pack.name}@{pack.revision} is in {output}: {heads}")


def _fetched(name: Path) -> tuple[Path, str | None]:
    """Fetch what may be a name on the hub, since nothing is at that path: its folder, and its origin."""
    from worker.convert.hub import fetch, is_hub_name  # noqa: PLC0415 - the extra `import`

    if not is_hub_name(str(name)):
        return name, None  # convert_checkpoint says that there is no such folder
    found = fetch(str(name))
    return found.folder, found.origin


model.add_command(export)
model.add_command(diff)


def _load(folder: Path | None) -> "Pack":
    from worker.classify import bundled_pack, load_pack  # noqa: PLC0415 - loads onnxruntime
    from worker.settings import load_settings  # noqa: PLC0415 - loads pydantic

    return load_pack(folder or load_settings().settings.model.path or bundled_pack())
