"""`moodstream model export`."""

from pathlib import Path

import click

from worker.cli.model_folder import MODEL

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("model", metavar="PACK|CHECKPOINT", type=MODEL)
@click.argument("folder", metavar="FOLDER", type=_FOLDER)
@click.option("--head", help="The head to export, where there are several.")
@click.option("--replace", is_flag=True, help="Put it in place of a folder that is there.")
def export(model: Path, folder: Path, head: str | None, replace: bool) -> None:
    """Write a pack or checkpoint as a Hugging Face folder, with one of its heads.

    AutoModelForSequenceClassification.from_pretrained(FOLDER) loads it, AutoModel its trunk alone. Weights of
    an int8 pack come back as the pack rounds them. The temperature is part of the last layer; thresholds and
    the text handling are named in config.json and README.md.

    \b
      moodstream model export ./my-pack ./my-model --head sentiment
    """
    try:
        from worker.export import export_model  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"onnx", "safetensors"}:
            raise
        raise click.ClickException("model export needs: pip install 'moodstream[import]'") from None
    done = export_model(model, folder, head, replace=replace)
    click.echo(
        f"{done.folder}: DistilBertForSequenceClassification, head {done.head} ({len(done.labels)} labels), "
        f"{done.parameters / 1e6:.1f} million parameters"
    )
