"""`import moodstream`: its names, its types, and another `worker` beside it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import moodstream

ROOT = Path(__file__).parents[3]
LABEL = "Classifier('compact-fast').classify(['so good!'])[0].heads['sentiment'].label"


def run(*args: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder. This package is found after it, as an installed one is."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), **variables}
    return subprocess.run(
        [sys.executable, *args], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def out(*args: str, folder: Path) -> str:
    done = run(*args, folder=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_every_name_is_there() -> None:
    for name in moodstream.__all__:
        assert getattr(moodstream, name) is getattr(moodstream, name)
        assert name in dir(moodstream)
    with pytest.raises(AttributeError, match="no attribute 'Clasifier'"):
        getattr(moodstream, "Clasifier")  # noqa: B009 - mypy knows that it is missing


def test_importing_it_loads_no_model_runtime(tmp_path: Path) -> None:
    code = (
        "import sys, moodstream; print([name for name in ('onnxruntime', 'pydantic') if name in sys.modules])"
    )
    assert out("-c", code, folder=tmp_path) == "[]"


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "worker.py").write_text("model = 'mine'\nsettings = 7\n\ndef job():\n    return model\n")
    return tmp_path


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package that even has submodules of the same names as ours."""
    for name, content in {
        "__init__": "kind = 'mine'\n",
        "types": "Job = 'mine'\n",
        "model": "load = 'mine'\n",
    }.items():
        file = tmp_path / "worker" / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
    return tmp_path


def test_a_module_called_worker_breaks_nothing_and_is_not_broken(module: Path) -> None:
    code = f"from moodstream import Classifier; print({LABEL}); import worker; print(worker.job())"
    assert out("-c", code, folder=module) == "positive\nmine"


def test_nor_does_one_that_is_imported_before(module: Path) -> None:
    code = (
        f"import worker; from moodstream import Classifier; print({LABEL});"
        "import worker as w; print(w is worker, w.job(), w.settings)"
    )
    assert out("-c", code, folder=module) == "positive\nTrue mine 7"


def test_a_program_called_worker_uses_it(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(
        "from moodstream import Classifier\n"
        "classifier = Classifier('compact-fast')\n"
        "def job():\n    return classifier.classify(['so good!'])[0].heads['sentiment'].label\n"
        "if __name__ == '__main__':\n    print(job())\n"
    )
    assert out("worker.py", folder=tmp_path) == "positive"
    # As servers start an application: `uvicorn worker:app`, `celery -A worker`.
    assert out("-c", "import worker; print(worker.job(), worker.__file__)", folder=tmp_path) == (
        f"positive {tmp_path / 'worker.py'}"
    )


def test_a_package_called_worker_breaks_nothing_and_is_not_broken(package: Path) -> None:
    checks = "print(worker.kind, worker.types.Job, worker.model.load)"
    for code in (
        f"from moodstream import Classifier; print({LABEL}); import worker.types, worker.model; {checks}",
        f"import worker.types, worker.model; from moodstream import Classifier; print({LABEL}); {checks}",
    ):
        assert out("-c", code, folder=package) == "positive\nmine mine mine"


def test_names_are_the_same_objects_whenever_they_are_asked_for(package: Path) -> None:
    code = (
        "import moodstream as m; p = m.Prediction; c = m.Classifier('compact-fast', threads=1)\n"
        "print(type(c.classify(['so good!'])[0]) is p, type(c.classify([None])[0]) is m.Failure)\n"
        "try: m.Classifier('nowhere')\n"
        "except m.PackError as error: print(isinstance(error, m.MoodstreamError))\n"
        "print(m.Settings.load().batch.max_messages, m.__version__)"
    )
    assert out("-c", code, folder=package) == f"True True\nTrue\n256 {moodstream.__version__}"


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("kind", ["module", "package"])
def test_processes_of_a_pool_work_beside_it(method: str, kind: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    (folder / "program.py").write_text(
        "import multiprocessing\n"
        "from moodstream import Classifier\n"
        "def main():\n"
        "    classifier = Classifier('compact-fast', threads=1)\n"
        f"    with multiprocessing.get_context('{method}').Pool(2) as pool:\n"
        "        answers = pool.map(classifier.classify, [['so good!'], ['never again'], ['']])\n"
        "    print([getattr(a, 'reason', None) or a.heads['sentiment'].label for a, in answers])\n"
        "if __name__ == '__main__':\n    main()\n"
    )
    assert out("program.py", folder=folder) == "['positive', 'negative', 'text_empty']"


@pytest.mark.parametrize("kind", ["module", "package"])
def test_the_command_runs_beside_it(kind: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    assert out("-m", "moodstream", "--version", folder=folder) == f"moodstream {moodstream.__version__}"
    (folder / "posts.txt").write_text("so good!\n")
    # What the installed script does; `PYTHONPATH` has the folder first.
    script = "import sys; from moodstream.__main__ import main; sys.argv[0] = 'moodstream'; sys.exit(main())"
    line = out("-c", script, "label", "posts.txt", folder=folder)
    assert json.loads(line)["sentiment_label"] == "positive"
    done = run("-c", script, "run", "--kafka.connect-limit-s", "no", folder=folder)
    assert done.returncode == 2
    assert "kafka.connect_limit_s" in done.stderr


def test_the_script_is_the_public_package_s(tmp_path: Path) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'moodstream = "moodstream.__main__:main"' in project


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/python.md"])
def test_the_examples_of_the_docs_pass_mypy(page: str, tmp_path: Path) -> None:
    blocks = python_blocks(ROOT / page)
    assert blocks
    program = tmp_path / "example.py"
    program.write_text("\n".join(blocks))
    done: Any = subprocess.run(
        # pandas has no types of its own, with which the second page's examples have nothing to do.
        [
            *(sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file="),
            *("--disable-error-code=import-untyped", str(program)),
        ],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
