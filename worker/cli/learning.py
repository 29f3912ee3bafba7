"""Options that the commands which make a model of another share."""

from pathlib import Path

import click

PATH = click.Path(path_type=Path)

text_field = click.option(
    "--text-field", default="text", show_default=True, help="Column or field with the text."
)
data = click.option(
    "--data", metavar="DIR", help="Folder of the known data sets.  [default: MOODSTREAM_DATA]"
)
work = click.option("--work", type=PATH, help="Folder for state, answers, checkpoint.  [default: OUT-work]")
name = click.option("--name", help="Name of the pack.  [default: that of its folder]")
quantised = click.option(
    "--int8", "quantised", is_flag=True, help="Train with the rounding of the int8 form in the loop."
)
resume = click.option("--resume", is_flag=True, help="Go on where an interrupted run stands.")
