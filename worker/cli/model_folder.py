"""Models as arguments: a folder, or the name of a pack that ships."""

from pathlib import Path
from typing import Any

import click


class _Model(click.Path):
    """A folder with a pack or checkpoint, or the name of a pack that ships with Moodstream."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from worker.classify.pack import model_folder  # noqa: PLC0415 - loads tokenizers

        return model_folder(Path(str(super().convert(value, param, ctx))))


MODEL = _Model(path_type=Path)
