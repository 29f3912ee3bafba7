"""Any text in flags, variables, `.env` and TOML is a valid setting or a readable line, never a traceback.

    python tests/fuzz/settings.py 10000

A password goes with each configuration, also into places where it does not belong. No line may show it.
"""

import sys
import tempfile
import tomllib
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.cli.config import as_toml
from worker.errors import SettingsError
from worker.settings.fields import all_names
from worker.settings.load import load_settings

SECRET = "hunter2-Zx9"

_LOGIN = {
    "MOODSTREAM_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
    "MOODSTREAM_KAFKA__SASL_MECHANISM": "PLAIN",
    "MOODSTREAM_KAFKA__SASL_PLAIN_USERNAME": "user",
}
_NAMES = sorted(all_names())
_HOSTILE = st.sampled_from(
    [
        "",
        "~nouser/x",
        "a" * 5_000,
        "1" * 5_000,
        "[" * 2_000 + "]" * 2_000,
        '{"a":' * 2_000 + "}" * 2_000,
        "nan",
        "-1",
        "0x10",
        "\x00",
        "\ud800",
        "\N{BOM}x",
        "a\nb",
        "\x1b[31m",
        "${HOME}",
        "a=b,a=b",
        "*",
        "/",
        "true",
        "SASL_SSL",
        "OAUTHBEARER",
        "AWS_MSK_IAM",
        "PLAIN",
        SECRET,
        f"user:{SECRET}@host:9092",
        f"https://user:{SECRET}@host/",
        f"a,{SECRET},b",
        f"x={SECRET}",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
    ]
)
_TEXTS = st.one_of(st.text(max_size=40), _HOSTILE, st.integers().map(str), st.floats().map(str))
_KEYS = st.one_of(st.sampled_from(_NAMES), st.text(max_size=20))
_VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20), _HOSTILE),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def _variable(name: str) -> str:
    field = all_names().get(name)
    return field.variable if field else f"MOODSTREAM_{name}"


def _toml(table: dict[str, object]) -> str:
    """Dotted names as a TOML document; what TOML cannot write is written all the same, and is a mistake."""
    lines = []
    for name, value in table.items():
        group, _, leaf = name.partition(".")
        key = f"{group}.{leaf}" if name in all_names() else _quoted(name)
        lines.append(f"{key} = {_literal(value)}")
    return "\n".join(lines)


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(name)} = {_literal(item)}" for name, item in value.items()) + "}"
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(sign):08x}" if not sign.isalnum() else sign for sign in text) + '"'


@given(
    flags=st.dictionaries(_KEYS, _TEXTS, max_size=3),
    env=st.dictionaries(_KEYS.map(_variable), _TEXTS, max_size=3),
    toml=st.one_of(st.dictionaries(_KEYS, _VALUES, max_size=3).map(_toml), st.text(max_size=60)),
    dotenv=st.one_of(
        st.dictionaries(_KEYS.map(_variable), _TEXTS, max_size=2).map(
            lambda table: "\n".join(f"{name}={value}" for name, value in table.items())
        ),
        st.text(max_size=60),
    ),
    with_secret=st.booleans(),
)
def check(flags: dict[str, str], env: dict[str, str], toml: str, dotenv: str, *, with_secret: bool) -> None:
    """Load one configuration, and look at what comes out."""
    if with_secret:
        env = {**_LOGIN, **env, "MOODSTREAM_KAFKA__SASL_PLAIN_PASSWORD": SECRET}
    with tempfile.TemporaryDirectory() as name:
        config, variables = Path(name) / "worker.toml", Path(name) / ".env"
        config.write_bytes(toml.encode("utf-8", "surrogatepass"))
        variables.write_bytes(dotenv.encode("utf-8", "surrogatepass"))
        try:
            told = as_toml(load_settings(flags, config, env, variables))
        except SettingsError as error:
            lines, told = error.lines, "\n".join(error.lines)
        else:
            lines = tuple(told.splitlines())
            tomllib.loads(told)
    assert lines
    # A mistake in an expression takes three lines: the last one has a caret under the place.
    assert all(part.isprintable() for line in lines for part in line.split("\n")), lines
    if with_secret:
        assert SECRET not in told


def main(count: int) -> int:
    """Run `count` configurations. Returns how many; raises what was found."""
    settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))(
        check
    )()
    return count


if __name__ == "__main__":
    print(f"{main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)} configurations")
