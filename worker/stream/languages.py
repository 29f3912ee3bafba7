"""The language of a message, and the pack that labels it.

py3langid (extra `lang`) detects languages. It is langid.py (Lui and Baldwin 2012, "langid.py: An
Off-the-shelf Language Identification Tool", ACL), retrained: naive Bayes over byte n-grams. Its model is
part of the package, so nothing is fetched. docs/explanation/language-identifier.md says why it was chosen.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from worker.errors import LanguageError, LanguageUnsupported
from worker.settings.groups import LanguageSettings
from worker.settings.languages import ANY, DEFAULT, UNKNOWN, UNSUPPORTED, canonical
from worker.types import Failure, Message

CHARACTERS = 240
"""How much of a text is examined. More does not improve the result; each takes about half a microsecond."""

_NO_LANGUAGE = "zxx"
"""What the identifier calls text without words (ISO 639-2's own code)."""

_NO_WORDS = re.compile(r"https?://\S+|www\.\S+|[@#]\w+")
"""Links, mentions and hashtags belong to no language; in a short post they would decide the answer."""


class Identifier:
    """Names the language of texts. One caller at a time.

    Args:
        candidates: languages to choose among; if empty, all that the model knows.
        min_confidence: probability from 0 to 1 below which no language is named.

    Raises:
        LanguageError: the extra is not installed, or the model does not know a candidate.
    """

    def __init__(self, candidates: Sequence[str] = (), min_confidence: float = 0.5) -> None:
        self._model = _load()
        self._min_confidence = min_confidence
        if not candidates:
            return
        # The model uses three-letter codes for a few languages that have a two-letter one.
        known = {canonical(label): label for label in self._model.labels if label != _NO_LANGUAGE}
        if unknown := [code for code in candidates if code not in known]:
            raise LanguageError(
                f"language.candidates: the identifier does not know {', '.join(unknown)}; "
                f"it knows {', '.join(sorted(known))}"
            )
        # "No language" stays a choice, or text without words would be given one of the languages.
        self._model.set_languages([*(known[code] for code in candidates), _NO_LANGUAGE])

    def __call__(self, text: str) -> str | None:
        """Return the language's ISO 639 code, or None if the model is not sure enough. Never raises."""
        words = " ".join(_NO_WORDS.sub(" ", text[: 4 * CHARACTERS]).split())[:CHARACTERS]
        if not any(letter.isalpha() for letter in words):
            return None
        label, confidence = self._model.classify(words)
        return canonical(label) if confidence >= self._min_confidence and label != _NO_LANGUAGE else None


def _load() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "py3langid":
            raise
        raise LanguageError("language.detect needs: pip install 'moodstream[lang]'") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


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

    def target(self, language: str | None) -> str:
        """`default`, `unsupported`, or the folder of a pack."""
        tag = UNKNOWN if language is None else canonical(language)
        while tag:
            if tag in self._table:
                return self._table[tag]
            tag = tag.rpartition("-")[0]
        return self._table.get(ANY, DEFAULT)


class Languages:
    """Names the languages of messages and routes by them, as the settings group `language` says.

    Raises:
        LanguageError: the extra is missing, or the identifier does not know a candidate.
    """

    def __init__(self, settings: LanguageSettings) -> None:
        self._route = Route(settings.route)
        self._identify = Identifier(settings.candidates, settings.min_confidence) if settings.detect else None

    @property
    def packs(self) -> tuple[str, ...]:
        """Folders of the packs that messages may go to besides the default one."""
        return self._route.packs

    def named(self, message: Message) -> Message:
        """The message with its language. Its own `lang` takes precedence over detection."""
        if self._identify is None or message.lang is not None:
            return message
        return replace(message, lang=self._identify(message.text))

    def target(self, message: Message) -> str | Failure:
        """The pack for a message from `named`: `default`, a folder, or a failure if there is none."""
        target = self._route.target(message.lang)
        if target != UNSUPPORTED:
            return target
        # Only the language itself: the rest of the tag is arbitrary text from the sender.
        language = "und (not known)" if message.lang is None else canonical(message.lang).partition("-")[0]
        error = LanguageUnsupported(
            f"no pack for the language {language}: language.route says `{UNSUPPORTED}`"
        )
        return Failure.of("classify", error.reason, error)
