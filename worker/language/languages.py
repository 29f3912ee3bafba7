"""Messages to their languages, and to the packs that label them."""

from dataclasses import replace

from worker.language.errors import LanguageUnsupported
from worker.language.identifier import Identifier
from worker.language.route import Route
from worker.settings.groups import LanguageSettings
from worker.settings.languages import UNSUPPORTED
from worker.types import Failure, Message


class Languages:
    """What the settings group `language` asks for.

    Raises:
        LanguageError: it cannot be done: the extra is missing, or a candidate is not known.
    """

    def __init__(self, settings: LanguageSettings) -> None:
        self._route = Route(settings.route)
        self._identify = Identifier(settings.candidates, settings.min_confidence) if settings.detect else None

    @property
    def packs(self) -> tuple[str, ...]:
        """Folders of the packs that messages may go to beside the default one."""
        return self._route.packs

    def named(self, message: Message) -> Message:
        """The message with its language. Its own `lang` goes before what would be detected."""
        if self._identify is None or message.lang is not None:
            return message
        return replace(message, lang=self._identify(message.text))

    def target(self, message: Message) -> str | Failure:
        """The pack for a message that is `named`: `default`, a folder, or a failure where there is none."""
        target = self._route.target(message.lang)
        if target != UNSUPPORTED:
            return target
        kind = LanguageUnsupported
        return Failure(
            stage="classify",
            reason=kind.reason,
            message=f"no pack for the language {message.lang or 'und (not known)'}: language.route says "
            f"`{UNSUPPORTED}`",
            exception=f"{kind.__module__}.{kind.__qualname__}",
        )
