"""The language room: what language a text is in, and which pack is to label it. Knows no Kafka."""

from worker.language.errors import LanguageError, LanguageUnsupported
from worker.language.languages import Languages

__all__ = ["LanguageError", "LanguageUnsupported", "Languages"]
