"""Reading recipes, and one line for each mistake that says where it is."""

import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from worker.errors import RecipeError
from worker.lab.card import all_stages
from worker.lab.data.labels import EMOTION, SENTIMENT, TOXICITY, in_order
from worker.lab.recipe import Recipe, Run, Task, load_recipe, mistakes, recipe_text

BUNDLED = Path(__file__).parents[4] / "worker" / "lab" / "recipes" / "compact.toml"
SHORT = 'name = "x"\nbase = "b"\n[[tasks]]\ndata = "sst2"\n'


def _load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path)


def test_the_bundled_recipe_and_the_stages_before_it_train_every_head() -> None:
    recipe = load_recipe(BUNDLED)
    assert (recipe.name, recipe.frozen) == ("compact", False)
    stages = all_stages(recipe)
    assert len(stages) > 5
    trained = {task.data for stage in stages for task in stage.tasks}
    assert {"sst2", "tweeteval_sentiment", "goemotions", "toxic_spans", "offensive"} <= trained


def test_what_is_not_written_takes_its_default(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(SHORT + "epochs = 2\n[optimiser]\ntrunk_rate = 1e-5\n", encoding="utf-8")
    recipe = load_recipe(path)
    assert (recipe.tasks[0].epochs, recipe.tasks[0].weight) == (2.0, 1.0)
    assert (recipe.optimiser.trunk_rate, recipe.optimiser.head_rate) == (1e-5, 1e-3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SHORT + "epoch = 2\n", "unknown name tasks[0].epoch; did you mean 'epochs'?"),
        (SHORT + "[optimizer]\n", "unknown name optimizer; did you mean 'optimiser'?"),
        (SHORT + "[run]\nzzz = 1\n", "unknown name run.zzz; it may be one of seed, threads"),
        (SHORT + '[run]\nseed = "one"\n', "run.seed must be a whole number, not 'one'"),
        (SHORT + "[run]\nseed = true\n", "run.seed must be a whole number, not True"),
        (SHORT + '[run]\nprecision = "fp8"\n', "run.precision must be auto, fp32 or bf16"),
        (SHORT + "epochs = 0\n", "tasks[0].epochs must be above 0; only for a table of your own"),
        (
            SHORT + 'also = ["x"]\nalone = true\n',
            "tasks[0].also goes with data, and not with file",
        ),
        (
            SHORT + 'also = ["x"]\nteacher = "t"\nhead = "emotion"\n',
            "tasks[0].also goes with data, and not with",
        ),
        (SHORT + "max_tokens = 5000\n", "tasks[0].max_tokens must lie between"),
        ('name = "x"\nbase = "b"\n', "no [[tasks]]"),
        ('name = "x"\n[[tasks]]\ndata = "sst2"\n', "base is missing"),
        (
            'name = "x"\nbase = "b"\n[[tasks]]\nepochs = 1\n',
            "tasks[0] needs either data, a known data set, or file, a table of your own",
        ),
        ('name = "x"\nbase = "b"\ntasks = ["sst2"]\n', "tasks[0] must be a table"),
        ("name = \n", "Invalid value"),
    ],
)
def test_a_mistake_is_one_readable_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        _load(tmp_path, text)
    line = str(caught.value)
    assert expected in line
    assert "recipe.toml" in line
    assert "\n" not in line


def test_each_mistake_has_a_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        _load(tmp_path, SHORT + 'epoch = 2\nrows = -1\n[run]\nseed = "one"\n')
    lines = [line.partition("recipe.toml: ")[2] for line in str(caught.value).splitlines()]
    assert sorted(lines) == [
        "run.seed must be a whole number, not 'one'",
        "tasks[0].rows must be at least 0, not -1",
        "unknown name tasks[0].epoch; did you mean 'epochs'?",
    ]


_VALUES = st.one_of(
    st.booleans(), st.integers(-3, 600), st.floats(-2, 600), st.sampled_from(["", "a", "sst2", "auto", "one"])
)
_TABLES = st.dictionaries(st.sampled_from([*Task.model_fields, "layers", "x"]), _VALUES, max_size=5)


@given(
    tasks=st.lists(_TABLES, max_size=3), run=st.dictionaries(st.sampled_from([*Run.model_fields]), _VALUES)
)
@settings(max_examples=200, deadline=None)
def test_any_tables_are_a_recipe_that_comes_back_or_mistakes_of_one_line_each(
    tasks: list[dict[str, object]], run: dict[str, object]
) -> None:
    try:
        recipe = Recipe(name="n", base="b", tasks=tasks, run=run)  # type: ignore[arg-type]  # what TOML may hold
    except ValidationError as error:
        lines = mistakes(error)
        assert lines
        assert not [line for line in lines if not line or "\n" in line]
        return
    again = tomllib.loads(recipe_text(recipe))
    assert Recipe(**again) == recipe


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"absent\.toml: No such file"):
        load_recipe(tmp_path / "absent.toml")


def test_the_command_tells_a_mistake_without_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(SHORT + "epoch = 2\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "worker", "train", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        f"moodstream: recipe {path}: unknown name tasks[0].epoch; did you mean 'epochs'?"
    ]


def test_recipes_and_data_need_no_torch() -> None:
    modules = "worker.lab.compress, worker.lab.options, worker.lab.plan, worker.lab.plots, worker.lab.student"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_torch_the_command_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(SHORT, encoding="utf-8")
    code = (
        "import sys, importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "from worker.cli import main; sys.exit(main(['train', *sys.argv[1:]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "moodstream: training needs more packages: pip install 'moodstream[train]'\n"


def test_means_are_read_and_their_shares_checked(tmp_path: Path) -> None:
    task = 'name = "n"\nbase = "b"\n[[tasks]]\ndata = "sst2"\n'
    path = tmp_path / "recipe.toml"
    path.write_text(task + '[[means]]\ncheckpoint = "a"\nshare = 0.25\n')
    assert [(mean.checkpoint, mean.share) for mean in load_recipe(path).means] == [("a", 0.25)]
    path.write_text(task + '[[means]]\ncheckpoint = "a"\nshare = 1\n')
    with pytest.raises(RecipeError, match=r"means\[0\]\.share must be below 1, not 1"):
        load_recipe(path)


def test_known_heads_come_in_their_order_after_others() -> None:
    named = [SENTIMENT, replace(EMOTION, name="mine"), TOXICITY, EMOTION, SENTIMENT]
    heads = in_order(reversed(named))
    assert [head.name for head in heads] == ["mine", "sentiment", "emotion", "toxicity"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name = ""\nbase = "b"\n[[tasks]]\ndata = "sst2"\n', "name: must have 1 to 256 characters"),
        ('name = "a\\u0007"\nbase = "b"\n[[tasks]]\ndata = "sst2"\n', "name: must have 1 to 256 characters"),
        (f"name = {'9' * 5_000}\n", "integer string conversion"),
        (f"name = {'[' * 3_000}{']' * 3_000}\n", "recursion"),
    ],
)
def test_what_no_recipe_can_hold_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=says) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)
