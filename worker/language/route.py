"""Which pack labels which language."""

from collections.abc import Mapping

from worker.settings.languages import ANY, DEFAULT, UNKNOWN, UNSUPPORTED, canonical


class Route:
    """The table of `language.route`.

    A tag is looked up whole, then shorter by its last part, as RFC 4647 looks tags up: `pt-br`, then `pt`;
    then comes `*`, and without that the default pack. A language that is not known is `und`.
    """

    def __init__(self, table: Mapping[str, str]) -> None:
        self._table = dict(table)

    @property
    def packs(self) -> tuple[str, ...]:
        """The folders of the packs that it names, each once."""
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
