"""The reference of all settings as Markdown, made from the model itself."""

from worker.settings.fields import SettingField, all_names, groups
from worker.settings.load import RESERVED

_HEAD = """\
# Settings

<!-- Made by `moodstream config reference`. Change worker/settings/groups.py, not this file. -->

Every setting has one name and can be written in five places. The first place that has a value wins:

1. a flag of `moodstream run`: `--kafka.bootstrap-servers broker1:9092,broker2:9092`
2. an environment variable: `MOODSTREAM_KAFKA__BOOTSTRAP_SERVERS=broker1:9092,broker2:9092`
3. a TOML file, given with `--config FILE`:

   ```toml
   [kafka]
   bootstrap_servers = ["broker1:9092", "broker2:9092"]
   ```
4. a `.env` file in the current folder, with the same variables; a `$` in a value is an ordinary character
5. the default

A list is written `a,b` or as JSON (`["a", "b"]`) in flags and variables, and as an array in TOML; a table
`a=x,b=y` or as JSON, and as a table in TOML. An empty value means "none" where the default is none. A path
may begin with `~`; a relative one starts at the current folder. A secret can be read from a file: write the
path into the setting with `_file` behind its name, as in `MOODSTREAM_KAFKA__SASL_PLAIN_PASSWORD_FILE`.

`moodstream config show` prints every value and where it came from; `moodstream config check` says what is
wrong. An unknown name is a mistake in every place, and ends the command with exit code 2. In Python,
`Settings.load()` reads the same places.
"""


def reference() -> str:
    """All settings as one Markdown document, which ends in a line break."""
    parts = [_HEAD]
    for name, cls in groups().items():
        fields = [field for field in all_names().values() if field.group == name]
        rows = [_row(field) for field in fields]
        table = [
            "| setting | variable | value | default | meaning |",
            "| --- | --- | --- | --- | --- |",
            *rows,
        ]
        parts.append(f"## {name}\n\n{cls.__doc__}\n\n" + "\n".join(table) + "\n")
    parts.append(_reserved())
    return "\n".join(parts)


def _row(field: SettingField) -> str:
    default = f"`{field.default_text}`" if field.default_text else "none"
    cells = (f"`{field.name}`", f"`{field.variable}`", field.kind, default, field.description)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _reserved() -> str:
    rows = "\n".join(f"- `{name}`: {meaning}" for name, meaning in RESERVED.items())
    return f"""\
## Variables that are not settings

These begin with `MOODSTREAM_` too and are left alone, as are those that Kubernetes adds for a service
called `moodstream…` (`MOODSTREAM_SERVICE_HOST`, `MOODSTREAM_PORT_9464_TCP_ADDR`, …):

{rows}
"""
