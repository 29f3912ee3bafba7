"""Every code block of the README, CONTRIBUTING and docs/ works: it runs, or everything it names exists.

`console` blocks run, and the output they show must be the output they give (`…` stands for anything). `sh`
blocks do not run, since they need a broker, torch or a download, but their commands, flags, extras and make
targets must exist. `python` blocks run; `py` blocks are only parsed here, since they need a broker too. All
that docs/how-to/readers.md shows is run by tests/kafka/test_readers.py. `toml`, `json` and `yaml` blocks are
read, as settings or as a recipe where they are one. Sybil finds the blocks. Those of one page run in order
and in one folder.
"""

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser

from worker.cli.main import cli
from worker.lab.recipe import load_recipe
from worker.settings.load import load_settings

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def run_python(source: str, names: dict[str, Any]) -> None:
    exec(compile(source, "<docs>", "exec"), names)


def read_python(source: str, _names: dict[str, Any]) -> None:
    compile(source, "<docs>", "exec")


def run_console(source: str, names: dict[str, Any]) -> None:
    for part in re.split(r"^\$ ", source, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        script = f'moodstream() {{ "{sys.executable}" -m worker "$@"; }}\n{names.get("exports", "")}{command}'
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["bash", "-c", script], check=False, capture_output=True, text=True, env=environment
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"$ {command}\n{output}"
        for line in filter(None, shown.splitlines()):
            assert re.search(".*".join(map(re.escape, line.split("…"))), output), (
                f"{line!r} not in {output!r}"
            )
        if command.startswith("export "):
            names["exports"] = names.get("exports", "") + command + "\n"


def check_shell(source: str, _names: dict[str, Any] | None = None) -> None:
    for line in source.replace("\\\n", " ").splitlines():
        for command in re.split(r"\s\|\s|&&|;", re.sub(r"\s[<>]+\s*\S+", "", line)):
            words = shlex.split(command, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words and words[0] in _CHECKS:
                _CHECKS[words[0]](words[1:])


def _check_moodstream(words: list[str]) -> None:
    context = click.Context(cli, info_name="moodstream", **cli.context_settings)
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
        context = click.Context(command, parent=context, info_name=command.name)
    parser: Any = command.make_parser(context)  # click leaves its methods untyped
    values, rest, _ = parser.parse_args(list(words))
    assert not rest, f"too many arguments: {rest}"
    for parameter in command.params:
        value = values.get(parameter.name)
        kind: Any = parameter.type
        if isinstance(value, str) and isinstance(kind, click.Choice | click.IntRange | click.FloatRange):
            kind(value, parameter, context)
    settings = {name.replace("__", "."): value for name, value in values.items() if "__" in name}
    load_settings({name: value for name, value in settings.items() if isinstance(value, str)}, None)


def _check_pip(words: list[str]) -> None:
    for extras in re.findall(r"(?:^| )(?:moodstream|[.])\[([a-z,]+)\]", " ".join(words)):
        unknown = set(extras.split(",")) - set(PROJECT["optional-dependencies"])
        assert not unknown, f"no such extra: {unknown}"


def _check_make(words: list[str]) -> None:
    unknown = {word for word in words if "=" not in word} - MAKE_TARGETS
    assert not unknown, f"no such target: {unknown}"


_CHECKS: dict[str, Callable[[list[str]], None]] = {
    "moodstream": _check_moodstream,
    "pip": _check_pip,
    "make": _check_make,
}


def read_toml(source: str, _names: dict[str, Any]) -> None:
    for name in re.findall(r'"/([\w./-]+)"', source):  # certificates and packs that a page takes for granted
        place = Path.cwd() / name
        (place.parent if place.suffix else place).mkdir(parents=True, exist_ok=True)
        if place.suffix:
            place.touch()
    file = Path("block.toml")
    file.write_text(re.sub(r'"/(?=[\w])', f'"{Path.cwd()}/', source), encoding="utf-8")
    if "tasks" in tomllib.loads(source):
        load_recipe(file)
    else:
        # The one setting that a page asks for as a variable.
        secret = {"kafka.sasl_plain_password": "secret"} if "sasl_mechanism" in source else {}
        load_settings(secret, file)


def read_json(source: str, _names: dict[str, Any]) -> None:
    json.loads(source)


def read_yaml(source: str, _names: dict[str, Any]) -> None:
    yaml.safe_load(source)


def passed_over(_source: str, _names: dict[str, Any]) -> None:
    """Pictures and what other programs read."""


LANGUAGES: dict[str, Callable[[str, dict[str, Any]], None]] = {
    "python": run_python,
    "py": read_python,
    "console": run_console,
    "sh": check_shell,
    "toml": read_toml,
    "json": read_json,
    "yaml": read_yaml,
    "text": passed_over,
    "sql": passed_over,
}


def _evaluate(work: Callable[[str, dict[str, Any]], None], example: Example) -> None:
    try:
        work(str(example.parsed), example.namespace)
    except Exception as error:
        place = f"{Path(example.path).relative_to(ROOT)}:{example.line}"
        raise AssertionError(f"{place}: {type(error).__name__}: {error}") from error


PARSERS = [CodeBlockParser(name, functools.partial(_evaluate, work)) for name, work in LANGUAGES.items()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_blocks_of_a_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "examples" / "protest-news.csv", tmp_path)
    text = page.read_text(encoding="utf-8")
    examples = list(Document.parse(str(page), *PARSERS).examples())
    fences = re.findall(r"^ *```", text, flags=re.MULTILINE)
    assert len(fences) == 2 * len(examples), f"a block's language is not one of {sorted(LANGUAGES)}"
    for example in examples:
        example.evaluate()


@pytest.mark.parametrize(
    "wrong",
    [
        "moodstream lable posts.txt",
        "moodstream label --no-such-flag posts.txt",
        "moodstream run --sink.topics moods",
        "moodstream run --delivery.guarantee twice",
        "moodstream completion bash fish",
        "A=1 moodstream topics make | cat",
        "make demos",
        "pip install 'moodstream[trains]'",
    ],
)
def test_what_does_not_exist_is_found(wrong: str) -> None:
    with pytest.raises((click.UsageError, AssertionError, ValueError)):
        check_shell(wrong)


def test_a_console_block_with_another_output_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_console("$ echo one two\none …\n", {})
    with pytest.raises(AssertionError):
        run_console("$ echo one two\nthree\n", {})


def test_every_path_of_the_code_that_a_page_names_exists() -> None:
    missing: list[str] = []
    for page in PAGES:
        named = set(
            re.findall(r"`((?:worker|tests|benchmarks|deploy|schemas)/[\w./-]*)`", page.read_text("utf-8"))
        )
        missing += [
            f"{page.relative_to(ROOT)}: {path}" for path in sorted(named) if not (ROOT / path).exists()
        ]
    assert not missing
