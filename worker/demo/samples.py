"""The samples: posts and reviews as people write them, a few of them broken, and what to expect of each."""

import base64
import importlib.resources
import json
from dataclasses import dataclass

from worker.errors import SampleError
from worker.types import Headers

LABELLED = "labelled"
TOMBSTONE = "tombstone"
_DEAD_LETTER = "dead_letter:"
_BODIES = ("json", "text", "base64", "deleted")


@dataclass(frozen=True, slots=True)
class Sample:
    """One record to send: raw bytes, as any producer may write them.

    `expected` is `labelled`, `tombstone`, or `dead_letter:` and the reason that the decoder gives.
    """

    id: str
    key: bytes
    value: bytes | None
    headers: Headers
    expected: str

    @property
    def reason(self) -> str | None:
        """The reason expected on its dead letter, None when it should not become one."""
        found = self.expected.removeprefix(_DEAD_LETTER)
        return found if found != self.expected else None


def load_samples() -> list[Sample]:
    """Read the samples of the package, in the order in which they are sent."""
    file = importlib.resources.files("worker.demo") / "samples.jsonl"
    return parse_samples(file.read_text(encoding="utf-8"))


def parse_samples(lines: str) -> list[Sample]:
    """Read samples from JSON lines.

    Each line has an `id`, a `key`, and its value in exactly one of four forms: `json` (an object, sent as
    JSON), `text` (sent as it is), `base64` (bytes that are not UTF-8) or `deleted` (a null value). `headers`
    and `expected` are optional; without `expected` the sample should be labelled.

    Raises:
        SampleError: a line has another form, or an id appears twice.
    """
    samples: list[Sample] = []
    seen: set[str] = set()
    for number, line in enumerate(lines.strip().split("\n"), 1):
        try:
            sample = _sample(json.loads(line))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise SampleError(f"line {number} of the samples: {error!r}") from error
        if sample.id in seen:
            raise SampleError(f"line {number} of the samples: the id {sample.id} appears twice")
        seen.add(sample.id)
        samples.append(sample)
    return samples


def _sample(fields: dict[str, object]) -> Sample:
    unknown = fields.keys() - {"id", "key", "headers", "expected", *_BODIES}
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}")
    bodies = [name for name in _BODIES if name in fields]
    if len(bodies) != 1:
        raise ValueError(f"exactly one of {', '.join(_BODIES)} is needed, not {bodies}")
    headers = fields.get("headers", {})
    if not isinstance(headers, dict):
        raise TypeError("headers is not an object")
    expected = str(fields.get("expected", LABELLED))
    if expected not in (LABELLED, TOMBSTONE) and not expected.startswith(_DEAD_LETTER):
        raise ValueError(f"cannot expect {expected!r}")
    return Sample(
        id=str(fields["id"]),
        key=str(fields["key"]).encode(),
        value=_value(bodies[0], fields[bodies[0]]),
        headers=tuple((name, value.encode()) for name, value in headers.items()),
        expected=expected,
    )


def _value(form: str, body: object) -> bytes | None:
    if form == "deleted":
        return None
    if form == "json":
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    if not isinstance(body, str):
        raise TypeError(f"{form} is not a string")
    return base64.b64decode(body, validate=True) if form == "base64" else body.encode()
