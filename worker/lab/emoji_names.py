"""Makes the table of emoji names that new packs get: `python -m worker.lab.emoji_names` prints it.

It is `worker/model/text/emoji.json`. The names are Unicode's own and do not change once given, so a table
from a newer Unicode only has more of them. The package `unicodedata2` has a newer Unicode than Python's.
"""

import json
import re
import sys
import unicodedata
from types import ModuleType
from typing import Any

from worker.model.text.emoji import SHORT_NAMES
from worker.model.text.names import FORMAT
from worker.model.text.social_3 import NAMED

MORE_NAMES = {
    "🆒": "cool", "🆓": "free", "🆔": "id", "🆕": "new", "🆖": "not good", "🆗": "ok", "🆘": "sos",
    "🆙": "up", "🆚": "versus", "🆑": "clear", "🆎": "ab", "😮‍💨": "sigh", "😵‍💫": "dizzy",
    "😶‍🌫": "in the clouds", "🙂‍↔": "shaking head", "🙂‍↕": "nodding", "❤‍🔥": "burning love",
    "❤‍🩹": "mending heart", "🏳‍🌈": "rainbow flag", "🏴‍☠": "pirate flag", "🩷": "love", "🩵": "love",
    "🩶": "love", "🫰": "love", "🫵": "you", "🫨": "shaking face",
}  # fmt: skip
"""Short names that version 3 of `social` adds to those of the versions before it; also of joined emoji."""

_NAMED = re.compile(f"[{NAMED}]")
_LAST = 0x1FAFF


def table(data: ModuleType = unicodedata) -> dict[str, Any]:
    """Return the table with the names of a module like `unicodedata`, as the file holds it."""
    names = {}
    for code in range(0x80, _LAST + 1):
        sign = chr(code)
        if _NAMED.match(sign) and (name := data.name(sign, "")):
            names[sign] = name.lower().replace("-", " ")
    names |= SHORT_NAMES | MORE_NAMES
    return {"format": FORMAT, "unicode": data.unidata_version, "names": dict(sorted(names.items()))}


def main() -> None:
    """Print the file."""
    try:
        import unicodedata2 as data  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError:
        data = unicodedata
    json.dump(table(data), sys.stdout, ensure_ascii=False, indent=0)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
