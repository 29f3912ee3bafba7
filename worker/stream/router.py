"""The loaded packs, and the choice of a pack for each message by its language."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from worker.heads import Head
from worker.messages.columns import Layout
from worker.messages.encode import OutputEncoder
from worker.messages.output_formats import OutputFormat
from worker.model.classifier import Listener, Silent
from worker.model.pack import Pack
from worker.model.several import PackSet
from worker.settings.groups import Settings
from worker.settings.languages import DEFAULT
from worker.stream.languages import Languages
from worker.types import Failure, Message, Prediction


class LoadedPack(NamedTuple):
    """One pack, or several that label the same messages, and the encoder whose columns follow from them."""

    classifier: PackSet
    encoder: OutputEncoder


class LabelledMessage(NamedTuple):
    """A message with its language if known, the model's result for it, and the pack's encoder."""

    message: Message
    answer: Prediction | Failure
    encoder: OutputEncoder


class PackRouter:
    """Labels messages, each with the pack of its language; without `languages` all with the default pack.

    Args:
        default: the pack, or packs, of `model.path`, for what is not routed elsewhere.
        languages: names languages and routes by them.
        others: the packs that `languages` routes to, by their folders.
        listener: called with the time that naming languages took, as stage `language`.
    """

    def __init__(
        self,
        default: LoadedPack,
        languages: Languages | None = None,
        others: Mapping[str, LoadedPack] | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.default = default
        self._packs = {**(others or {}), DEFAULT: default}
        self._languages = languages
        self._listener: Listener = listener or Silent()

    @classmethod
    def load(
        cls,
        settings: Settings,
        *,
        topic: str,
        include_text: bool,
        output_format: OutputFormat | None = None,
        listener: Listener | None = None,
        on_pack: Callable[[Pack], None] | None = None,
        warn: Callable[[str], None] = warnings.warn,
    ) -> Self:
        """Load every pack that the settings name.

        Args:
            settings: groups `model`, `batch` and `language`, and the columns of `sink`.
            topic: output topic.
            include_text: write the text itself into the output.
            output_format: how outputs are written; as JSON when None.
            listener: called with what labelling costs.
            on_pack: called with each pack once it is loaded, those of `model.path` first.
            warn: called with a line about what may go wrong, such as too little memory.

        Raises:
            LanguageError: languages cannot be identified as the settings require.
            PackError: a pack is missing or damaged.
            SettingsError: `sink.keep` takes the name of a column of a pack.
        """
        layout = Layout.of(settings.sink)
        language = settings.language
        # Before the packs, so that a missing extra shows at once.
        languages = Languages(language) if language.detect or language.route else None

        def load(paths: Sequence[Path]) -> LoadedPack:
            packs = PackSet.load(
                paths,
                threads=settings.model.threads,
                batch=settings.batch,
                listener=listener,
                long_text=settings.model.long_text,
                warn=warn,
            )
            if on_pack is not None:
                for pack in packs.packs:
                    on_pack(pack)
            encoder = OutputEncoder(
                packs.heads,
                model=packs.model,
                topic=topic,
                include_text=include_text,
                layout=layout,
                output_format=output_format,
            )
            return LoadedPack(packs, encoder)

        default = load(settings.model.path)
        others = {folder: load([Path(folder)]) for folder in (languages.packs if languages else ())}
        return cls(default, languages, others, listener)

    @property
    def heads(self) -> list[Sequence[Head]]:
        """The heads whose columns an output may have, for each way that a message can take."""
        return [loaded.classifier.heads for loaded in self._packs.values()]

    def label(self, messages: Sequence[Message]) -> list[LabelledMessage]:
        """Label messages. Result i belongs to message i; one whose language has no pack gives a `Failure`."""
        named, targets = self._routed(messages)
        results: list[Prediction | Failure | None] = [
            target if isinstance(target, Failure) else None for target in targets
        ]
        places: dict[str, list[int]] = {}
        for place, target in enumerate(targets):
            if not isinstance(target, Failure):
                places.setdefault(target, []).append(place)
        encoders = [self.default.encoder] * len(named)
        for target, of_pack in places.items():
            pack = self._packs[target]
            labelled = pack.classifier.classify([named[place].text for place in of_pack])
            for place, result in zip(of_pack, labelled, strict=True):
                results[place], encoders[place] = result, pack.encoder
        return [
            LabelledMessage(message, result, encoder)
            for message, result, encoder in zip(named, results, encoders, strict=True)
            if result is not None
        ]

    def _routed(self, messages: Sequence[Message]) -> tuple[Sequence[Message], list[str | Failure]]:
        """The messages with their languages, and the target pack of each."""
        languages = self._languages
        if languages is None:
            return messages, [DEFAULT] * len(messages)
        started = time.perf_counter()
        named = [languages.named(message) for message in messages]
        targets = [languages.target(message) for message in named]
        self._listener.stage("language", time.perf_counter() - started)
        return named, targets
