"""`moodstream evaluate`: tables, JSON and pictures of the bundled pack on made-up rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker.cli.main import main as cli
from worker.errors import ExitCode
from worker.model.pack import bundled_pack, load_pack

GOOD = ["I love it", "what a great day", "so happy with this", "wonderful, thank you"]
BAD = ["I hate it", "what an awful day", "so angry about this", "terrible, never again"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two of the known sets, with rows of our own."""
    root = tmp_path / "data"
    (root / "sst2").mkdir(parents=True)
    rows = [f"{label}\t{text}" for texts, label in ((BAD, 0), (GOOD, 1)) for text in texts]
    (root / "sst2" / "dev.tsv").write_text("\n".join(["label\tsentence", *rows]) + "\n", encoding="utf-8")
    (root / "goemotions").mkdir()
    rows = [f"{text}\t{label}\tid" for texts, label in ((BAD, "2,3"), (GOOD, "17")) for text in texts]
    (root / "goemotions" / "dev.tsv").write_text("\n".join(rows * 3) + "\n", encoding="utf-8")
    return root


def test_a_table_of_the_bundled_pack(moodstream: Any, data: Path) -> None:
    ended = moodstream("evaluate", "--data", str(data))
    assert ended.code == ExitCode.OK
    pack = load_pack(bundled_pack())
    lines = ended.out.splitlines()
    assert lines[0].strip() == f"{pack.name}@{pack.revision}"
    assert "SST-2 dev, 8 rows" in lines
    assert "GoEmotions dev, 24 rows, cross-fitted thresholds" in lines
    (accuracy,) = (line for line in lines[2:4] if line.split()[0] == "accuracy")
    assert float(accuracy.split()[1]) > 80
    assert [line.split()[0] for line in lines].count("ece_by_chance") == 2
    assert any(line.startswith("skipped: data set tweeteval_sentiment: no file ") for line in ended.lines)
    assert any(line.endswith(": SST-2 dev, 8 rows") for line in ended.lines)


def test_packs_that_ship_go_by_their_names(
    moodstream: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless a folder of that name is there: it goes first."""
    ended = moodstream("evaluate", "compact", "compact-fast", "--data", str(data), "--set", "sst2")
    assert ended.code == ExitCode.OK
    packs = [load_pack(bundled_pack(name)) for name in ("compact", "compact-fast")]
    assert all(f"{pack.name}@{pack.revision}" in ended.out for pack in packs)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compact").mkdir()
    ended = moodstream("evaluate", "compact", "--data", str(data), "--set", "sst2")
    assert ended.code != ExitCode.OK
    assert "compact holds neither a pack" in ended.err


def test_two_packs_side_by_side_as_json(moodstream: Any, data: Path) -> None:
    pack = str(bundled_pack())
    ended = moodstream("evaluate", pack, pack, "--data", str(data), "--set", "sst2", "--rows", "6", "--json")
    assert ended.code == ExitCode.OK
    first, second = json.loads(ended.out)
    against = second["sets"][0].pop("against_first")
    assert first == second
    assert against["accuracy"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    (found,) = first["sets"]
    assert (found["data"], found["rows"], found["head"]) == ("sst2", 6, "sentiment")
    assert found["figures"]["accuracy"]["low"] <= found["figures"]["accuracy"]["value"]
    assert sum(map(sum, found["confusion"])) == 6
    assert found["labels"]["negative"]["rows"] == 4
    assert sum(found["reliability"]["count"]) == 6


def test_a_file_of_ones_own(moodstream: Any, tmp_path: Path) -> None:
    rows = [f'"{text}",{label}' for texts, label in ((BAD, "negative"), (GOOD, "positive")) for text in texts]
    (tmp_path / "mine.csv").write_text("\n".join(["body,mood", *rows]), encoding="utf-8")
    ended = moodstream("evaluate", "--file", "mine.csv", "--text-column", "body", "--label-column", "mood")
    assert ended.code == ExitCode.OK
    assert ended.out.splitlines()[1] == "mine.csv, between negative and positive, 8 rows"


def test_details_below_the_table(moodstream: Any, data: Path) -> None:
    ended = moodstream("evaluate", "--data", str(data), "--details")
    lines = [line.split() for line in ended.out.splitlines()]
    assert ["label", "rows", "given", "precision", "recall", "F1"] in lines
    joy = next(line for line in lines if line[:1] == ["joy"])  # the label; the group of that name comes below
    assert joy[1] == "12"
    start = lines.index(["gold,", "answer", "negative", "positive"])
    matrix = [list(map(int, line[1:])) for line in lines[start + 1 : start + 3]]
    assert [sum(row) for row in matrix] == [4, 4]


def test_pictures(moodstream: Any, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    ended = moodstream("evaluate", "--data", str(data), "--plots", "drawn")
    assert ended.code == ExitCode.OK
    names = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert names == [
        "goemotions-labels.png",
        "goemotions-reliability.png",
        "sst2-confusion.png",
        "sst2-labels.png",
        "sst2-reliability.png",
    ]
    for name in names:
        data_ = (tmp_path / "drawn" / name).read_bytes()
        assert data_.startswith(b"\x89PNG")
        assert f"drawn: drawn/{name}" in ended.lines


def test_pictures_without_matplotlib(moodstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ended = moodstream("evaluate", "--plots", "drawn")
    assert ended.code == ExitCode.INTERNAL
    assert ended.lines == ["Error: --plots needs: pip install 'moodstream[plots]'"]


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("--set", "sst"), "moodstream: unknown data set 'sst': there is sst2, "),
        (("--set", "imdb"), "moodstream: data set imdb: no file "),
        (("--set", "six_emotions"), "moodstream: data set six_emotions judges no head of sentiment, emotion"),
        (("--data", "nowhere"), "moodstream: no data folder nowhere"),
        (("--file", "none.csv"), "moodstream: none.csv: No such file"),
        (("none",), "moodstream: there is no model at none: no such folder"),
        ((".",), "moodstream: . holds neither a pack (manifest.json) nor a checkpoint (config.json)"),
    ],
)
def test_a_mistake_is_one_line(moodstream: Any, data: Path, args: tuple[str, ...], line: str) -> None:
    if "--data" not in args:
        args = (*args, "--data", str(data))
    ended = moodstream("evaluate", *args)
    assert ended.code == ExitCode.USAGE
    (found,) = ended.lines
    assert found.startswith(line)
    assert not ended.out


def test_nothing_that_fits_is_one_line(moodstream: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = moodstream("evaluate", "--data", "empty")
    assert ended.code == ExitCode.USAGE
    assert ended.lines[-1].startswith("moodstream: no data set in empty fits a head of ")


def test_the_help_needs_no_numpy(process: Any) -> None:
    code = (
        "import sys; from worker.cli import main; main(['evaluate', '--help']); "
        "sys.exit(any(name in sys.modules for name in ('numpy', 'matplotlib', 'onnxruntime')))"
    )
    import subprocess
    import sys

    root = Path(cli.__code__.co_filename).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"--label-column" in done.stdout


def test_our_own_posts_are_measured_without_any_data(moodstream: Any) -> None:
    ended = moodstream("evaluate", "compact-fast", "--posts", "--json")
    assert ended.code == ExitCode.OK
    (result,) = json.loads(ended.out)
    assert result["rows"] == sum(family["rows"] for family in result["families"].values())
    sentiment = result["figures"]["sentiment"]
    assert 0 < sentiment["low"] < sentiment["value"] < sentiment["high"] < 1


@pytest.mark.parametrize(
    "other", [("--set", "sst2"), ("--file", "x.csv"), ("--rows", "3"), ("--behaviour", "x")]
)
def test_posts_stand_alone(moodstream: Any, other: tuple[str, str]) -> None:
    ended = moodstream("evaluate", "--posts", *other)
    assert ended.code == ExitCode.USAGE
    assert "--posts" in ended.err


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (
            ("--behaviour", "cases", "--head", "nosuch", "--rows", "1"),
            "--behaviour cannot be used with --rows, --head",
        ),
        (("--posts", "--thresholds", "own"), "--posts cannot be used with --thresholds"),
        (("--set", "sst2", "--head", "nosuch"), "--head would be ignored without --file"),
        (("--text-column", "body"), "--text-column would be ignored without --file"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(
    moodstream: Any, args: tuple[str, ...], line: str
) -> None:
    ended = moodstream("evaluate", *args)
    assert ended.code == ExitCode.USAGE
    assert line in ended.err


def test_no_folder_is_the_same_mistake_however_it_is_measured(moodstream: Any, tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    for how in ((), ("--posts",), ("--behaviour", "cases")):
        ended = moodstream("evaluate", "./nowhere", *how)
        assert ended.code == ExitCode.USAGE
        assert "there is no model at nowhere: no such folder" in ended.err


@pytest.mark.parametrize(
    ("spans", "why"),
    [
        ("[[0, 99999999999]]", "an offset is outside its text of 9 characters"),
        ("[[0, 1e400]]", "neither a list of offsets nor of [start, end] pairs"),
        ("[" * 2_000 + "]" * 2_000, "neither a list of offsets nor of [start, end] pairs"),
        ("[true]", "neither a list of offsets nor of [start, end] pairs"),
        ("[[-2, 3]]", "an offset is outside its text of 9 characters"),
    ],
)
def test_marked_words_that_make_no_sense_are_told_with_their_place(
    moodstream: Any, tmp_path: Path, spans: str, why: str
) -> None:
    row = json.dumps({"text": "you idiot", "spans": spans})
    (tmp_path / "rows.jsonl").write_text(row + "\n", encoding="utf-8")
    ended = moodstream("evaluate", "--file", "rows.jsonl", "--head", "toxic_spans", "--label-column", "spans")
    assert ended.code == ExitCode.USAGE
    assert ended.lines[-1] == f"moodstream: rows.jsonl, line 1: {why}"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("sst2/dev.tsv", b"sentence\tlabel\ncaf\xe9 nice\t1\n"),
        ("imdb/val.jsonl.gz", b"no gzip"),
        ("toxic_spans/tsd_trial.csv", b"spans,text\n[0]\n"),
    ],
)
def test_a_damaged_set_is_skipped_or_named(moodstream: Any, data: Path, file: str, content: bytes) -> None:
    (data / file).parent.mkdir(exist_ok=True)
    (data / file).write_bytes(content)
    ended = moodstream("evaluate", "--data", str(data))
    assert ended.code == ExitCode.OK
    assert any(line.startswith("skipped: ") and file in line for line in ended.lines), ended.err
    ended = moodstream("evaluate", "--data", str(data), "--set", file.split("/", maxsplit=1)[0])
    assert ended.code == ExitCode.USAGE
    assert file in ended.lines[-1]
