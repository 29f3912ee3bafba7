"""`moodstream demo`."""

import click


@click.command()
@click.option(
    "--once", is_flag=True, help="Send every sample once, wait for all answers, and end. No terminal."
)
def demo(once: bool) -> int:
    """Watch it work: an embedded broker, a worker of its own, sample posts and a live view.

    Nothing is needed but the extra: pip install 'moodstream[demo]'. Ctrl-C drains and ends with a summary.
    With --once the exit code is 0 only if every sample came back exactly once.
    """
    try:
        import noida_db  # noqa: F401, PLC0415 - an extra: ask before anything is started
    except ModuleNotFoundError:
        raise click.ClickException("the demo needs: pip install 'moodstream[demo]'") from None
    from worker.demo import main  # noqa: PLC0415 - loads the Kafka client

    return main(once=once)
