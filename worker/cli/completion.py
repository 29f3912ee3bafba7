"""`moodstream completion`."""

import click
from click.shell_completion import get_completion_class

from worker.cli.main import cli


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes moodstream's commands and flags in a shell.

    \b
      bash   moodstream completion bash >> ~/.bash_completion
      zsh    moodstream completion zsh > "${fpath[1]}/_moodstream"
      fish   moodstream completion fish > ~/.config/fish/completions/moodstream.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, shell  # noqa: S101 - click has all three; the choice above allows no other
    click.echo(kind(cli, {}, "moodstream", "_MOODSTREAM_COMPLETE").source())
