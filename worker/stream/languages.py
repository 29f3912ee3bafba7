"""The language of a message, the pack that labels it, and whether that pack reads its language."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from worker.errors import LanguageUnsupported
from worker.model.identifier import Guess, Identifier
from worker.model.several import NONE_SHARED
from worker.settings.groups import LanguageSettings
from worker.settings.languages import ANY, DEFAULT, UNKNOWN, UNSUPPORTED, canonical, primary
from worker.types import Failure, Message

Reads = Mapping[str, Collection[str] | None]
"""For each target of a route the languages that its pack reads; None if it does not say, and so reads all."""


class Route:
    """The table of `language.route`.

    A tag is looked up whole, then without its last part, as in RFC 4647: `pt-br`, then `pt`; then comes `*`,
    and without that the default pack. An unknown language is `und`.
    """

    def __init__(self, table: Mapping[str, str]) -> None:
        self._table = dict(table)

    @property
    def packs(self) -> tuple[str, ...]:
        """The folders of the packs in the table, each once."""
        targets = dict.fromkeys(self._table.values())
        return tuple(target for target in targets if target not in {DEFAULT, UNSUPPORTED})

    @property
    def languages(self) -> frozenset[str]:
        """The languages that the table sends to a pack by their names."""
        return frozenset(
            primary(tag)
            for tag, target in self._table.items()
            if tag not in {ANY, UNKNOWN} and target != UNSUPPORTED
        )

    def target(self, language: str | None) -> str:
        """`default`, `unsupported`, or the folder of a pack."""
        tag = UNKNOWN if language is None else canonical(language)
        while tag:
            if tag in self._table:
                return self._table[tag]
            tag = tag.rpartition("-")[0]
        return self._table.get(ANY, DEFAULT)


class Judged(NamedTuple):
    """A message with its language, and what follows from that.

    Fields:
        message: the message; its `lang` is its own, else the one that was detected, None if it is not known.
        target: the pack for it: `default`, a folder, or a failure if there is none.
        supported: False if its language is known to be none that this pack reads.
    """

    message: Message
    target: str | Failure
    supported: bool = True


class Languages:
    """Names the languages of messages and judges them, as the settings group `language` says.

    Raises:
        LanguageError: the identifier is missing, or does not know a candidate.
    """

    def __init__(self, settings: LanguageSettings) -> None:
        self._route = Route(settings.route)
        self._refuses = settings.unsupported == "dead_letter"
        self._identify = Identifier(settings.candidates, settings.min_confidence) if settings.detect else None

    @property
    def packs(self) -> tuple[str, ...]:
        """Folders of the packs that messages may go to besides the default one."""
        return self._route.packs

    @property
    def detects(self) -> bool:
        """Whether the language of a message that does not say it is looked for."""
        return self._identify is not None

    def judge(self, messages: Sequence[Message], reads: Reads) -> list[Judged]:
        """Judge messages. Result i belongs to message i.

        Args:
            messages: a window of messages. What a message says of its language goes before detection.
            reads: what the packs read, one entry for `default` and one for each of `packs`.
        """
        known = self._known(reads)
        guesses = iter(self._guesses([each.text for each in messages if each.lang is None], known))
        return [
            self._judged(each, next(guesses) if each.lang is None else None, known, reads)
            for each in messages
        ]

    def _known(self, reads: Reads) -> frozenset[str] | None:
        """The languages that messages are expected in; None if the default pack reads every language."""
        if reads.get(DEFAULT) is None:
            return None
        said = (code for codes in reads.values() for code in codes or ())
        return self._route.languages.union(said)

    def _guesses(self, texts: Sequence[str], known: Collection[str] | None) -> list[Guess]:
        return [Guess(None)] * len(texts) if self._identify is None else self._identify(texts, known)

    def _judged(
        self, message: Message, guess: Guess | None, known: Collection[str] | None, reads: Reads
    ) -> Judged:
        if guess is not None and guess.language is not None:
            message = replace(message, lang=guess.language)
        language = None if message.lang is None else primary(message.lang)
        target = self._route.target(message.lang)
        if target == UNSUPPORTED:
            return Judged(message, _unsupported(language, f"language.route says `{UNSUPPORTED}`"))
        read = reads.get(target)
        if read is None:
            return Judged(message, target)
        if guess is None:
            supported = language in read
        else:
            # A guess that is not sure marks nothing, nor does one among languages that nobody reads.
            supported = not guess.foreign and (language not in (known or ()) or language in read)
        if not supported and self._refuses:
            only = f"the pack reads {', '.join(sorted(read))}" if read else NONE_SHARED
            why = f"{only}; language.unsupported says `dead_letter`"
            return Judged(message, _unsupported(language, why))
        return Judged(message, target, supported)


def _unsupported(language: str | None, reason: str) -> Failure:
    # Only the language itself: the rest of the tag is arbitrary text from the sender.
    error = LanguageUnsupported(f"no pack for the language {language or 'und (not known)'}: {reason}")
    return Failure.of("classify", error.reason, error)
