"""The loaded packs, the choice of a pack for each message by its language, and what the pack says of it."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
from worker.settings.languages import DEFAULT, UNKNOWN
from worker.stream.languages import Judged, Languages
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
    """Labels messages, each with the pack of its language, and marks those that the pack does not read.

    Without `languages` the default pack labels all, and none is marked.

    Args:
        default: the pack, or packs, of `model.path`, for what is not routed elsewhere.
        languages: names languages, and judges messages by them.
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
        self._unknown = UNKNOWN if languages is not None and languages.detects else None
        self._reads = {target: loaded.classifier.languages for target, loaded in self._packs.items()}
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
        # Before the packs, so that a missing package shows at once.
        languages = Languages(settings.language)

        def load(paths: Sequence[Path]) -> LoadedPack:
            packs = PackSet.load(
                paths,
                threads=settings.model.threads,
                batch=settings.batch,
                marks=settings.model.marks,
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
        others = {folder: load([Path(folder)]) for folder in languages.packs}
        return cls(default, languages, others, listener)

    @property
    def heads(self) -> list[Sequence[Head]]:
        """The heads whose columns an output may have, for each way that a message can take."""
        return [loaded.classifier.heads for loaded in self._packs.values()]

    def label(self, messages: Sequence[Message]) -> list[LabelledMessage]:
        """Label messages. Result i belongs to message i; one whose language has no pack gives a `Failure`."""
        judged = self._judged(messages)
        results: list[Prediction | Failure | None] = [
            each.target if isinstance(each.target, Failure) else None for each in judged
        ]
        places: dict[str, list[int]] = {}
        for place, (_, target, _) in enumerate(judged):
            if not isinstance(target, Failure):
                places.setdefault(target, []).append(place)
        encoders = [self.default.encoder] * len(judged)
        for target, of_pack in places.items():
            pack = self._packs[target]
            labelled = pack.classifier.classify([judged[place].message.text for place in of_pack])
            for place, result in zip(of_pack, labelled, strict=True):
                results[place], encoders[place] = self._marked(judged[place], result), pack.encoder
        return [
            LabelledMessage(each.message, result, encoder)
            for each, result, encoder in zip(judged, results, encoders, strict=True)
            if result is not None
        ]

    def _judged(self, messages: Sequence[Message]) -> list[Judged]:
        """The messages with their languages, and the target pack of each."""
        if self._languages is None:
            return [Judged(message, DEFAULT) for message in messages]
        started = time.perf_counter()
        judged = self._languages.judge(messages, self._reads)
        self._listener.stage("language", time.perf_counter() - started)
        return judged

    def _marked(self, judged: Judged, result: Prediction | Failure) -> Prediction | Failure:
        """The result with the language of its message, and whether the pack reads that."""
        if isinstance(result, Failure):
            return result
        return replace(result, lang=judged.message.lang or self._unknown, supported=judged.supported)
