"""Recipes that name tables, recipes from flags, and writing recipes as text."""

from pathlib import Path

import pytest

from worker.errors import RecipeError
from worker.lab.data.table import passes
from worker.lab.recipe import (
    BASE,
    HeadLayers,
    Optimiser,
    OwnLayers,
    Recipe,
    Run,
    Task,
    load_recipe,
    recipe_of_table,
    recipe_text,
)

HEAD = 'name = "x"\nbase = "b"\n'
BRANCH = '[[depths]]\nhead = "toxic_spans"\nlayers = [2, 3]\n'
TABLE = '[[tasks]]\nfile = "mine.csv"\n'


def _load(tmp_path: Path, text: str) -> Recipe:
    (tmp_path / "mine.csv").write_text("text,label\na,b\n", encoding="utf-8")
    (tmp_path / "recipe.toml").write_text(HEAD + text, encoding="utf-8")
    return load_recipe(tmp_path / "recipe.toml")


def test_two_tables_of_one_name_are_refused_unless_they_train_two_heads(tmp_path: Path) -> None:
    for year in ("2023", "2024"):
        (tmp_path / year).mkdir()
        (tmp_path / year / "mine.csv").write_text("text,label\na,b\n", encoding="utf-8")
    one, other = ('[[tasks]]\nfile = "2023/mine.csv"\n', '[[tasks]]\nfile = "2024/mine.csv"\n')
    with pytest.raises(RecipeError, match=r"tasks\[0\]\.file: two tables are called mine\.csv, and reports"):
        _load(tmp_path, one + other)
    assert len(_load(tmp_path, one + other + 'head = "topic"\n').tasks) == 2


def test_a_table_is_looked_for_beside_the_recipe(tmp_path: Path) -> None:
    text = (
        TABLE + 'text_column = "text"\nlabel_column = "label"\nhead = "mood"\nskip_bad = true\nepochs = 0\n'
    )
    (task,) = _load(tmp_path, text).tasks
    assert task.file == str(tmp_path / "mine.csv")
    assert (task.data, task.label_column, task.head, task.skip_bad) == ("", "label", "mood", True)
    assert task.title == "mine.csv (mood)"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[tasks]]\nfile = "gone.csv"\n', "tasks[0].file: no file"),
        (TABLE + 'dev = "gone.csv"\n', "tasks[0].dev: no file"),
        (
            TABLE + 'data = "sst2"\n',
            "tasks[0] needs either data, a known data set, or file, a table of your own",
        ),
        (
            '[[tasks]]\ndata = "sst2"\nhead = "x"\n',
            "tasks[0].head goes with file, a table of your own, not with",
        ),
        (
            '[[tasks]]\ndata = "sst2"\nteacher = "a"\nteachers = ["b"]\n',
            "tasks[0]: use either teacher, or teachers for several",
        ),
        ('[[tasks]]\ndata = "sst2"\nteachers = "b"\n', "tasks[0].teachers must list folders"),
        ('[[tasks]]\ndata = "sst2"\nteachers = []\n', "tasks[0].teachers must list folders"),
        ('[[tasks]]\ndata = "sst2"\nepochs = 0\n', "tasks[0].epochs must be above 0; only for a table"),
        ('languages = "en"\n' + TABLE, "languages must list language codes"),
        ("languages = []\n" + TABLE, "languages must list language codes"),
        ('languages = ["en", "english"]\n' + TABLE, "languages: 'english' is not a language code"),
        (TABLE + 'labels = "many"\n', "tasks[0].labels must be auto, one or several, not 'many'"),
        (TABLE + "held_out = 1\n", "tasks[0].held_out must be below 1, not 1"),
        (TABLE + 'skip_bad = "yes"\n', "tasks[0].skip_bad must be true or false, not 'yes'"),
        (TABLE + 'label_colum = "x"\n', "unknown name tasks[0].label_colum; did you mean 'label_column'?"),
        (TABLE + "frozen = 1\n", "unknown name tasks[0].frozen; it may be one of data, "),
        (BRANCH + "gate = 2.0\n" + TABLE, "depths[0].gate must be at most 1, not 2.0"),
        (BRANCH + "branch = 3\n" + TABLE, "depths[0].branch must be a table"),
        (BRANCH + "branch = { after = 0 }\n" + TABLE, "depths[0].branch.layers is missing"),
        (
            BRANCH + "branch = { after = 0, layers = 0 }\n" + TABLE,
            "depths[0].branch.layers must be at least 1, not 0",
        ),
        (
            BRANCH + "branch = { after = 1, layers = 3 }\n" + TABLE,
            "depths[0]: the branch ends at layer 4, the head reads up to 3",
        ),
        (TABLE + '[run]\ndevice = "tpu"\n', "run.device must be auto, cpu or cuda, not 'tpu'"),
    ],
)
def test_a_mistake_about_a_table_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        _load(tmp_path, text)
    assert str(caught.value).startswith(f"recipe {tmp_path / 'recipe.toml'}: {told}")
    assert len(str(caught.value).splitlines()) == 1


def test_texts_of_a_known_set_may_train_another_head_by_its_teachers(tmp_path: Path) -> None:
    text = '[[tasks]]\ndata = "sst2"\nhead = "emotion"\nteachers = ["a/pack", "b/pack"]\n'
    (task,) = _load(tmp_path, text).tasks
    assert task.all_teachers == ("a/pack", "b/pack")
    assert task.title == "sst2 (emotion)"


def test_fields_of_tables_leave_the_digest_of_known_tasks_alone() -> None:
    assert repr(Task(data="sst2", epochs=2.0)) == (
        "Task(data='sst2', epochs=2.0, weight=1.0, max_tokens=128, rows=0, loss='plain', balance=0.0, "
        "smoothing=0.0, teacher='', hard=0.5, softening=2.0, masked=0.0)"
    )


def test_a_recipe_comes_back_from_its_text(tmp_path: Path) -> None:
    (tmp_path / 'a "b" é.csv').write_text("text,label\n", encoding="utf-8")
    recipe = Recipe(
        name='quotes " and \\ and 日本',
        base="b",
        tasks=(
            Task(data="sst2", epochs=2, max_tokens=32),
            Task(file=str(tmp_path / 'a "b" é.csv'), epochs=0.5, skip_bad=True, held_out=0.25),
        ),
        text="social",
        languages=("it", "pt-BR"),
        depths=(
            HeadLayers(
                head="toxic_spans",
                layers=(1, 2),
                branch=OwnLayers(after=0, layers=2, start='the "start"'),
                gate=0.25,
            ),
        ),
        frozen=True,
        optimiser=Optimiser(trunk_rate=3e-5),
        run=Run(seed=7, minutes=1.5),
    )
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert "held_out = 0.25" in path.read_text(encoding="utf-8")
    assert "clip" not in path.read_text(encoding="utf-8")


def test_flags_become_a_recipe_that_comes_back_too(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("text,label\n", encoding="utf-8")
    recipe = recipe_of_table(tmp_path / "mine.csv", "mine", label_column="label", minutes=2, seed=9)
    assert (recipe.base, recipe.text, recipe.run.minutes, recipe.run.seed) == (BASE, "raw", 2, 9)
    (tmp_path / "recipe.toml").write_text(recipe_text(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "recipe.toml") == recipe
    with pytest.raises(RecipeError, match=r"max_tokens must lie between 3 and"):
        recipe_of_table(tmp_path / "mine.csv", "mine", max_tokens=1_000)


def test_flags_take_over_how_a_checkpoint_knows_its_texts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"text": {"name": "social", "version": 1}}', encoding="utf-8")
    assert recipe_of_table(tmp_path / "mine.csv", "mine", base=str(tmp_path)).text == "social"
    assert recipe_of_table(tmp_path / "mine.csv", "mine", base="compact", frozen=True).text == "social"
    (tmp_path / "config.json").write_text("[]", encoding="utf-8")
    assert recipe_of_table(tmp_path / "mine.csv", "mine", base=str(tmp_path)).text == "raw"


def test_few_rows_are_passed_over_more_often() -> None:
    counts = [passes(rows) for rows in (1, 30, 100, 1_000, 10_000, 10**6)]
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[-1]) == (40, 3)
