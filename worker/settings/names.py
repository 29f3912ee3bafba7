"""Which names are settings, which near misses, and which variables are none of our business."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from worker.settings.fields import DELIMITER, PREFIX, SettingField, all_fields, groups

RESERVED: dict[str, str] = {
    "MOODSTREAM_DATA": "folder of the training data, for `make pack`",
    "MOODSTREAM_KAFKA_LIBS": "folder of the Apache Kafka that the tests start",
    "MOODSTREAM_REQUIRE_KAFKA": "a test run without a real Apache Kafka fails instead of skipping",
}
"""Variables with our prefix that are no settings, and what they are."""

# Kubernetes and old Docker links put these beside a service or container called `moodstream…`.
_SERVICE_LINK = re.compile(
    r"(?:[A-Z0-9]+_)*(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_[A-Z]+(?:_(?:PROTO|PORT|ADDR))?)?)"
)


def is_foreign(variable: str, value: str) -> bool:
    """Whether a variable with our prefix is none of our settings, and rightly so."""
    name = variable.upper()
    if name in RESERVED:
        return True
    rest = name.removeprefix(PREFIX)
    if DELIMITER in rest or _SERVICE_LINK.fullmatch(rest) is None:
        return False
    # MOODSTREAM_PORT=9464 is a slip of a person; Kubernetes would write tcp://10.0.0.7:9464.
    return not rest.endswith("PORT") or "SERVICE_PORT" in rest or "://" in value or "_TCP" in rest


def from_variable(variable: str) -> str:
    """The dotted name that a variable means, whether or not it is a setting."""
    return variable.upper().removeprefix(PREFIX).replace(DELIMITER, ".").lower()


def from_flag(flag: str) -> str:
    """The dotted name that a flag means: `--kafka.client-id`, with or without the dashes in front."""
    return flag.lstrip("-").replace("-", "_")


def nearest(name: str) -> SettingField | None:
    """The setting that a wrong dotted name most probably means; None when nothing is near."""
    wanted = name.lower().replace("-", "_")
    scored = [(_likeness(wanted, field), field.name) for field in all_fields().values()]
    score, best = max(scored)
    return all_fields()[best] if score >= 0.6 else None


def _likeness(wanted: str, field: SettingField) -> float:
    """From 0 to 1. The last part alone counts too: people forget the group, or take the wrong one."""
    plain = re.sub(r"[._]+", "_", wanted)
    whole = _ratio(plain, f"{field.group}_{field.leaf}")
    leaf = _ratio(wanted.rsplit(".", 1)[-1], field.leaf)
    return max(whole, 0.95 * leaf)


def _ratio(left: str, right: str) -> float:
    return SequenceMatcher(a=left, b=right, autojunk=False).ratio()


def nearest_of(word: str, choices: Sequence[str]) -> str | None:
    """The choice that a wrong word most probably means; None when nothing is near."""
    wanted = word.lower()
    # A beginning is a better guess than mere likeness: «SASL» is nearer to SASL_SSL than to SSL.
    starts = [choice for choice in choices if len(wanted) > 1 and choice.lower().startswith(wanted)]
    scored = [(_ratio(wanted, choice.lower()), choice) for choice in starts or choices]
    score, best = max(scored, default=(0.0, ""))
    return best if starts or score >= 0.6 else None


def group_hint(name: str) -> str | None:
    """One line when a dotted name is a whole group instead of a setting."""
    if name not in groups():
        return None
    leaf = next(iter(groups()[name].model_fields))
    return f"is a group of settings; set one of them, as in {name}.{leaf}"
