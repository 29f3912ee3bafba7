"""Packs and languages put together: which classifier labels which message, and which encoder writes it."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from worker.messages.encode import Encoder
from worker.model.classifier import Classifier, Listener, Silent
from worker.model.pack import Pack
from worker.settings.groups import Settings
from worker.settings.languages import DEFAULT
from worker.stream.languages import Languages
from worker.types import Failure, Message, Prediction


class Desk(NamedTuple):
    """One pack at work: its classifier, and the encoder whose columns follow from its heads."""

    classifier: Classifier
    encoder: Encoder


class Labelled(NamedTuple):
    """One message, with its language where that is known, what was made of it, and who writes that down."""

    message: Message
    answer: Prediction | Failure
    encoder: Encoder


class Desks:
    """Labels messages, each at the desk of its language; without `languages` all at the default one.

    Args:
        default: the desk for what is not routed elsewhere.
        languages: names languages and routes by them.
        others: the desks that `languages` routes to, by the folders of their packs.
        listener: told how long naming languages took, as stage `language`.
    """

    def __init__(
        self,
        default: Desk,
        languages: Languages | None = None,
        others: Mapping[str, Desk] | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.default = default
        self._desks = {**(others or {}), DEFAULT: default}
        self._languages = languages
        self._listener: Listener = listener or Silent()

    @classmethod
    def load(
        cls,
        settings: Settings,
        *,
        topic: str,
        include_text: bool,
        listener: Listener | None = None,
        on_pack: Callable[[Pack], None] | None = None,
    ) -> Self:
        """Load every pack that the settings name.

        Args:
            settings: groups `model`, `batch` and `language`.
            topic: output topic.
            include_text: write the text itself into the output.
            listener: told what labelling costs.
            on_pack: told of each pack once it is loaded, of the default one first.

        Raises:
            LanguageError: languages cannot be told as the settings ask.
            PackError: a pack is missing or damaged.
        """
        language = settings.language
        # Before the packs, so that a missing extra shows at once.
        languages = Languages(language) if language.detect or language.route else None

        def load(path: Path | None) -> Desk:
            classifier = Classifier.load(
                path, threads=settings.model.threads, batch=settings.batch, listener=listener
            )
            pack = classifier.pack
            if on_pack is not None:
                on_pack(pack)
            encoder = Encoder(
                pack.outputs, model=f"{pack.name}@{pack.revision}", topic=topic, include_text=include_text
            )
            return Desk(classifier, encoder)

        default = load(settings.model.path)
        others = {folder: load(Path(folder)) for folder in (languages.packs if languages else ())}
        return cls(default, languages, others, listener)

    def label(self, messages: Sequence[Message]) -> list[Labelled]:
        """Label messages. Result i belongs to message i; one without a pack gives a `Failure`."""
        named, targets = self._routed(messages)
        texts: dict[str, list[str]] = {}
        for message, target in zip(named, targets, strict=True):
            if not isinstance(target, Failure):
                texts.setdefault(target, []).append(message.text)
        answers = {desk: iter(self._desks[desk].classifier.classify(part)) for desk, part in texts.items()}
        return [
            Labelled(message, target, self.default.encoder)
            if isinstance(target, Failure)
            else Labelled(message, next(answers[target]), self._desks[target].encoder)
            for message, target in zip(named, targets, strict=True)
        ]

    def _routed(self, messages: Sequence[Message]) -> tuple[Sequence[Message], list[str | Failure]]:
        """The messages with their languages, and for each the desk that it goes to."""
        languages = self._languages
        if languages is None:
            return messages, [DEFAULT] * len(messages)
        started = time.perf_counter()
        named = [languages.named(message) for message in messages]
        targets = [languages.target(message) for message in named]
        self._listener.stage("language", time.perf_counter() - started)
        return named, targets
