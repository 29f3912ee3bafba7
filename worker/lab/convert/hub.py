"""A checkpoint by its name on the Hugging Face hub (extra `hub`)."""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.errors import CheckpointError
from worker.lab.convert.tokenizer_files import ADDED, SETTINGS, VOCABULARY
from worker.lab.convert.weights import FILE, INDEX, PICKLES
from worker.model.pack import CONFIG, TOKENIZER
from worker.model.text.names import EMOJI
from worker.settings.base import WrongValue
from worker.settings.languages import check_language

FILES = (
    CONFIG,
    FILE,
    INDEX,
    "model-*-of-*.safetensors",
    TOKENIZER,
    SETTINGS,
    VOCABULARY,
    ADDED,
    EMOJI,
    "README.md",
)
"""The files that are fetched. Never a pickle."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PAGE = "README.md"
_LICENCE = re.compile(r"^license:\s*['\"]?([\w.+-]+)", re.MULTILINE)
_LANGUAGES = re.compile(r"^language:[ \t]*(\[[^\]]*\]|[^\n]+|(?:\n[ \t]*- [^\n]*)+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class HubCheckpoint:
    """A fetched checkpoint: its folder in the hub's cache, and where it came from."""

    folder: Path
    name: str
    revision: str

    @property
    def origin(self) -> str:
        """The origin for the card: name, revision, and the licence stated on its page."""
        licence = "no licence"
        if (found := _LICENCE.search(_metadata(self.folder))) is not None:
            licence = f"the licence {found[1]}"
        return f"`{self.name}` on the Hugging Face hub, revision {self.revision}, whose page states {licence}"


def page_languages(folder: Path) -> tuple[str, ...]:
    """Return the languages that a model's page states in its metadata; none if one of them is no code.

    `multilingual` is none, and a page that says so does not say which languages the model reads.
    """
    found = _LANGUAGES.search(_metadata(folder))
    if found is None:
        return ()
    try:
        return tuple(check_language(code) for code in re.findall(r"[\w-]*\w", re.sub(r"#.*", "", found[1])))
    except WrongValue:
        return ()


def _metadata(folder: Path) -> str:
    """Return the metadata of a model's page; nothing if it has none."""
    with suppress(OSError, UnicodeDecodeError):
        page = (folder / _PAGE).read_text(encoding="utf-8").removeprefix("\ufeff")
        return page.split("\n---", 1)[0] if page.startswith("---") else ""
    return ""


def is_hub_name(text: str) -> bool:
    """Whether a text has the form of a name on the hub: `owner/name`."""
    return _NAME.fullmatch(text) is not None


def fetch(name: str, revision: str | None = None, endpoint: str | None = None) -> HubCheckpoint:
    """Fetch a checkpoint, or take it from the cache if the hub cannot be reached.

    Args:
        name: `owner/name`.
        revision: branch, tag or commit; the main branch when None.
        endpoint: address of the hub; the library's own (`HF_ENDPOINT`) when None.

    Raises:
        CheckpointError: the extra is missing, the model does not exist or cannot be reached, or it has no
            weights in a supported format.
    """
    library = _library()
    try:
        folder = library.snapshot_download(
            name, revision=revision, allow_patterns=list(FILES), endpoint=endpoint
        )
    except Exception as error:
        # Its own errors, those of its HTTP client (which changes with its version), and OSError.
        raise CheckpointError(
            f"{name} is neither a folder nor a model that could be fetched from the Hugging Face hub: "
            f"{_reason(error)}"
        ) from error
    checkpoint = HubCheckpoint(Path(folder), name, Path(folder).name)
    if not any((checkpoint.folder / file).is_file() for file in (FILE, INDEX)):
        raise CheckpointError(
            f"{name} has no {FILE}{_pickle_hint(library, name, checkpoint.revision, endpoint)}"
        )
    return checkpoint


def _library() -> Any:
    try:
        import huggingface_hub  # noqa: PLC0415 - of an extra
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise CheckpointError("importing by hub name needs: pip install 'moodstream[hub]'") from None
    return huggingface_hub


def _pickle_hint(library: Any, name: str, revision: str, endpoint: str | None) -> str:
    """Return a hint if the weights exist only as a pickle; empty if the hub cannot be asked."""
    with suppress(Exception):
        files = set(library.HfApi(endpoint=endpoint).list_repo_files(name, revision=revision))
        pickle = next((file for file in PICKLES if file in files), None)
        if pickle is not None:
            return (
                f": {pickle} is a pickle, which can run any code and is not read; "
                "its owner can add safetensors"
            )
    return ""


def _reason(error: Exception) -> str:
    """Return the first line of the error, without the library's advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
