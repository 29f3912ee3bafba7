"""Options shared by the commands that make one model from another."""

from pathlib import Path

import click

PATH = click.Path(path_type=Path)

text_field = click.option(
    "--text-field", default="text", show_default=True, help="Column or field with the text."
)
data = click.option(
    "--data", metavar="DIR", help="Folder of the known data sets.  [default: MOODSTREAM_DATA]"
)
work = click.option(
    "--work", type=PATH, help="Folder for state, answers and checkpoint.  [default: OUT-work]"
)
name = click.option("--name", help="Name of the pack.  [default: its folder's name]")
quantised = click.option(
    "--int8", "quantised", is_flag=True, help="Round during training as the int8 graph does."
)
resume = click.option("--resume", is_flag=True, help="Continue an interrupted run.")
