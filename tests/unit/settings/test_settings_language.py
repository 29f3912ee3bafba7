"""The group `language`: how it is written, and what is wrong with it in one line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import SettingsError
from worker.settings.fields import render
from worker.settings.languages import canonical, check_language
from worker.settings.load import load_settings
from worker.settings.values import split_table


def loaded(**values: str) -> dict[str, object]:
    flags = {f"language.{name}": value for name, value in values.items()}
    return load_settings(flags, env={}, dotenv=None).settings.language.model_dump()


def complaint(**values: str) -> str:
    with pytest.raises(SettingsError) as caught:
        loaded(**values)
    (line,) = caught.value.lines
    assert "\n" not in line
    return line


def test_it_detects_and_marks_by_default() -> None:
    language = load_settings({}, env={}, dotenv=None).settings.language
    assert (language.detect, language.unsupported) == (True, "mark")
    assert (language.candidates, language.route) == ([], {})


def test_a_route_is_written_in_a_flag_in_json_and_in_toml(tmp_path: Path) -> None:
    pack = tmp_path / "italian"
    pack.mkdir()
    wanted = {"en": "default", "it": str(pack), "*": "unsupported"}
    assert loaded(route=f"EN=default, it={pack},*=unsupported")["route"] == wanted
    assert loaded(route=json.dumps(wanted))["route"] == wanted
    file = tmp_path / "settings.toml"
    file.write_text(f'[language]\nroute = {{ en = "default", it = "{pack}", "*" = "unsupported" }}\n')
    assert load_settings({}, file, env={}, dotenv=None).settings.language.route == wanted
    file.write_text(f'[language.route]\neng = "default"\nit = "{pack}"\n"*" = "unsupported"\n')
    assert load_settings({}, file, env={}, dotenv=None).settings.language.route == wanted
    variable = {"MOODSTREAM_LANGUAGE__ROUTE": f"en=default,it={pack},*=unsupported"}
    assert load_settings({}, env=variable, dotenv=None).settings.language.route == wanted


def test_an_empty_route_is_none() -> None:
    assert loaded(route="")["route"] == {}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"route": "xx=default"}, "'xx' is not a language code"),
        ({"route": "english=default"}, "'english' is not a language code"),
        ({"route": "en=default,en=unsupported"}, "'en' appears twice"),
        ({"route": "en=default,eng=unsupported"}, "'en' appears twice"),
        ({"route": "it=/no/such/pack"}, "'it=/no/such/pack' does not name a folder"),
        ({"route": "it=defualt"}, "'it=defualt' does not name a folder; write `default`, `unsupported`"),
        ({"route": "it"}, "'it' is not name=value"),
        ({"route": "=default"}, "'=default' is not name=value"),
        ({"route": '{"it": '}, "is not a JSON table"),
        ({"route": '{"it": {}}'}, "a table is not text"),
        ({"candidates": "en,qq"}, "'qq' is not a language code"),
        ({"min_confidence": "1.5"}, "1.5' must be at most 1"),
        (
            {"unsupported": "dead-letter"},
            "'dead-letter' is not one of mark, dead_letter; did you mean dead_letter?",
        ),
        (
            {"detect": "true", "candidates": "en,it", "route": "fa=unsupported"},
            "'fa' is not in language.candidates",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_setting_and_place(values: dict[str, str], words: str) -> None:
    line = complaint(**values)
    assert words in line
    name = "route" if "route" in values else next(iter(values))
    assert line.startswith(f"language.{name} (flag --language.{name.replace('_', '-')})")


def test_a_route_that_is_no_table_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[language]\nroute = ["en"]\n')
    with pytest.raises(SettingsError, match="a list is not a table; write a=x,b=y"):
        load_settings({}, file, env={}, dotenv=None)


@pytest.mark.parametrize(
    ("written", "tag"),
    [("EN", "en"), ("eng", "en"), ("pt_BR", "pt-br"), ("ita-IT", "it-it"), ("arz", "arz"), (" fa ", "fa")],
)
def test_codes_have_one_form(written: str, tag: str) -> None:
    assert canonical(written) == check_language(written) == tag


names = st.text(st.characters(blacklist_characters="=,{ ", blacklist_categories=["Z", "C"]), min_size=1)


@given(st.dictionaries(names, names))
def test_what_is_shown_can_be_read_again(table: dict[str, str]) -> None:
    assert split_table(render(table)) == table
