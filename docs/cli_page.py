"""Write the reference of the command line, from the commands themselves.

    python docs/cli_page.py > docs/reference/cli.md

mkdocs-click 0.9 would do this while the site is built, but with click 8.3 it prints `Sentinel.UNSET` as the
default of every option that has none, and it breaks the examples of a help text into one paragraph.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
WIDTH = 100
HEAD = """\
# Command line

<!-- Made by `make schemas` from the commands' own help. Change worker/cli/, not this file. -->

`moodstream run`, `config check`, `config show` and `topics create` take every [setting](settings.md) as a
flag, for example `--kafka.bootstrap-servers broker1:9092`. [Exit codes](exit-codes.md) are on a page of
their own.
"""


def cli_page() -> str:
    """Every command's help as one Markdown document, which ends in a line break."""
    from worker.cli.main import cli

    root = click.Context(cli, info_name="moodstream", terminal_width=WIDTH, **cli.context_settings)
    return "\n".join([HEAD, *_sections(root)])


def _sections(context: click.Context) -> Iterator[str]:
    """A section for a command, then one for each command of its group."""
    command, path = context.command, context.command_path
    heading = "###" if path.count(" ") > 1 else "##"
    yield f"{heading} {path}\n\n```text\n{command.get_help(context).strip()}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from _sections(
                    click.Context(
                        below,
                        parent=context,
                        info_name=name,
                        terminal_width=WIDTH,
                        **{**below.context_settings, "max_content_width": WIDTH},
                    )
                )


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.stdout.write(cli_page())
