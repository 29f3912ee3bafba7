"""Families of every kind on a small pack with heads of every kind, from the files to the report."""

import pytest

from tests.support.checkpoints import MARKING, SIZES, write_checkpoint
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.evaluate.behaviour import Report, measure

LABEL = 'about = "a"\nrate = 0.5\n'
FILES = {
    "pairs": f'family = "pairs"\n{LABEL}head = "toxicity"\ncheck = "pair"\nlabels = ["not_toxic", "toxic"]\n'
    'cases = [["the film was late", "it is awful"]]\n',
    "marked": f'family = "marked"\n{LABEL}head = "toxic_spans"\ncheck = "spans"\n'
    'cases = ["it is [awful]", "the train is on time", "😀 the [broken] phone"]\n',
    "swapped": f'family = "swapped"\n{LABEL}check = "swap"\nwithin = 1.0\n'
    'cases = ["the {} was late"]\nfills = ["film", "train", "phone"]\n',
    "blank": f'family = "blank"\n{LABEL}check = "same"\nwithin = 0.0001\n'
    'cases = [["it is late", " it  is late"]]\n',
    "wrong": f'family = "wrong"\n{LABEL}head = "toxic_spans"\ncheck = "label"\n'
    '[cases]\ntoxic = ["it is awful"]\n',
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("behaviour")
    checkpoint = write_checkpoint(folder / "checkpoint", {**SIZES, "heads": MARKING})
    convert_checkpoint(checkpoint, folder / "pack", name="tiny", quantise=False)
    (folder / "cases").mkdir()
    for name, text in FILES.items():
        (folder / "cases" / f"{name}.toml").write_text(text)
    return measure(folder / "cases", folder / "pack", threads=1)


def test_every_kind_of_head_is_asked(report: Report) -> None:
    families = report.as_dict()["families"]
    assert report.model.startswith("tiny@")
    asked = {name for name, entry in families.items() if "rate" in entry}
    assert asked == {"pairs", "marked", "swapped", "blank"}
    assert families["blank"]["rate"] == families["swapped"]["rate"] == 1.0
    assert 0 <= families["swapped"]["moved"]["by"] < 1


def test_a_check_on_a_head_of_another_kind_is_not_asked(report: Report) -> None:
    (wrong,) = (result for result in report.results if result.family.name == "wrong")
    assert wrong.skipped == "the head `toxic_spans` is of another kind than `label` asks of"
